import { ApiError } from '../../kube/api-error.ts';
import type { ApiClient, RequestOptions } from '../../kube/io/open-api-client.ts';
import type { Leadership } from './open-election.ts';

/** Longest that one request may take; less when leadership ends before. */
const REQUEST_TIMEOUT_MS = 5_000;

export type WriteKind = 'ledger' | 'status' | 'access-point' | 'event' | 'node' | 'token-codes';

/** Not the leader, or not any more: nothing is written. */
export class NotLeader extends Error {
  override readonly name = 'NotLeader';
}

/**
 * The only way in which the controller writes: while it is the leader, and no longer than it surely is. What is on its way when
 * leadership ends is given up then; should the API server have got it all the same, its resourceVersion or uid decides.
 */
export class GuardedWriter {
  readonly #client: Pick<ApiClient, 'request'>;
  readonly #leadership: Leadership;
  /** Writes by kind and outcome (`ok`, `conflict`, `refused`, `failed`). */
  readonly #counts = new Map<string, number>();
  #reads = 0;

  constructor(client: Pick<ApiClient, 'request'>, leadership: Leadership) {
    this.#client = client;
    this.#leadership = leadership;
  }

  get isLeader(): boolean {
    return this.#leadership.remainingMs() > 0;
  }

  /** `kind outcome` -> how often. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  get reads(): number {
    return this.#reads;
  }

  async read(path: string): Promise<unknown> {
    this.#reads++;
    return this.#client.request('GET', path, { timeoutMs: REQUEST_TIMEOUT_MS });
  }

  /** @throws NotLeader, or ApiError */
  async write(kind: WriteKind, method: string, path: string, options: Pick<RequestOptions, 'query' | 'body' | 'contentType'>): Promise<unknown> {
    const remainingMs = this.#leadership.remainingMs();
    if (remainingMs <= 0) throw new NotLeader('this controller is not the leader');
    try {
      const answer = await this.#client.request(method, path, { ...options, timeoutMs: Math.min(REQUEST_TIMEOUT_MS, Math.ceil(remainingMs)) });
      this.#count(kind, 'ok');
      return answer;
    } catch (error) {
      this.#count(kind, outcomeOf(error));
      throw error;
    }
  }

  #count(kind: WriteKind, outcome: string): void {
    const key = `${kind} ${outcome}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }
}

function outcomeOf(error: unknown): string {
  if (!(error instanceof ApiError)) return 'failed';
  return error.status === 409 ? 'conflict' : isRefusal(error) ? 'refused' : 'failed';
}

/** The API server understood and said no: asking again at once changes nothing. */
export const isRefusal = ({ status }: ApiError): boolean => status >= 400 && status < 500 && status !== 401 && status !== 409 && status !== 429;
