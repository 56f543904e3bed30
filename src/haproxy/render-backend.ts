import { listenerKey } from '../model/proxy.ts';
import { byCodeUnit } from '../model/names.ts';
import { printable } from '../model/problem.ts';
import type { Endpoint, Route, Version } from '../model/route-table.ts';
import type { BalanceAlgorithm, RetryCondition } from '../model/service-route.ts';
import { quote } from './quote.ts';
import { hasBreaker, renderConnLimit } from './render-breakers.ts';
import { DEFAULT_CONNECT_MS, DEFAULT_REQUEST_MS, DEFAULT_RETRIES, DEFAULT_RETRY_ON } from './render-global.ts';
import type { RenderOptions } from './render-options.ts';

/**
 * Failures are seen on real traffic: one failed connect takes a server out, and only then is it checked, each second.
 * Checks of healthy servers once an hour: with 10,000 endpoints a short interval would cost thousands of connects a second.
 */
const CHECK = 'check inter 1h fastinter 500ms downinter 1s fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down';

const RETRY_ON: Readonly<Record<RetryCondition, string>> = {
  'connect-failure': 'conn-failure',
  'empty-response': 'empty-response',
  'response-timeout': 'response-timeout',
};

/** RFC 9110 section 9.2.2. */
const IDEMPOTENT = 'GET HEAD OPTIONS PUT DELETE TRACE';

/** How many servers of a version want checks: all, or none where there is only one. */
export function checkableServers(version: Version): number {
  const servers = uniqueServers(version).length;
  return servers > 1 ? servers : 0;
}

/**
 * One active server and others behind it: `balance first` takes them in the order of the file. A `backup` server is not tried before
 * the active one is down, and a server that dies with idle connections in the pool takes a retry for each of them (seen: one GET
 * lost in 12 of 40 such deaths); `first` goes to another server at the first retry, and also past one that resets or stays silent.
 */
const inOrder = (version: Version): boolean => version.active.length === 1 && version.backup.length > 0;

/** A version's `backend`: how long, how often, which server. Versions of more than `largestChecked` servers have no checks. */
export function renderBackend(route: Route, version: Version, name: string, largestChecked: number, options: RenderOptions): readonly string[] {
  const http = route.protocol === 'http';
  const servers = uniqueServers(version);
  const { connectMs, requestMs } = route.timeout;
  const checked = servers.length > 1 && servers.length <= largestChecked;
  const defaults = [...(http && version.serverProtocol === 'h2' ? ['proto h2'] : []), ...(checked ? [CHECK] : [])];
  return [
    `backend ${name} from ${http ? 'http-version' : 'tcp-version'}${hasBreaker(version, options) ? '-breaker' : ''}`,
    ...renderConnLimit(route, version),
    `  balance ${inOrder(version) ? 'first' : renderBalance(version, http)}`,
    ...(connectMs === DEFAULT_CONNECT_MS ? [] : [`  timeout connect ${connectMs}ms`]),
    ...(!http || requestMs === DEFAULT_REQUEST_MS ? [] : [`  timeout server ${requestMs}ms`]),
    ...renderRetries(route),
    // A lone server is never marked down: there is nobody to go to, and it serves again at once when it is back.
    ...(defaults.length > 0 && servers.length > 0 ? [`  default-server ${defaults.join(' ')}`] : []),
    ...servers.map(({ endpoint, backup }) => renderServer(endpoint, backup && !inOrder(version))),
  ];
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

interface Server {
  readonly endpoint: Endpoint;
  readonly backup: boolean;
}

/** Active servers, then backups; an address and port once, as active if it is both. */
function uniqueServers(version: Version): readonly Server[] {
  const servers = new Map<string, Server>();
  const add = (endpoint: Endpoint, backup: boolean): void => {
    const key = listenerKey(endpoint.address, endpoint.port);
    if (ADDRESS.test(endpoint.address) && !servers.has(key)) servers.set(key, { endpoint, backup });
  };
  for (const endpoint of version.active) add(endpoint, false);
  for (const endpoint of version.backup) add(endpoint, true);
  return [...servers.values()];
}

/** Never a host name: HAProxy would resolve it while it starts, and hang on that. */
const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$/;

function renderServer({ address, port, pod, tier }: Endpoint, backup: boolean): string {
  const comment = `  # ${tier}${pod === undefined ? '' : ` ${printable(pod, 130)}`}`;
  return `  server ${quote(`${address}:${port}`)} ${quote(listenerKey(address, port))}${backup ? ' backup' : ''}${comment}`;
}
