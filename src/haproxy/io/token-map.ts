// Invariants:
// - What the running worker holds is a part of `#entries`, or `#whole` is set and it is about to be.
// - Commands to the worker go one after another, in the order of the changes: what is added after a change of keys is never undone by it,
//   and nothing from before comes back.
// - What is taken away leaves the file before the worker: one that starts meanwhile does not read it.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../model/coded-error.ts';
import type { TokenIdentity } from '../../model/token.ts';
import { TOKEN_MAP } from '../render-tokens.ts';
import { TokenEntries } from '../token-entries.ts';
import { askCli, replaceMap } from './cli-socket.ts';
import { writeFiles } from './config-files.ts';

export const MAX_TOKENS = 10_000;
const PRUNE_MS = 10_000;
/** Added tokens reach the file together; one that is missing there costs a question. */
const WRITE_MS = 1_000;
const RETRY_MS = 250;

export interface TokenMapOptions {
  readonly runDir: string;
  readonly statsSocket: string;
  readonly onFault: (line: string) => void;
  /** Runs a command in the workers of earlier configurations: a connection that is still open there has one more call. */
  readonly inOldWorkers?: (command: string) => Promise<void>;
  readonly bound?: number;
}

/** The verified tokens of a node: in the running worker, and in a file from which the next one begins. Only digests. */
export class TokenMap {
  readonly #options: TokenMapOptions;
  readonly #entries: TokenEntries;
  readonly #prune: NodeJS.Timeout;
  #queue: Promise<void> = Promise.resolve();
  /** The last time that the worker was given all of it. */
  #brought: Promise<void> = Promise.resolve();
  #writing: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** Added, and not yet told to the worker. */
  readonly #pending = new Set<string>();
  /** The worker has to be given all of it. */
  #whole = false;
  /** Old workers hold some that are void. */
  #forgotten = false;
  #closed = false;

  private constructor(options: TokenMapOptions) {
    this.#options = options;
    this.#entries = new TokenEntries(options.bound ?? MAX_TOKENS);
    this.#prune = setInterval(() => this.#pruneNow(), PRUNE_MS).unref();
  }

  /** Reads what the agent before left, and writes what of it may be used on. */
  static async open(options: TokenMapOptions): Promise<TokenMap> {
    const map = new TokenMap(options);
    map.#entries.load(await readFile(join(options.runDir, TOKEN_MAP), 'utf8').catch(() => ''), Date.now());
    // Only what the next worker begins with: a full disk must not keep the agent from starting.
    await map.#write().catch((error: unknown) => options.onFault(`verified tokens could not be written for the next HAProxy: ${messageOf(error)}`));
    return map;
  }

  get size(): number {
    return this.#entries.size;
  }

  add(digest: string, identity: TokenIdentity): void {
    const added = this.#entries.add(digest, identity);
    if (added === undefined) return;
    this.#writing ??= setTimeout(() => {
      this.#writing = undefined;
      void this.#enqueue(() => this.#write());
    }, WRITE_MS).unref();
    this.#pending.add(digest);
    void this.#enqueue(async () => {
      for (const gone of added.evicted) await this.#command(`del map ${TOKEN_MAP} ${gone}`);
      if (!this.#pending.delete(digest)) return;
      // `add` does not mind that it is there already: there would be two.
      if (added.again) await this.#command(`del map ${TOKEN_MAP} ${digest}`);
      await this.#command(`add map ${TOKEN_MAP} ${digest} ${added.value}`);
    });
  }

  /** Keys or codes changed: none of them holds any more. */
  forget(): void {
    this.#entries.clear();
    this.#forgotten = true;
    this.bring();
  }

  /** Gives the running worker all of it: after a change of everything, and to a worker that is new. */
  bring(): void {
    this.#whole = true;
    this.#brought = this.#enqueue(() => this.#bring());
  }

  /** Resolves when the worker has what was forgotten before out of its map; also when it did not answer, and is told again. */
  settled(): Promise<void> {
    return this.#brought;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#prune);
    clearTimeout(this.#writing);
    clearTimeout(this.#retry);
    await this.#queue;
    await this.#write().catch(() => undefined);
  }

  #enqueue(task: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(task).catch((error: unknown) => this.#options.onFault(`the token map was not changed: ${messageOf(error)}`));
    return this.#queue;
  }

  async #bring(): Promise<void> {
    if (!this.#whole) return;
    const forgotten = this.#forgotten;
    this.#whole = this.#forgotten = false;
    await this.#write();
    this.#pending.clear();
    const content = this.#entries.render();
    try {
      await replaceMap(this.#options.statsSocket, TOKEN_MAP, content);
      if (forgotten) await this.#options.inOldWorkers?.(`clear map ${TOKEN_MAP}`);
    } catch (error) {
      // It could not read the file when it started, so it knows no token; the next worker is given them again.
      if (messageOf(error).includes('Unknown map')) return;
      this.#whole = true;
      this.#forgotten ||= forgotten;
      if (!this.#closed) this.#retry ??= setTimeout(() => {
        this.#retry = undefined;
        this.#brought = this.#enqueue(() => this.#bring());
      }, RETRY_MS).unref();
    }
  }

  /** Lost commands do no harm: what is missing is asked again, and what should have gone has an end that HAProxy knows itself. */
  async #command(command: string): Promise<void> {
    if (!this.#whole) await askCli(this.#options.statsSocket, command).catch(() => '');
  }

  #pruneNow(): void {
    const over = this.#entries.prune(Date.now());
    if (over.length === 0) return;
    void this.#enqueue(async () => {
      await this.#write();
      for (const digest of over) await this.#command(`del map ${TOKEN_MAP} ${digest}`);
    });
  }

  #write(): Promise<void> {
    return writeFiles(this.#options.runDir, new Map([[TOKEN_MAP, this.#entries.render()]]));
  }
}
