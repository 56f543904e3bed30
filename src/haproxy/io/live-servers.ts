import { messageOf } from '../../model/coded-error.ts';
import { parseMap } from '../parse-answers.ts';
import { parsePins, parseServerStates } from '../parse-server-states.ts';
import { FIRST_MAP, inBatches, planServers, type Command, type ServerState, type WantedServers } from '../plan-servers.ts';
import type { RenderedConfig } from '../render-config.ts';
import { endpointKey, wayOf } from '../servers.ts';
import { CliSession } from './cli-session.ts';

type ServerStates = Map<string, ServerState>;

/**
 * The servers of a running worker: what it has, as told by it or by our own commands, and how it gets others.
 * One call at a time. An error leaves what is known in doubt: then `read` comes before the next `bring`.
 */
export class LiveServers {
  readonly #socket: string;
  #servers: Map<string, ServerStates> = new Map();
  #pinned = new Map<string, string>();
  /** Backends that are known to be exactly at these: thousands, of which few change at a time. */
  readonly #settled = new Map<string, WantedServers>();

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** The worker was just loaded with this file. */
  loaded({ servers }: RenderedConfig): void {
    this.#settled.clear();
    this.#servers = new Map([...servers].map(([backend, wanted]) => [backend, new Map(wanted.servers.map(({ name }) => [name, 'serving']))]));
    this.#pinned = new Map([...servers].flatMap(([backend, { first }]) => (first === undefined ? [] : [[backend, first] as const])));
  }

  /** Asks the worker. @throws Error when it does not answer */
  async read(): Promise<void> {
    const session = await CliSession.open(this.#socket);
    try {
      this.#settled.clear();
      this.#servers = new Map([...parseServerStates(await session.ask('show servers state', 10_000))].map(([backend, servers]) => [backend, new Map(servers)]));
      this.#pinned = new Map(parsePins(parseMap(await session.ask(`show map ${FIRST_MAP}`, 10_000))));
    } finally {
      session.close();
    }
  }

  /** Servers that wait for their last call to end. */
  get leaving(): number {
    let count = 0;
    for (const servers of this.#servers.values()) for (const state of servers.values()) if (state === 'leaving') count++;
    return count;
  }

  /** The backends whose servers are not these. */
  differing(wanted: ReadonlyMap<string, WantedServers>): readonly (readonly [backend: string, wanted: WantedServers])[] {
    const found: (readonly [string, WantedServers])[] = [];
    for (const [backend, want] of wanted) {
      if (this.#settled.get(backend) === want) continue;
      if (this.#isAt(backend, want)) this.#settled.set(backend, want);
      else found.push([backend, want]);
    }
    return found;
  }

  #isAt(backend: string, { servers, first }: WantedServers): boolean {
    const running = this.#servers.get(backend);
    const serving = [...(running ?? [])].filter(([, state]) => state === 'serving');
    return this.#pinned.get(backend) === first && serving.length === servers.length && servers.every(({ name }) => running?.get(name) === 'serving');
  }

  /** Brings these backends to these servers. @throws Error with HAProxy's words when a command is refused: those of later batches were not tried */
  bring(backends: Iterable<readonly [backend: string, wanted: WantedServers]>): Promise<void> {
    return this.#bringEach(backends, (_, error) => {
      throw error;
    });
  }

  /**
   * The same, but no backend waits for one whose commands are refused.
   * @returns HAProxy's words for each backend that is in doubt now. @throws Error when HAProxy does not answer at all
   */
  async bringMost(backends: Iterable<readonly [backend: string, wanted: WantedServers]>): Promise<ReadonlyMap<string, unknown>> {
    const refused = new Map<string, unknown>();
    await this.#bringEach(backends, (backend, error) => refused.set(backend, error));
    return refused;
  }

  async #bringEach(backends: Iterable<readonly [backend: string, wanted: WantedServers]>, onError: (backend: string, error: unknown) => void): Promise<void> {
    const session = await CliSession.open(this.#socket);
    try {
      for (const [backend, wanted] of backends) {
        this.#settled.delete(backend);
        const running = this.#servers.get(backend) ?? new Map<string, ServerState>();
        try {
          for (const commands of inBatches(planServers(backend, running, this.#pinned.get(backend), wanted))) await this.#send(session, commands);
          this.#note(backend, wanted);
        } catch (error) {
          onError(backend, error);
        }
      }
    } finally {
      session.close();
    }
  }

  /** Deletes what was leaving and has no call any more, of backends that are to be so. */
  async sweep(wanted: ReadonlyMap<string, WantedServers>): Promise<void> {
    await this.bring([...this.#servers].flatMap(([backend, servers]) => {
      const serving = [...servers].flatMap(([name, state]) => (state === 'leaving' ? [] : [{ name, address: endpointKey(name) ?? '', way: wayOf(name) }]));
      return serving.length === servers.size ? [] : [[backend, { h2: false, ...wanted.get(backend), servers: serving, first: this.#pinned.get(backend) }] as const];
    }));
  }

  /** Names of servers that a refused `del server` left. */
  readonly #kept = new Set<string>();

  async #send(session: CliSession, commands: readonly Command[]): Promise<void> {
    const texts = commands.map(({ text }) => text);
    const answers = await session.askAll(texts, BATCH_TIMEOUT_MS).catch((error: unknown) => {
      throw new Error(`${texts[0]}: ${messageOf(error)}`, { cause: error });
    });
    for (const [i, { text, answer, patient = false }] of commands.entries()) {
      const said = answers[i] ?? '';
      if ([answer].flat().some((expected) => (expected === '' ? said === '' : said.startsWith(expected)))) continue;
      if (!patient) throw new Error(`${text}: ${said.slice(0, 300)}`);
      this.#kept.add(text.slice('del server '.length));
    }
  }

  #note(backend: string, { servers, first }: WantedServers): void {
    const now: ServerStates = new Map(servers.map(({ name }) => [name, 'serving']));
    for (const [name] of this.#servers.get(backend) ?? []) if (this.#kept.has(`${backend}/${name}`)) now.set(name, 'leaving');
    this.#kept.clear();
    this.#servers.set(backend, now);
    if (first === undefined) this.#pinned.delete(backend);
    else this.#pinned.set(backend, first);
  }
}

const BATCH_TIMEOUT_MS = 10_000;
