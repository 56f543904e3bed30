import type { Problem } from '../model/problem.ts';
import type { BreakerMode, BreakerState } from '../model/breaker.ts';
import type { CallRecord } from '../model/call-record.ts';
import type { TokenVerdict } from '../model/token.ts';
import type { TableChange } from './serve-table.ts';

/** What the worker is started with. */
export interface WorkerSettings {
  readonly tokenHeader: string;
  readonly counters: SharedArrayBuffer;
  /** See EmbeddedProxyOptions. */
  readonly givesWay: boolean;
}

/** What becomes of connections without a call when their listener closes: ended at once, or after the answer to their next call. */
export type IdleConnections = 'end' | 'keep';

/** What an operator wants of one breaker. `route`: `namespace/name`; `version`: the Service's name. */
export interface BreakerOrder {
  readonly route: string;
  readonly version: string;
  readonly mode: BreakerMode;
}

/**
 * Agent to worker. Each is answered by one WorkerAnswer with the same `id`. `apply` and `close` are served one after the other, the
 * others at once.
 */
export type WorkerOrder =
  | { readonly kind: 'apply'; readonly id: number; readonly change: TableChange; readonly modes: readonly BreakerOrder[] }
  | { readonly kind: 'close'; readonly id: number; readonly drainMs: number; readonly idle: IdleConnections }
  | { readonly kind: 'breakers'; readonly id: number; readonly set?: BreakerOrder };

export interface WorkerAnswer {
  readonly id: number;
  readonly problems: readonly Problem[];
  /** Keys of all listeners open now. */
  readonly listeners: readonly string[];
  readonly breakers: readonly BreakerState[];
}

/** Worker to agent: whom does this token name? Answered by a WorkerNote with the same `id` (of questions, not of orders). */
export interface WorkerQuestion {
  readonly verify: string;
  readonly id: number;
}

/** Agent to worker, about tokens, served at once. `keep`: keys and codes have not changed since it was asked. */
export type WorkerNote = { readonly kind: 'verdict'; readonly id: number; readonly verdict: TokenVerdict; readonly keep: boolean } | { readonly kind: 'forget' };

/** Worker to agent, unasked: calls for the access log, and how many more there was no room for. */
export interface WorkerCalls {
  readonly calls: readonly CallRecord[];
  readonly lost: number;
}
