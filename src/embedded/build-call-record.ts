import type { CallRecord } from '../model/call-record.ts';
import { printable } from '../model/problem.ts';
import type { RefusalCode } from '../model/refusal.ts';
import type { Endpoint, Route, Version } from '../model/route-table.ts';
import type { CallerIdentity } from './identify.ts';

/** What happened to one call; see CallRecord for the units. */
export interface CallFacts {
  readonly atMs: number;
  readonly totalMs: number;
  readonly bytesOut: number;
  readonly version?: Version;
  readonly server?: Endpoint;
  readonly status?: number;
  readonly reason?: RefusalCode;
  readonly aborted?: 'server' | 'client';
  readonly connectMs?: number;
  readonly responseMs?: number;
}

/** Codes of refusals that a failed server is the cause of. */
const SERVER_FAILURES: ReadonlySet<RefusalCode> = new Set(['connect-failed', 'upstream-reset', 'upstream-timeout']);
const MAX_METHOD = 32;
const MAX_PATH = 256;

/**
 * Whether a call is an error of its version's breaker (design section 3): a failed server, an answer of 500 and above that the server
 * itself gave, one that it broke off. Never what we refused, never what the client broke off.
 */
export const isServerError = ({ reason, status = 0, aborted }: Pick<CallFacts, 'reason' | 'status' | 'aborted'>): boolean =>
  reason === undefined ? status >= 500 || aborted === 'server' : SERVER_FAILURES.has(reason);

/** Whether the access log of the route wants the call. `draw`: uniform in [0, 1). */
export function isLogged({ log }: Route, facts: CallFacts, draw: number): boolean {
  if (log === undefined) return false;
  return log.mode === 'Sampled' ? draw * 100 < log.percent : facts.reason !== undefined || isServerError(facts);
}

/** One entry of the access log. Texts of the wire are printable and bounded in it; the path has lost its query. */
export function buildCallRecord(
  route: Route,
  caller: { readonly address: string; readonly identity: CallerIdentity },
  request: { readonly method: string; readonly path: string } | undefined,
  { version, server, ...facts }: CallFacts,
): CallRecord {
  return {
    ...facts,
    totalMs: Math.round(facts.totalMs),
    namespace: route.namespace,
    route: route.name,
    protocol: route.protocol,
    caller: { address: caller.address, ...nameOf(caller.identity) },
    ...(version === undefined ? {} : { version: version.name }),
    ...(server === undefined ? {} : { tier: server.tier, server: { address: server.address, port: server.port, ...(server.pod === undefined ? {} : { pod: server.pod }) } }),
    ...(request === undefined ? {} : { method: printable(request.method, MAX_METHOD), path: printable(request.path.split('?', 1)[0] ?? '', MAX_PATH) }),
  };
}

function nameOf(identity: CallerIdentity): Omit<CallRecord['caller'], 'address'> {
  if (identity.kind === 'account') return { namespace: identity.namespace, serviceAccount: identity.serviceAccount };
  if (identity.kind !== 'pod') return {};
  const { namespace, pod, serviceAccount } = identity.caller;
  return { namespace, pod, serviceAccount };
}
