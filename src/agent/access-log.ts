import { TokenBucket } from '../daemon/token-bucket.ts';
import type { CallRecord } from '../model/call-record.ts';
import { objectKey } from '../model/names.ts';

/** Lines of one route, and of all: a tenant's flood must neither fill the node's log nor keep the agent busy. */
const PER_ROUTE = { burst: 100, perSecond: 50 };
const IN_ALL = { burst: 500, perSecond: 250 };
/** Routes remembered; more are only there after many were deleted, and their bounds begin anew. */
const MAX_ROUTES = 4_000;
const SHOWN_ROUTES = 3;

export interface AccessLogCounts {
  readonly written: number;
  readonly overRate: number;
}

/** What was left out since the last report. */
export interface LeftOut {
  readonly lines: number;
  /** `namespace/name: lines` of the routes with most of them. */
  readonly routes: readonly string[];
}

/** Writes the calls that routes want logged, within bounds. */
export class AccessLog {
  readonly #write: (record: CallRecord) => void;
  readonly #inAll: TokenBucket;
  readonly #routes = new Map<string, TokenBucket>();
  #leftOut = new Map<string, number>();
  #written = 0;
  #overRate = 0;

  constructor(write: (record: CallRecord) => void, nowMs: number) {
    this.#write = write;
    this.#inAll = new TokenBucket(IN_ALL, nowMs);
  }

  /** `nowMs`: of a clock that does not jump. */
  add(record: CallRecord, nowMs: number): void {
    const key = objectKey({ namespace: record.namespace, name: record.route });
    // The route's own bound first: one that is above it must not use up what others may write.
    if (this.#bucketOf(key, nowMs).take(nowMs) && this.#inAll.take(nowMs)) {
      this.#written++;
      this.#write(record);
      return;
    }
    this.#overRate++;
    this.#leftOut.set(key, (this.#leftOut.get(key) ?? 0) + 1);
  }

  counts(): AccessLogCounts {
    return { written: this.#written, overRate: this.#overRate };
  }

  /** Undefined when nothing was left out. */
  takeLeftOut(): LeftOut | undefined {
    if (this.#leftOut.size === 0) return undefined;
    const most = [...this.#leftOut].sort(([, a], [, b]) => b - a);
    this.#leftOut = new Map();
    return { lines: most.reduce((sum, [, lines]) => sum + lines, 0), routes: most.slice(0, SHOWN_ROUTES).map(([route, lines]) => `${route}: ${lines}`) };
  }

  #bucketOf(key: string, nowMs: number): TokenBucket {
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    if (this.#routes.size >= MAX_ROUTES) this.#routes.clear();
    const bucket = new TokenBucket(PER_ROUTE, nowMs);
    this.#routes.set(key, bucket);
    return bucket;
  }
}
