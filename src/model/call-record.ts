import type { RefusalCode } from './refusal.ts';
import type { Tier } from './route-table.ts';

/**
 * One finished call as the access log tells it (tcp: one connection). Every text is from the wire or from objects: bounded and printable
 * before it gets here. Times are ms; absent: that point was not reached.
 */
export interface CallRecord {
  /** When it began, in ms since the epoch. */
  readonly atMs: number;
  readonly namespace: string;
  readonly route: string;
  readonly protocol: 'http' | 'tcp';
  readonly caller: { readonly address: string; readonly namespace?: string; readonly pod?: string; readonly serviceAccount?: string };
  /** Name of the version's Service. */
  readonly version?: string;
  readonly tier?: Tier;
  readonly server?: { readonly address: string; readonly port: number; readonly pod?: string };
  readonly method?: string;
  /** Without its query. */
  readonly path?: string;
  readonly status?: number;
  /** Why the proxy itself answered. */
  readonly reason?: RefusalCode;
  /** The server or the client ended in mid-answer. */
  readonly aborted?: 'server' | 'client';
  readonly connectMs?: number;
  readonly responseMs?: number;
  readonly totalMs: number;
  readonly bytesOut: number;
}
