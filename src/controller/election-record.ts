import { isRecord, valueAt } from '../kube/field-path.ts';

/** Times of the election, in the proportions of client-go's defaults. */
export const LEASE_DURATION_MS = 15_000;
/** From the moment on when a renewal was sent, its holder may write for this long; 5 s before anybody else may take the Lease. */
export const RENEW_DEADLINE_MS = 10_000;
export const RETRY_MS = 2_000;

/** What a coordination.k8s.io/v1 Lease says of an election. */
export interface ElectionRecord {
  readonly resourceVersion: string;
  /** Empty: nobody. */
  readonly holder: string;
  readonly durationMs: number;
  readonly acquireTime: string;
  /** By the holder's clock: only ever compared with itself. */
  readonly renewTime: string;
  readonly transitions: number;
}

/** Parses a Lease of the API server. A record that makes no sense is nobody's, but keeps its time. */
export function parseElectionRecord(raw: unknown): ElectionRecord {
  const spec = valueAt(raw, ['spec']);
  const text = (from: unknown, field: string): string => {
    const value = valueAt(from, [field]);
    return typeof value === 'string' ? value : '';
  };
  const seconds = isRecord(spec) ? spec['leaseDurationSeconds'] : undefined;
  const transitions = isRecord(spec) ? spec['leaseTransitions'] : undefined;
  return {
    resourceVersion: text(valueAt(raw, ['metadata']), 'resourceVersion'),
    holder: text(spec, 'holderIdentity'),
    durationMs: typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : LEASE_DURATION_MS,
    acquireTime: text(spec, 'acquireTime'),
    renewTime: text(spec, 'renewTime'),
    transitions: typeof transitions === 'number' ? transitions : 0,
  };
}

/** A record, and since when it has stood there unchanged, on this process's monotonic clock. */
export interface SeenRecord {
  readonly record: ElectionRecord;
  readonly sinceMs: number;
}

/** Notes what was read at `nowMs`, which is after the answer came: a change is never dated too early. */
export const noteRecord = (before: SeenRecord | undefined, record: ElectionRecord, nowMs: number): SeenRecord =>
  before !== undefined && before.record.resourceVersion === record.resourceVersion ? before : { record, sinceMs: nowMs };

/** Whether `identity` may take the Lease: it is nobody's, its own, or its holder has not renewed it for the whole duration. */
export function mayTake({ record, sinceMs }: SeenRecord, identity: string, nowMs: number): boolean {
  if (record.holder === '' || record.holder === identity) return true;
  return nowMs - sinceMs >= Math.max(record.durationMs, LEASE_DURATION_MS);
}

/** The Lease with which `identity` takes or renews it; empty: gives it back (without a holder, as client-go does). */
export function renderElectionRecord(place: { readonly namespace: string; readonly name: string }, before: ElectionRecord | undefined, identity: string, wallMs: number): object {
  const now = `${new Date(wallMs).toISOString().slice(0, -1)}000Z`; // MicroTime
  const isSame = before !== undefined && before.holder === identity;
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: {
      ...place,
      labels: { 'app.kubernetes.io/name': 'onehop', 'app.kubernetes.io/component': 'controller' },
      ...(before === undefined ? {} : { resourceVersion: before.resourceVersion }),
    },
    spec: {
      ...(identity === '' ? {} : { holderIdentity: identity }),
      leaseDurationSeconds: identity === '' ? 1 : LEASE_DURATION_MS / 1000,
      acquireTime: isSame && before.acquireTime !== '' ? before.acquireTime : now,
      renewTime: now,
      leaseTransitions: (before?.transitions ?? 0) + (identity === '' || isSame || before === undefined ? 0 : 1),
    },
  };
}
