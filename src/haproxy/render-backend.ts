import { byCodeUnit } from '../model/names.ts';
import { printable } from '../model/problem.ts';
import type { Route, Version } from '../model/route-table.ts';
import type { BalanceAlgorithm, RetryCondition } from '../model/service-route.ts';
import { renderSource } from './client-ip.ts';
import { FIRST_MAP } from './plan-servers.ts';
import { quote } from './quote.ts';
import { hasBreaker, renderConnLimit } from './render-breakers.ts';
import { DEFAULT_CONNECT_MS, DEFAULT_REQUEST_MS, DEFAULT_RETRIES, DEFAULT_RETRY_ON } from './render-global.ts';
import type { RenderOptions } from './render-options.ts';
import { COUNTED, isChecked, type Server } from './servers.ts';

const RETRY_ON: Readonly<Record<RetryCondition, string>> = {
  'connect-failure': 'conn-failure',
  'empty-response': 'empty-response',
  'response-timeout': 'response-timeout',
};

/** RFC 9110 section 9.2.2. */
const IDEMPOTENT = 'GET HEAD OPTIONS PUT DELETE TRACE';

/**
 * A version's `backend`: how long, how often, how a server is chosen. Its `server` lines stand apart (see renderServer): they come and go
 * in the running worker. `pools`: names of all backends of the version, this one among them.
 */
export function renderBackend(route: Route, version: Version, pools: readonly string[], name: string, options: RenderOptions): readonly string[] {
  const http = route.protocol === 'http';
  const { connectMs, requestMs } = route.timeout;
  return [
    `backend ${name} from ${http ? 'http-version' : 'tcp-version'}${hasBreaker(version, options) ? '-breaker' : ''}`,
    ...(options.preserveClientIp === true ? renderSource(http, hasIpv6Servers(version) ? 6 : 4) : []),
    ...renderConnLimit(route, version, pools),
    `  balance ${renderBalance(version, http)}`,
    ...(connectMs === DEFAULT_CONNECT_MS ? [] : [`  timeout connect ${connectMs}ms`]),
    ...(!http || requestMs === DEFAULT_REQUEST_MS ? [] : [`  timeout server ${requestMs}ms`]),
    ...renderRetries(route),
    ...(route.locality === 'PreferLocal' ? renderPin(name) : []),
    ...(http && version.serverProtocol === 'h2' ? ['  default-server proto h2'] : []),
    ...(version.spill === undefined ? [] : [`  default-server ${COUNTED}`]),
  ];
}

/** A version's endpoints are of one family (routing, listEndpoints). */
const hasIpv6Servers = ({ active, backup }: Version): boolean => [...active, ...backup].some(({ address }) => address.includes(':'));

/** While the map names a server, it takes every call that it can be connected for; retries go to the others. */
function renderPin(name: string): readonly string[] {
  const first = `str(${name}),map_str(${FIRST_MAP})`;
  return [`  use-server %[${first}] if { ${first} -m found }`];
}

function renderRetries(route: Route): readonly string[] {
  const { attempts, on, nonIdempotent } = route.retries;
  if (route.protocol === 'tcp') return [`  retries ${on.includes('connect-failure') ? attempts : 0}`];
  if (attempts === 0 || on.length === 0) return ['  retries 0', '  retry-on none'];
  const conditions = [...new Set(on)].sort(byCodeUnit).map((condition) => RETRY_ON[condition]);
  const retryOn = conditions.join(' ');
  // Only a request that may have reached a server can be harmful to repeat.
  const replays = conditions.some((condition) => condition !== 'conn-failure');
  return [
    ...(attempts === DEFAULT_RETRIES ? [] : [`  retries ${attempts}`]),
    ...(retryOn === DEFAULT_RETRY_ON ? [] : [`  retry-on ${retryOn}`]),
    ...(replays && !nonIdempotent ? [`  http-request disable-l7-retry unless { method ${IDEMPOTENT} }`] : []),
  ];
}

const BALANCE: Readonly<Record<Exclude<BalanceAlgorithm, 'HeaderHash'>, string>> = {
  RoundRobin: 'roundrobin',
  LeastConn: 'leastconn',
  Random: 'random',
  SourceHash: 'source',
};

function renderBalance(version: Version, http: boolean): string {
  if (version.algorithm !== 'HeaderHash') return BALANCE[version.algorithm];
  return http && version.hashHeader !== undefined ? quote(`hdr(${version.hashHeader})`) : 'leastconn';
}

/** The `server` line: its checks are those of the defaults. */
export function renderServer({ name, address, way, endpoint }: Server, options: RenderOptions): string {
  const { tier, pod } = endpoint;
  const comment = `  # ${tier}${pod === undefined ? '' : ` ${printable(pod, 130)}`}`;
  return `  server ${quote(name)} ${quote(address)}${isChecked(way, options.preserveClientIp) ? '' : ' no-check'}${way === 'backup' ? ' backup' : ''}${comment}`;
}
