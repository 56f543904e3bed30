import { setTimeout as delay } from 'node:timers/promises';
import { ApiError } from '../api-error.ts';
import type { PodReference } from '../host-pods.ts';
import { parsePod } from '../parse-pod.ts';
import type { Parsed } from '../parsed-object.ts';
import type { ApiClient } from './open-api-client.ts';

export interface PodLookupOptions {
  readonly client: Pick<ApiClient, 'request'>;
  /** Pods that were found or let go, by key. */
  readonly onChange: (changes: ReadonlyMap<string, Parsed<'Pod'> | undefined>) => void;
  readonly onTrouble: (error: ApiError) => void;
  readonly retryMs?: number;
}

/** At once, and per second at most: every node asks, and a tenant may be the cause. */
const AT_ONCE = 4;
const PAUSE_MS = 100;
const RETRY_MS = 10_000;

interface Known {
  /** The reference that it answers. */
  readonly id: string;
  readonly pod: Parsed<'Pod'> | undefined;
}

/**
 * Reads single pods by name, each uid once. A pod counts when it has that uid and the address that led to it (it
 * is not watched: one with another address would go on being believed when that is another pod's); one that does not is remembered, too.
 * Namespaces take turns, so that one with many does not keep the others waiting. Invariant: at most {@link AT_ONCE} requests run.
 */
export class PodLookup {
  readonly #options: PodLookupOptions;
  readonly #closing = new AbortController();
  #wanted: ReadonlyMap<string, PodReference> = new Map();
  readonly #known = new Map<string, Known>();
  #running: Promise<void> | undefined;

  constructor(options: PodLookupOptions) {
    this.#options = options;
  }

  /** What is wanted from now on; what no longer is, is forgotten. */
  want(wanted: ReadonlyMap<string, PodReference>): void {
    this.#wanted = wanted;
    const gone = new Map<string, undefined>();
    for (const [key, { id, pod }] of this.#known) {
      if (idOf(wanted.get(key)) === id) continue;
      this.#known.delete(key);
      if (pod !== undefined) gone.set(key, undefined);
    }
    if (gone.size > 0) this.#options.onChange(gone);
    this.#running ??= this.#run();
  }

  /** Resolves when nothing that is wanted is unknown. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    await Promise.resolve(); // so that `#running` is set before `onChange` can lead to `want`
    for (let round = this.#nextRound(); round.length > 0 && !signal.aborted; round = this.#nextRound()) {
      const found = await Promise.all(round.map((reference) => this.#read(reference)));
      if (signal.aborted) break;
      const changes = new Map<string, Parsed<'Pod'>>();
      for (const [i, known] of found.entries()) {
        const reference = round[i];
        if (known === undefined || reference === undefined) continue;
        const key = `${reference.namespace}/${reference.name}`;
        this.#known.set(key, known);
        if (known.pod !== undefined && idOf(this.#wanted.get(key)) === known.id) changes.set(key, known.pod);
      }
      if (changes.size > 0) this.#options.onChange(changes);
      const failed = found.includes(undefined);
      await delay(failed ? (this.#options.retryMs ?? RETRY_MS) : PAUSE_MS / (AT_ONCE / round.length), undefined, { signal }).catch(() => undefined);
    }
    this.#running = undefined; // no await since the check above: a `want` cannot fall between them
  }

  /** One of each namespace before the second of any. */
  #nextRound(): readonly PodReference[] {
    const unknown = [...this.#wanted].filter(([key, reference]) => this.#known.get(key)?.id !== idOf(reference)).map(([, reference]) => reference);
    const queues = [...Map.groupBy(unknown, ({ namespace }) => namespace).values()];
    const round: PodReference[] = [];
    for (let turn = 0; round.length < Math.min(AT_ONCE, unknown.length); turn++) round.push(...queues.flatMap((queue) => queue.slice(turn, turn + 1)));
    return round.slice(0, AT_ONCE);
  }

  /** Undefined when the server could not say. */
  async #read(reference: PodReference): Promise<Known | undefined> {
    const { namespace, name, uid, address } = reference;
    const id = idOf(reference);
    try {
      const raw = await this.#options.client.request('GET', `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`, { signal: this.#closing.signal });
      const pod = parsePod(raw, () => undefined);
      return { id, pod: pod.object?.uid === uid && pod.object.podIPs.includes(address) ? pod : undefined };
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return { id, pod: undefined };
      if (!this.#closing.signal.aborted && error instanceof ApiError) this.#options.onTrouble(error);
      return undefined;
    }
  }
}

const idOf = (reference: PodReference | undefined): string => (reference === undefined ? '' : `${reference.uid} ${reference.address}`);
