import type { Endpoint, Route, RouteTable, Version } from '../../../src/model/route-table.ts';
import { aCaller, anEndpoint, aRoute, aVersion } from '../route-tables.ts';
import { SERVER_PORT, SERVERS } from './bench-servers.ts';

/** Parts of a route that can be had or not. */
export interface RouteParts {
  /** 70 : 30 over two versions; without: one version. */
  readonly split: boolean;
  /** A whitelist of 20 callers. */
  readonly acl: boolean;
  readonly breaker: boolean;
  readonly connLimit: boolean;
  readonly retries: boolean;
  readonly rateLimit: boolean;
  readonly log?: 'Errors' | 'Sampled';
}

export const PLAIN: RouteParts = { split: false, acl: false, breaker: false, connLimit: false, retries: false, rateLimit: false };
/** What the contract calls the full route. Metrics are counted by HAProxy in any case. */
export const FULL: RouteParts = { ...PLAIN, split: true, acl: true, breaker: true, connLimit: true, retries: true };

export const LISTEN = 8080;
const LOCAL_PODS = 100;
/** wrk cannot choose its source address: on loopback it calls as 127.0.0.1, which is a pod's address here. */
export const CALLER = '127.0.0.1';
/** Above anything that the load reaches: what is measured is counting, not refusing. */
export const CONN_LIMIT = 1000;
export const BREAKER = { threshold: 5, windowSeconds: 10, breakTimeSeconds: 30 } as const;
export const WEIGHTS = [70, 30] as const;

/** Addresses of this node's pods, the caller first. */
export const callers: readonly string[] = [CALLER, ...Array.from({ length: LOCAL_PODS - 1 }, (_, pod) => `127.88.86.${pod + 1}`)];
/** The callers that a whitelist names. */
export const allowed: readonly string[] = callers.filter((_, pod) => pod % 5 === 0).toSorted();

/** A node with `count` routes alike, the VIP of route `i` being `vipOf(i)`. */
export function benchTable(count: number, vipOf: (route: number) => string, parts: RouteParts): RouteTable {
  return {
    node: 'bench',
    routes: Array.from({ length: count }, (_, index) => benchRoute(index, vipOf(index), parts)),
    callers: {
      pods: callers.map((address) => aCaller(address)),
      unknownPrefixes: ['127.88.0.0/16'],
      hostPrefixes: ['127.0.0.0/8'],
      trusted: [],
    },
    tokenCodes: [],
    problems: [],
  };
}

function benchRoute(index: number, vip: string, parts: RouteParts): Route {
  const name = `svc${String(index).padStart(4, '0')}`;
  const servers = SERVERS.map((address) => anEndpoint(address, SERVER_PORT));
  const half = servers.length / 2;
  const versions = parts.split ? [aBenchVersion(`${name}-a`, servers.slice(0, half), parts), aBenchVersion(`${name}-b`, servers.slice(half), parts)] : [aBenchVersion(name, servers, parts)];
  return aRoute(name, {
    vip,
    listen: LISTEN,
    versions,
    ...(parts.split ? { rule: { type: 'Percentage' }, choice: { kind: 'weighted', total: 100, shares: [{ below: WEIGHTS[0], version: 0 }, { below: 100, version: 1 }] } } : {}),
    ...(parts.acl ? { access: { namespace: 'shop', defaultAllow: false, exceptions: allowed, accounts: [], hasEntries: true } } : {}),
    ...(parts.retries ? {} : { retries: { attempts: 0, on: [], nonIdempotent: false } }),
    ...(parts.rateLimit ? { rateLimit: { requestsPerSecond: 1_000_000, burst: 1_000_000, per: 'Caller' as const } } : {}),
    ...(parts.log === undefined ? {} : { log: { mode: parts.log, percent: 1 } }),
  });
}

function aBenchVersion(name: string, active: readonly Endpoint[], { breaker, connLimit }: RouteParts): Version {
  if (!breaker && !connLimit) return aVersion(name, active);
  const off = { ...BREAKER, threshold: 0 };
  return aVersion(name, active, { breaker: { ...(breaker ? BREAKER : off), connLimit: connLimit ? CONN_LIMIT : 0 } });
}
