import type { BreakerMode, BreakerRef, BreakerState } from './breaker.ts';
import type { Problem } from './problem.ts';
import type { RouteTable } from './route-table.ts';

/**
 * What carries the traffic of one node: HAProxy or the embedded proxy. One owner calls it, never two calls at once.
 */
export interface Proxy {
  readonly kind: 'haproxy' | 'embedded';
  /**
   * Brings the proxy to `table`; resolves once it is in effect. Resolves (never rejects) with the Problems of routes
   * that had to be left out or kept as they were; all others are in effect.
   * What cannot change at once waits for its turn while the rest of the table is in effect already. That wait ends when `overtaken` is
   * aborted, for another table is about to be given; only then it rejects, with the signal's reason.
   */
  apply(table: RouteTable, overtaken?: AbortSignal): Promise<readonly Problem[]>;
  /** `address:port` (IPv6 in brackets) of every listener now open for routes. */
  listeners(): ReadonlySet<string>;
  /** What the breakers of all versions that have one do now. Rejects when the running proxy does not say. */
  breakers(): Promise<readonly BreakerState[]>;
  /** Holds a breaker open or closed, or leaves it to its errors; in effect when it resolves. A version without breaker: nothing happens. */
  setBreaker(ref: BreakerRef, mode: BreakerMode): Promise<void>;
  /** Ends it: no new connections, then at most `drainMs` for those in flight. `leaveRunning` (attached HAProxy) lets go only. */
  close(how: { readonly drainMs: number; readonly leaveRunning: boolean }): Promise<void>;
}

/** Says of each pattern that this proxy cannot use why not (one printable line). Patterns that are fine are absent. */
export type CheckRegexes = (patterns: readonly string[]) => Promise<ReadonlyMap<string, string>>;

/** `address:port` of a listener, IPv6 in brackets: the form used in maps, messages and Problems. */
export const listenerKey = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
