import { CONTRADICTED_STATUS, REASON_HEADER, REFUSALS } from '../model/refusal.ts';
import type { RefusalCode } from '../model/refusal.ts';
import type { Protocol } from '../model/service-route.ts';
import { renderTrial } from './client-ip.ts';
import { isSince } from './features.ts';
import { quote } from './quote.ts';
import { CLEANING_RULES } from './render-cleaning.ts';
import type { RenderOptions } from './render-options.ts';
import { BREAKER_SCRIPT, renderBreakerRules } from './render-breakers.ts';
import { HOLD_SCRIPT } from './render-maps.ts';
import { CONTRADICTED, renderTokenRules, TOKEN_SCRIPT } from './render-tokens.ts';
import { INTERNAL_FRONTEND } from './section-names.ts';
import { serverWords } from './servers.ts';

/** Defaults of the CRD; a route's backend repeats only what differs. */
export const DEFAULT_CONNECT_MS = 250;
export const DEFAULT_REQUEST_MS = 60_000;
export const DEFAULT_RETRIES = 3;
export const DEFAULT_RETRY_ON = 'conn-failure empty-response response-timeout';

/** Names of the files and sockets in the run dir. */
export const STATS_SOCKET = 'haproxy.sock';
export const HEALTH_SOCKET = 'health.sock';

/** Upper bound of connections: each may hold two 16 kB buffers, and a node's memory is not ours. */
const MAX_CONNECTIONS = 32_000;
/** Left for logs, sockets, checks and idle server connections beyond one per client. */
const RESERVED_DESCRIPTORS = 300;
/** HAProxy reads a delay into 31 bits of milliseconds. */
const MAX_DELAY_SECONDS = 2_147_483;

/** Refusals that are whole backends, in the order in which they are tried. */
export const REFUSAL_BACKENDS = ['bad-token', 'caller-unknown', 'namespace-isolated', 'acl-denied', 'rate-limited', 'no-version', 'route-invalid'] as const satisfies readonly RefusalCode[];

/**
 * Client connections that the file limit allows: two descriptors each (client and server side), one per bind, one more
 * per bind while a reload hands the listeners over, and one per checked server: HAProxy counts them all before it starts.
 */
export function maxConnections(fileDescriptors: number, binds: number, checks: number): number {
  // In steps: a route or a server more or less should not change the global section too.
  const fixed = 2 * roundUp(binds, 100) + roundUp(checks, 500);
  const free = fileDescriptors - fixed - RESERVED_DESCRIPTORS;
  return Math.max(100, Math.min(MAX_CONNECTIONS, Math.floor(free / 2)));
}

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

/** The `global` section. `digest` names these bytes: `show info` of a worker gives it back. */
export function renderGlobal(options: RenderOptions, count: { readonly binds: number; readonly checks: number; readonly breakers: ReadonlySet<Protocol> }, digest: string): readonly string[] {
  const hardStop = Math.max(1, Math.min(MAX_DELAY_SECONDS, Math.ceil(options.drainTimeoutSeconds)));
  return [
    'global',
    `  description ${digest}`,
    `  maxconn ${maxConnections(options.fileDescriptors, count.binds, count.checks)}`,
    `  nbthread ${options.threads}`,
    `  stats socket ${quote(`${options.runDir}/${STATS_SOCKET}`)} mode 600 level admin expose-fd listeners`,
    '  stats maxconn 20',
    `  hard-stop-after ${hardStop}s`,
    '  tune.pool-high-fd-ratio 90',
    '  tune.pool-low-fd-ratio 80',
    // 3.1 warns where it is not said; no script of ours reads a boolean. It counts for what is loaded after it.
    ...(options.haproxy.lua && isSince(options.haproxy, [3, 1]) ? ['  tune.lua.bool-sample-conversion normal'] : []),
    ...(options.haproxy.lua ? [`  lua-load ${HOLD_SCRIPT}`, `  lua-load ${TOKEN_SCRIPT}`] : []),
    ...(count.breakers.size > 0 ? [`  lua-load ${BREAKER_SCRIPT}`] : []),
  ];
}

const failure = (code: RefusalCode): string =>
  `  http-error status ${REFUSALS[code].status} content-type text/plain hdr ${REASON_HEADER} ${code} string "${REFUSALS[code].text}\\n"`;

const TCP_VERSION = ['  option redispatch 1', '  option allbackups', '  hash-type consistent'];

/**
 * Named defaults. What every http route does to a request stands here once.
 *
 * HAProxy answers 503 both when no server is left and when connecting failed after all retries; the number of servers
 * that are up tells them apart at that moment. The reason header can be believed in the after-response rule because
 * `http-response` has removed the server's own by then.
 */
export function renderDefaults(options: RenderOptions, breakers: ReadonlySet<Protocol>): readonly string[] {
  const reason = (failed: string, none: string): string => `%[nbsrv,bool,iif('${failed}','${none}')]`;
  const { all, check } = serverWords(options.preserveClientIp);
  const servers = `  default-server ${[...all, check].join(' ')}`;
  const tcpVersion = [...TCP_VERSION, servers];
  const httpVersion = [
    '  option http-no-delay',
    `  retries ${DEFAULT_RETRIES}`,
    `  retry-on ${DEFAULT_RETRY_ON}`,
    '  option redispatch 1',
    '  option allbackups',
    '  http-reuse always',
    '  hash-type consistent',
    servers,
    '  http-response del-header x-onehop- -m beg',
    failure('upstream-reset'),
    failure('upstream-timeout'),
    `  http-error status 503 content-type text/plain hdr ${REASON_HEADER} "${reason('connect-failed', 'no-endpoints')}" lf-string "${reason(REFUSALS['connect-failed'].text, REFUSALS['no-endpoints'].text)}\\n"`,
    `  http-after-response set-status ${REFUSALS['connect-failed'].status} if { status 503 } { res.hdr(${REASON_HEADER}) connect-failed }`,
  ];
  return [
    'defaults http',
    '  mode http',
    `  timeout connect ${DEFAULT_CONNECT_MS}ms`,
    '  timeout check 250ms',
    `  timeout client ${DEFAULT_REQUEST_MS}ms`,
    `  timeout server ${DEFAULT_REQUEST_MS}ms`,
    '  timeout queue 1s',
    '  timeout http-request 10s',
    '  timeout http-keep-alive 60s',
    '  timeout tunnel 1h',
    '',
    'defaults http-route from http',
    '  option idle-close-on-response',
    '  option http-no-delay',
    // As text once per connection (`lower` wants text), not for each request: 4 % of what HAProxy itself does for one.
    '  tcp-request connection set-var(sess.from) src,lower',
    ...renderTokenRules(options),
    '  http-request del-header x-onehop- -m beg',
    ...CLEANING_RULES,
    '  http-request set-header x-forwarded-for %[var(sess.from)]',
    '',
    'defaults http-version from http',
    ...httpVersion,
    ...(breakers.has('http') ? ['', 'defaults http-version-breaker from http', ...httpVersion, ...renderBreakerRules('http')] : []),
    '',
    'defaults tcp',
    '  mode tcp',
    `  timeout connect ${DEFAULT_CONNECT_MS}ms`,
    '  timeout check 250ms',
    '  timeout client 1h',
    '  timeout server 1h',
    '  timeout queue 1s',
    '  timeout tunnel 1h',
    '',
    'defaults tcp-version from tcp',
    ...tcpVersion,
    ...(breakers.has('tcp') ? ['', 'defaults tcp-version-breaker from tcp', ...tcpVersion, ...renderBreakerRules('tcp')] : []),
  ];
}

/** Rates are whole calls per second, so the next place comes within one. */
const RETRY_AFTER = ' hdr retry-after 1';

/** `deny` and not `return`: to the log it is an error, whatever the status. */
const answer = (code: RefusalCode, status: number): string =>
  `  http-request deny status ${status} content-type text/plain hdr ${REASON_HEADER} ${code}${code === 'rate-limited' ? RETRY_AFTER : ''} string "${REFUSALS[code].text}\\n"`;

/** The backends that refuse, and the frontend that keeps HAProxy running while there is no route. */
export function renderInternal(options: RenderOptions): readonly string[] {
  const bind = `  bind ${quote(`unix@${options.runDir}/${HEALTH_SOCKET}`)} mode 600`;
  const answered = '  http-request return status 200 content-type text/plain string "ok\\n"';
  return [
    ...REFUSAL_BACKENDS.flatMap((code) => [
      `backend ${code} from http`,
      ...(code === 'bad-token' ? [`${answer(code, CONTRADICTED_STATUS)} if { var(txn.bad_token) -m str ${CONTRADICTED} }`] : []),
      answer(code, REFUSALS[code].status),
      '',
    ]),
    `frontend ${INTERNAL_FRONTEND} from http`,
    ...(options.preserveClientIp === true ? renderTrial(bind, answered) : [bind, answered]),
  ];
}
