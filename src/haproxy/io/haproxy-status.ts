import type { FinishedCall } from '../parse-log-line.ts';
import type { ReloadCause } from '../plan-change.ts';

export interface HaproxyEvents {
  /** Something went wrong that no Problem tells: one printable line for the log. */
  onFault(line: string): void;
  /** A worker with a new configuration serves, or the old one again: `reason` says why. */
  onChange(reason: string): void;
  /** Attached: what is wrong with the HAProxy there, or undefined when it is well again (the table should be applied anew then). */
  onTrouble(why: string | undefined): void;
  /** A call of a route with an access log or a breaker ended; see `hasFeed` for which. */
  onCall(call: FinishedCall): void;
}

export interface HaproxyStatus {
  readonly version: string;
  /** Of the master; undefined while none runs. */
  readonly pid: number | undefined;
  readonly workerPid: number | undefined;
  /** Workers of earlier configurations that still serve connections. */
  readonly oldWorkers: number;
  readonly restarts: number;
  readonly reloads: number;
  readonly reloadsByCause: Readonly<Record<ReloadCause, number>>;
  readonly lastReloadReason: string | undefined;
  readonly configRejected: number;
  /** Maps and backends that were not as applied, and were mended. */
  readonly repaired: number;
}
