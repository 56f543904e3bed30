import fc from 'fast-check';
import type { Endpoint, Route, RouteTable, Version } from '../../src/model/route-table.ts';
import { buildChoice } from '../../src/routing/build-choice.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from './route-tables.ts';

/**
 * Random tables in two parts: what HAProxy has to be loaded with, and what it is given while it runs. Two tables with the same first part
 * never need a reload between them, by construction and not by what is rendered.
 */
const NAMES = ['a', 'b', 'c'] as const;
const VERSIONS = ['v0', 'v1', 'v2'] as const;
const VIP = '127.90.1.';
const GLOBAL_VIP = '127.90.2.';
const SERVERS = ['127.88.90.11', '127.88.90.12', '127.88.90.13', '127.88.90.14', '127.88.90.15'];
const PODS = ['127.88.90.21', '127.88.90.22', '127.88.90.23', '127.88.90.24'];
const ACCOUNTS = ['shop/web', 'shop/admin', 'other/job'];

const part = <T>(all: readonly T[]): fc.Arbitrary<readonly T[]> => fc.subarray([...all]);

const versionShape = fc.record({
  breaker: fc.boolean(),
  connLimit: fc.boolean(),
  algorithm: fc.constantFrom('RoundRobin' as const, 'LeastConn' as const, 'SourceHash' as const),
  serverProtocol: fc.constantFrom('h1' as const, 'h1' as const, 'h2' as const),
});
const routeShape = fc.record({
  protocol: fc.constantFrom('http' as const, 'http' as const, 'tcp' as const),
  type: fc.constantFrom('' as const, 'Percentage' as const, 'Header' as const),
  prefer: fc.boolean(),
  invalid: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  global: fc.boolean(),
  acl: fc.constantFrom('none' as const, 'denied' as const, 'allowed' as const),
  rate: fc.constantFrom(undefined, 'slow' as const, 'fast' as const),
  per: fc.constantFrom('Caller' as const, 'Route' as const),
  locality: fc.constantFrom('PreferLocal' as const, 'PreferLocal' as const, 'Cluster' as const),
  connectMs: fc.constantFrom(250, 300),
  log: fc.constantFrom(undefined, 'Errors' as const),
  /** Regexes that can be costly: their values are bounded in length. */
  costly: fc.boolean(),
  versions: fc.array(versionShape, { minLength: 1, maxLength: VERSIONS.length }),
});
type RouteShape = typeof routeShape extends fc.Arbitrary<infer T> ? T : never;

const versionLife = fc.record({
  active: part(SERVERS),
  backup: part(SERVERS),
  weight: fc.integer({ min: 0, max: 33 }),
  match: fc.integer({ min: 0, max: 5 }),
  threshold: fc.integer({ min: 1, max: 9 }),
  windowSeconds: fc.integer({ min: 1, max: 60 }),
  connLimit: fc.integer({ min: 1, max: 1000 }),
});
const routeLife = fc.record({
  exceptions: part(PODS),
  accounts: part(ACCOUNTS),
  requestsPerSecond: fc.integer({ min: 1, max: 999 }),
  burst: fc.integer({ min: 1, max: 50 }),
  versions: fc.tuple(versionLife, versionLife, versionLife),
});
type RouteLife = typeof routeLife extends fc.Arbitrary<infer T> ? T : never;

/** Which routes there are and what their rules are. */
export const shapes = fc.tuple(...NAMES.map(() => fc.option(routeShape, { nil: undefined, freq: 3 })));
export type Shape = typeof shapes extends fc.Arbitrary<infer T> ? T : never;
/** Endpoints, weights, regexes, ACL entries, numbers of rates, breakers and limits, callers. */
export const lives = fc.record({ pods: part(PODS), routes: fc.tuple(...NAMES.map(() => routeLife)) });
export type Life = typeof lives extends fc.Arbitrary<infer T> ? T : never;

/** Cheap on a value of any length, and others: see `regex-reach`. */
const PLAIN = ['^1', '^2', '^x', '^beta', '^[a-f]', '^$'];
const COSTLY = ['(?:a|a){9}[b-c]', 'x', 'beta$', 'c{0,50}c{0,60}[ef]', '(?:a|aa)+$', '(a+)+$'];

const endpoints = (addresses: readonly string[], tier: Endpoint['tier']): readonly Endpoint[] => addresses.map((address) => anEndpoint(address, 9000, { tier }));

function buildRoute(index: number, shape: RouteShape, life: RouteLife): Route {
  const http = shape.protocol === 'http';
  const type = shape.type === 'Header' && !http ? 'Percentage' : shape.type;
  const versions = shape.versions.map((one, i): Version => {
    const now = life.versions[i] ?? life.versions[0];
    return aVersion(VERSIONS[i] ?? '', endpoints(now.active, 'node'), {
      // Nobody stands by for nobody: then that tier is the active one.
      backup: now.active.length === 0 ? [] : endpoints(now.backup.filter((address) => !now.active.includes(address)), 'any'),
      weight: now.weight,
      ...(type === 'Header' ? { match: (shape.costly ? COSTLY : PLAIN)[now.match] ?? 'x' } : {}),
      serverProtocol: one.serverProtocol,
      algorithm: one.algorithm,
      breaker: { threshold: one.breaker ? now.threshold : 0, windowSeconds: now.windowSeconds, breakTimeSeconds: now.windowSeconds, connLimit: one.connLimit ? now.connLimit : 0 },
    });
  });
  const rule = { type, ...(type === 'Header' ? { header: 'x-version' } : {}), ...(shape.prefer ? { prefer: 'v0' } : {}) };
  const rate = shape.rate === undefined ? undefined : { requestsPerSecond: life.requestsPerSecond + (shape.rate === 'fast' ? 1000 : 0), burst: life.burst, per: shape.per };
  return aRoute(NAMES[index] ?? '', {
    vip: `${VIP}${index + 1}`,
    listen: 8080,
    ...(shape.global ? { globalVip: `${GLOBAL_VIP}${index + 1}` } : {}),
    protocol: shape.protocol,
    invalid: shape.invalid,
    rule,
    choice: buildChoice(rule, versions),
    versions,
    access: {
      namespace: 'shop',
      defaultAllow: shape.acl !== 'allowed',
      hasEntries: shape.acl !== 'none',
      exceptions: shape.acl === 'none' ? [] : life.exceptions,
      accounts: shape.acl === 'none' ? [] : life.accounts,
    },
    locality: shape.locality,
    timeout: { connectMs: shape.connectMs, requestMs: 60_000 },
    ...(rate === undefined ? {} : { rateLimit: rate }),
    ...(shape.log === undefined ? {} : { log: { mode: shape.log, percent: 1 } }),
  });
}

export function buildRandomTable(shape: Shape, life: Life): RouteTable {
  const routes = shape.flatMap((one, index) => {
    const now = life.routes[index];
    return one === undefined || now === undefined ? [] : [buildRoute(index, one, now)];
  });
  return aTable(routes, life.pods.map((address) => aCaller(address)));
}
