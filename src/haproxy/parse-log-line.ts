import type { BreakerRef } from '../model/breaker.ts';
import type { CallRecord } from '../model/call-record.ts';
import { printable } from '../model/problem.ts';
import { listenerKey } from '../model/proxy.ts';
import { REFUSALS, type RefusalCode } from '../model/refusal.ts';
import type { Caller, Endpoint, Route, RouteTable } from '../model/route-table.ts';
import { routePools } from './pools.ts';
import { hasFeed } from './render-log.ts';
import { frontendName } from './section-names.ts';
import { endpointKey } from './servers.ts';

/**
 * How a server failed a call. `server-error`: it answered with a 5xx. `connect-failed`: after all retries. `reset`: it ended before a complete
 * head. `timeout`: it did not answer or go on in time. `aborted`: it ended in mid-answer (tcp: in mid-connection).
 */
export type CallFailure = 'server-error' | 'connect-failed' | 'reset' | 'timeout' | 'aborted';

/** What one line tells. */
export interface FinishedCall {
  readonly record: CallRecord;
  /** The version that was chosen; absent when the call was refused before. */
  readonly version?: BreakerRef;
  readonly failure?: CallFailure;
  /** Whether the route's access log wants it. */
  readonly logged: boolean;
}

/** The names of a table's sections, addresses of its callers and servers: what lines are read against. */
export interface LogNames {
  readonly routes: ReadonlyMap<string, { readonly route: Route; readonly versions: ReadonlyMap<string, number>; readonly servers: ReadonlyMap<string, Endpoint> }>;
  readonly callers: ReadonlyMap<string, Caller>;
}

export function buildLogNames(table: RouteTable): LogNames {
  const routes = table.routes.filter(hasFeed).map((route) => {
    const servers = route.versions.flatMap(({ active, backup, spill }) => [...active, ...backup, ...(spill?.tiers.flat() ?? [])].map((server) => [listenerKey(server.address, server.port), server] as const));
    return [frontendName(route), { route, versions: new Map(routePools(route).flatMap((pools, index) => pools.map(({ name }) => [name, index] as const))), servers: new Map(servers) }] as const;
  });
  return { routes: new Map(routes), callers: new Map(table.callers.pods.map((pod) => [pod.address, pod])) };
}

const MAX_METHOD = 20;
const MAX_PATH = 256;

/**
 * Reads one line of the format in `render-log`; undefined when it is none, or of a route that the table does not have (any more).
 * Who called and which pod served come from the table by address.
 */
export function parseLogLine(line: string, names: LogNames): FinishedCall | undefined {
  const fields = line.split(' ');
  const [protocol, sampled = '', frontend = '', backend = '', server = '', caller = '', second, millisecond, ...rest] = fields;
  const found = names.routes.get(frontend);
  if (found === undefined || protocol !== found.route.protocol || !/^[1-]$/.test(sampled)) return undefined;
  const http = protocol === 'http';
  const [handshake, idle, connect, response, total, status] = http ? rest : ['0', '0', rest[0], '-1', rest[1], '-1'];
  const [state = '', retries = '', bytes, reason = ''] = rest.slice(http ? 6 : 2);
  const times = [second, millisecond, handshake, idle, connect, response, total, status, bytes].map(parseNumber);
  if (times.some((value) => value === undefined) || !/^[\da-f.:]{3,45}$/i.test(caller) || !/^[A-Za-z-]{2}$/.test(state) || !/^\+?\d{1,9}$/.test(retries)) return undefined;
  const [seconds = 0, ms = 0, handshakeMs = 0, idleMs = 0, connectMs = -1, responseMs = -1, totalMs = 0, code = -1, bytesOut = 0] = times.map((value) => value ?? 0);

  const { route } = found;
  const version = found.versions.get(backend);
  const refusal = reasonOf(reason, backend) ?? (http ? undefined : tcpReason(state, server, retries));
  const pod = names.callers.get(caller);
  const endpoint = found.servers.get(endpointKey(server) ?? '');
  const [method, path] = http && rest.length >= 11 ? [rest[10] ?? '', rest.slice(11).join(' ')] : [undefined, undefined];
  const failure = version === undefined ? undefined : failureOf({ http, state, status: code, ...(refusal === undefined ? {} : { reason: refusal }) });
  const aborted = /^[Cc]/.test(state) ? 'client' : failure === 'aborted' || (failure === 'timeout' && state.endsWith('D')) ? 'server' : undefined;
  const record: CallRecord = {
    atMs: seconds * 1000 + ms + Math.max(0, handshakeMs) + Math.max(0, idleMs),
    namespace: route.namespace,
    route: route.name,
    protocol,
    caller: { address: caller, ...(pod === undefined ? {} : { namespace: pod.namespace, pod: pod.pod, serviceAccount: pod.serviceAccount }) },
    ...(version === undefined ? {} : { version: route.versions[version]?.name ?? '' }),
    ...(endpoint === undefined ? {} : { tier: endpoint.tier, server: { address: endpoint.address, port: endpoint.port, ...(endpoint.pod === undefined ? {} : { pod: endpoint.pod }) } }),
    ...(method === undefined || method === BAD_REQUEST ? {} : { method: printable(method, MAX_METHOD) }),
    ...(path === undefined || path === BAD_REQUEST || path === '' ? {} : { path: printable(withoutOrigin(path), MAX_PATH) }),
    ...(code < 0 ? {} : { status: code }),
    ...(refusal === undefined ? {} : { reason: refusal }),
    ...(aborted === undefined ? {} : { aborted }),
    ...(connectMs < 0 ? {} : { connectMs }),
    ...(responseMs < 0 ? {} : { responseMs }),
    totalMs: Math.max(0, totalMs),
    bytesOut: Math.max(0, bytesOut),
  };
  return {
    record,
    ...(version === undefined ? {} : { version: { namespace: route.namespace, route: route.name, version } }),
    ...(failure === undefined ? {} : { failure }),
    logged: route.log?.mode === 'Errors' ? isErrorCall(record) : sampled === '1',
  };
}

/** What HAProxy writes when it could not read the request. */
const BAD_REQUEST = '<BADREQ>';

/** HTTP/2 and absolute-form requests are told with scheme and authority. */
const withoutOrigin = (path: string): string => path.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/]*/, '') || '/';

const parseNumber = (text: string | undefined): number | undefined => (text !== undefined && /^-?\d{1,15}$/.test(text) ? Number(text) : undefined);

const isReason = (text: string): text is RefusalCode => Object.hasOwn(REFUSALS, text);
const reasonOf = (reason: string, backend: string): RefusalCode | undefined => [reason, backend].find(isReason);

/** A tcp route has no rule that could name its failures: whether any server was tried tells the two apart. */
function tcpReason(state: string, server: string, retries: string): RefusalCode | undefined {
  if (!/^[Ss][CQ]$/.test(state)) return undefined;
  return server === '<NOSRV>' && Number(retries) === 0 ? 'no-endpoints' : 'connect-failed';
}

const FAILURES: Readonly<Partial<Record<RefusalCode, CallFailure>>> = { 'connect-failed': 'connect-failed', 'upstream-reset': 'reset', 'upstream-timeout': 'timeout' };

/** From the state at the end of the session (HAProxy manual 8.5): who ended it (S/s: the server, by an error or by silence), and when (D/L: in mid-answer). */
function failureOf({ http, state, status, reason }: { readonly http: boolean; readonly state: string; readonly status: number; readonly reason?: RefusalCode }): CallFailure | undefined {
  if (reason !== undefined) return FAILURES[reason];
  if (/^S[DL]$/.test(state)) return 'aborted';
  if (/^s[DL]$/.test(state)) return 'timeout';
  return http && status >= 500 ? 'server-error' : undefined;
}

/** What `spec.log.mode: Errors` logs: refused by the proxy, failed by its server, or broken off by it. */
const isErrorCall = ({ reason, status = 0, aborted }: CallRecord): boolean => reason !== undefined || status >= 500 || aborted === 'server';
