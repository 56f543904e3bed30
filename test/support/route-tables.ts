import type { Caller, CallerTable, Endpoint, Route, RouteTable, Version } from '../../src/model/route-table.ts';

/** A ready endpoint of this node unless said otherwise. */
export const anEndpoint = (address: string, port: number, more: Partial<Endpoint> = {}): Endpoint => ({ address, port, tier: 'node', state: 'ready', ...more });

/** A version served by `active`, over h1, leastconn. */
export const aVersion = (name: string, active: readonly Endpoint[], more: Partial<Version> = {}): Version => ({
  name,
  serverProtocol: 'h1',
  endpoints: [...active, ...(more.backup ?? [])],
  active,
  backup: [],
  algorithm: 'LeastConn',
  ...more,
});

/** A private http route `shop/NAME` whose first version takes everything. */
export const aRoute = (name: string, more: Partial<Route> & Pick<Route, 'vip' | 'listen' | 'versions'>): Route => ({
  namespace: 'shop',
  name,
  protocol: 'http',
  invalid: false,
  rule: { type: '' },
  choice: { kind: 'fixed', version: 0 },
  access: { namespace: more.namespace ?? 'shop', defaultAllow: true, exceptions: [], accounts: [], hasEntries: false },
  locality: 'PreferLocal',
  timeout: { connectMs: 250, requestMs: 60_000 },
  retries: { attempts: 3, on: ['connect-failure', 'empty-response', 'response-timeout'], nonIdempotent: false },
  problems: [],
  ...more,
});

/** A live pod of namespace shop unless said otherwise. */
export const aCaller = (address: string, more: Partial<Caller> = {}): Caller => ({
  address,
  namespace: 'shop',
  pod: `pod-${address.replaceAll('.', '-')}`,
  serviceAccount: 'default',
  services: [],
  trusted: false,
  ...more,
});

/** Callers on loopback: pods, 127.88/16 unknown, the rest of 127/8 host. */
export const loopbackCallers = (pods: readonly Caller[]): CallerTable => ({ pods, unknownPrefixes: ['127.88.0.0/16'], hostPrefixes: ['127.0.0.0/8'], trusted: [] });

export const aTable = (routes: readonly Route[], pods: readonly Caller[] = []): RouteTable => ({ node: 'node-1', routes, callers: loopbackCallers(pods), tokenCodes: [], problems: [] });
