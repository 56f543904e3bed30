import { buildZone } from '../../src/dns/build-zone.ts';
import type { Zone } from '../../src/dns/zone.ts';
import type { Route } from '../../src/model/route-table.ts';
import { numberToIpv4, parseVipPool, type VipPool } from '../../src/model/vip-pool.ts';

/** A route as the table holds it, with only what DNS looks at worth setting. */
export function dnsRoute(from: Partial<Route> & Pick<Route, 'namespace' | 'name' | 'vip'>): Route {
  return {
    listen: 80,
    protocol: 'http',
    invalid: false,
    rule: { type: '' },
    choice: { kind: 'none' },
    versions: [],
    access: { namespace: from.namespace, defaultAllow: true, exceptions: [], accounts: [], hasEntries: false },
    locality: 'PreferLocal',
    timeout: { connectMs: 250, requestMs: 60_000 },
    retries: { attempts: 3, on: ['connect-failure'], nonIdempotent: false },
    problems: [],
    ...from,
  };
}

/** A version of which only the name matters. */
export const dnsVersion = (name: string): Route['versions'][number] => ({
  name,
  serverProtocol: 'h1',
  endpoints: [],
  active: [],
  backup: [],
  algorithm: 'RoundRobin',
});

export const LOOPBACK_POOL = parseVipPool('127.77.0.0/16');

export function dnsZone(routes: readonly Route[], pool: VipPool = LOOPBACK_POOL): Zone {
  return buildZone({ zoneName: 'route.internal', globalNamespace: 'global', pool, routes, nodeName: 'node-a', version: '0.1.0' });
}

/** `count` routes `svc<i>.ns<i % 10>` with consecutive VIPs. */
export function manyDnsRoutes(count: number, pool: VipPool = LOOPBACK_POOL): Route[] {
  return Array.from({ length: count }, (_, i) => dnsRoute({ namespace: `ns${i % 10}`, name: `svc${i}`, vip: numberToIpv4(pool.first + i) }));
}
