import { messageOf } from '../../model/coded-error.ts';
import { ApiError } from '../../kube/api-error.ts';
import type { ApiClient } from '../../kube/io/open-api-client.ts';
import { sleep } from '../../daemon/io/timers.ts';
import { mayTake, noteRecord, parseElectionRecord, RENEW_DEADLINE_MS, renderElectionRecord, RETRY_MS, type ElectionRecord, type SeenRecord } from '../election-record.ts';

/*
 * Invariants
 * 1. Clocks of others are never read: a Lease is free when it stood unchanged for its whole duration on our own monotonic clock.
 * 2. A leader may write for RENEW_DEADLINE_MS from the moment on when it sent the renewal that the API server accepted: 5 s less than the
 *    others wait from a later moment on. Time in which the process stood still counts; should the monotonic clock have stood still too
 *    (a suspended machine), the wall clock counts. A clock that jumps may cost leadership, never safety.
 * 3. Each write of the Lease carries the resourceVersion that it is based on: of two that try, one wins.
 * 4. One loop; nothing that it meets ends it, or leaves it, but `close`.
 */

export interface ElectionOptions {
  readonly client: Pick<ApiClient, 'request'>;
  readonly namespace: string;
  readonly name: string;
  /** Different for every process that ever ran. */
  readonly identity: string;
  readonly onChange: (isLeader: boolean) => void;
  readonly onTrouble: (message: string) => void;
}

/** The right to write. */
export interface Leadership {
  /** How long this process may go on writing; 0: it is not the leader. */
  remainingMs(): number;
}

export interface Election extends Leadership {
  /** Who holds the Lease, as far as is known. */
  readonly holder: string;
  readonly transitions: number;
  /** Stops, and gives the Lease back so that another can take it at once. To be called when nothing is written any more. */
  close(): Promise<void>;
}

const REQUEST_TIMEOUT_MS = 5_000;

export function openElection(options: ElectionOptions): Election {
  return new LeaseElection(options);
}

class LeaseElection implements Election {
  readonly #options: ElectionOptions;
  readonly #path: string;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #seen: SeenRecord | undefined;
  /** When the renewal that counts was sent, on both clocks; undefined: not the leader. */
  #sent: { readonly monotonicMs: number; readonly wallMs: number } | undefined;
  #told = false;
  #expiry: NodeJS.Timeout | undefined;

  constructor(options: ElectionOptions) {
    this.#options = options;
    this.#path = `/apis/coordination.k8s.io/v1/namespaces/${options.namespace}/leases`;
    this.#running = this.#run();
  }

  get holder(): string {
    return this.#seen?.record.holder ?? '';
  }

  get transitions(): number {
    return this.#seen?.record.transitions ?? 0;
  }

  remainingMs(): number {
    if (this.#sent === undefined) return 0;
    const elapsedMs = Math.max(performance.now() - this.#sent.monotonicMs, Date.now() - this.#sent.wallMs);
    return Math.max(0, RENEW_DEADLINE_MS - elapsedMs);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    clearTimeout(this.#expiry);
    const record = this.#seen?.record;
    const mayRelease = this.remainingMs() > 0 && record !== undefined;
    this.#sent = undefined;
    this.#tell();
    if (mayRelease) await this.#put(record, '').catch((error: unknown) => this.#options.onTrouble(`the Lease could not be given back: ${messageOf(error)}`));
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    await Promise.resolve();
    while (!signal.aborted) {
      try {
        await this.#attempt();
      } catch (error) {
        this.#options.onTrouble(messageOf(error));
      }
      this.#tell();
      // Candidates spread, the leader keeps its rhythm.
      await sleep(this.remainingMs() > 0 ? RETRY_MS : RETRY_MS * (1 + Math.random() / 5), signal);
    }
  }

  /** Renews, or takes the Lease when it may be taken. */
  async #attempt(): Promise<void> {
    if (this.remainingMs() === 0 || this.#seen === undefined) {
      this.#sent = undefined;
      const record = await this.#read();
      this.#seen = record === undefined ? undefined : noteRecord(this.#seen, record, performance.now());
      if (this.#seen !== undefined && !mayTake(this.#seen, this.#options.identity, performance.now())) return;
    }
    const sent = { monotonicMs: performance.now(), wallMs: Date.now() };
    try {
      const written = await this.#put(this.#seen?.record, this.#options.identity);
      this.#seen = { record: written, sinceMs: performance.now() };
      this.#sent = sent;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) throw error;
      // Somebody else wrote it: whoever stands there now is the leader, unless it was an administrator's edit.
      const record = await this.#read();
      this.#seen = record === undefined ? undefined : noteRecord(undefined, record, performance.now());
      if (record?.holder !== this.#options.identity) this.#sent = undefined;
    }
  }

  async #read(): Promise<ElectionRecord | undefined> {
    const { client, name } = this.#options;
    try {
      return parseElectionRecord(await client.request('GET', `${this.#path}/${name}`, { timeoutMs: REQUEST_TIMEOUT_MS }));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  async #put(before: ElectionRecord | undefined, identity: string): Promise<ElectionRecord> {
    const { client, namespace, name } = this.#options;
    const body = renderElectionRecord({ namespace, name }, before, identity, Date.now());
    const [method, path] = before === undefined ? ['POST', this.#path] : ['PUT', `${this.#path}/${name}`];
    return parseElectionRecord(await client.request(method ?? '', path ?? '', { body, timeoutMs: REQUEST_TIMEOUT_MS }));
  }

  /** Says it when leadership came or went, also when it ran out while nothing could be renewed. */
  #tell(): void {
    const remainingMs = this.remainingMs();
    clearTimeout(this.#expiry);
    if (remainingMs > 0) this.#expiry = setTimeout(() => this.#tell(), remainingMs + 1).unref();
    const isLeader = remainingMs > 0;
    if (isLeader === this.#told) return;
    this.#told = isLeader;
    this.#options.onChange(isLeader);
  }
}
