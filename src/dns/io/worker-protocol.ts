import type { DnsAccess } from '../access.ts';
import type { ZoneStep } from '../plan-zone-change.ts';
import type { AnswerCounts } from '../responder.ts';
import type { ServerIdentity } from '../zone.ts';

/** An address that a UDP and a TCP socket are bound to. Port 0: the system chooses one, the same for both. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** Counts of the worker since it started. */
export interface WorkerCounters extends AnswerCounts {
  readonly names: number;
  readonly tcpClients: number;
}

/** What the worker is asked; each request gets exactly one reply, in order of completion. */
export type WorkerRequest =
  | { readonly kind: 'zone'; readonly steps: readonly ZoneStep[]; readonly identity: ServerIdentity }
  | { readonly kind: 'listen'; readonly listen: readonly ListenAddress[]; readonly access: DnsAccess; readonly maxTcpClients: number }
  | { readonly kind: 'counters' }
  | { readonly kind: 'close'; readonly drainMs: number };

export interface WorkerReplies {
  readonly zone: undefined;
  readonly listen: readonly ListenAddress[];
  readonly counters: WorkerCounters;
  readonly close: undefined;
}

export type Numbered<T> = T & { readonly id: number };

/** A failure crosses threads as plain data; `code` is the system's (EADDRINUSE, ...). */
export type WorkerReply = Numbered<{ readonly value: unknown } | { readonly failure: { readonly code: string; readonly message: string } }>;
