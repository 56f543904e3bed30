import type { BreakerState } from '../model/breaker.ts';
import type { BreakerSpec } from '../model/service-route.ts';
import { objectKey } from '../model/names.ts';
import type { Problem } from '../model/problem.ts';
import type { Endpoint, Route, RouteTable, Version } from '../model/route-table.ts';

/** What is in effect on this node, besides the table. */
export interface InEffect {
  /** Counts the changes in effect since the start. */
  readonly generation: number;
  /** `dir:PATH` or `kubernetes`. */
  readonly source: string;
  /** The source does not answer: its objects are those of the stored Snapshot. */
  readonly stale: boolean;
  readonly proxy: 'haproxy' | 'embedded';
  /** Problems found while applying, besides those of the table. */
  readonly problems: readonly Problem[];
  readonly breakers: readonly BreakerState[];
}

/** Body of `GET /routes` (design: "The agent's command line"). Plain data, bounded by the objects it shows. */
export function buildRoutesView(table: RouteTable, effect: InEffect): object {
  const states = new Map(effect.breakers.map((state) => [stateKey(state.namespace, state.route, state.version), state]));
  return {
    node: table.node,
    generation: effect.generation,
    source: effect.source,
    ...(effect.stale ? { stale: true } : {}),
    proxy: effect.proxy,
    routes: table.routes.map((route) => viewRoute(route, table, effect.problems, states)),
    problems: [...table.problems, ...effect.problems],
  };
}

const stateKey = (namespace: string, route: string, version: number): string => `${namespace}/${route}/${version}`;

function viewRoute(route: Route, table: RouteTable, applied: readonly Problem[], states: ReadonlyMap<string, BreakerState>): object {
  const key = objectKey(route);
  return {
    namespace: route.namespace,
    name: route.name,
    vip: route.vip,
    ...(route.vip6 === undefined ? {} : { vip6: route.vip6 }),
    ...(route.globalVip === undefined ? {} : { globalVip: route.globalVip }),
    ...(route.globalVip6 === undefined ? {} : { globalVip6: route.globalVip6 }),
    listen: route.listen,
    protocol: route.protocol,
    rule: route.rule,
    ...(route.invalid ? { invalid: true } : {}),
    versions: route.versions.map((version, i) => viewVersion(version, states.get(stateKey(route.namespace, route.name, i)))),
    ...(route.rateLimit === undefined ? {} : { rateLimit: route.rateLimit }),
    ...(route.log === undefined ? {} : { log: route.log }),
    callers: viewCallers(route, table),
    problems: [
      ...route.problems,
      ...applied.filter(({ object }) => object.kind === 'ServiceRoute' && `${object.namespace ?? ''}/${object.name}` === key),
    ],
  };
}

function viewVersion(version: Version, state: BreakerState | undefined): object {
  return {
    name: version.name,
    ...(version.weight === undefined ? {} : { weight: version.weight }),
    ...(version.match === undefined ? {} : { match: version.match }),
    serverProtocol: version.serverProtocol,
    endpoints: version.endpoints.map((endpoint) => ({ ...endpoint, use: useOf(version, endpoint) })),
    ...(version.spill === undefined ? {} : { spillAt: version.spill.at }),
    ...(version.breaker === undefined ? {} : { breaker: viewBreaker(version.breaker, state) }),
  };
}

/** Settings under the names and in the units of the ServiceRoute (seconds); what it does now only where there is a threshold. */
function viewBreaker({ threshold, windowSeconds, breakTimeSeconds, connLimit }: BreakerSpec, state: BreakerState | undefined): object {
  const settings = { threshold, window: windowSeconds, breakTime: breakTimeSeconds, connLimit };
  if (state === undefined) return settings;
  const { mode, open, openUntilMs, errors } = state;
  return { ...settings, state: open ? 'open' : 'closed', mode, errors, ...(openUntilMs === undefined ? {} : { openUntil: new Date(openUntilMs).toISOString() }) };
}

/** What an endpoint is used for now: `active` takes traffic, `backup` stands by, `spill` takes calls when both are saturated, `none` is beyond these or not usable. */
function useOf(version: Version, endpoint: Endpoint): 'active' | 'backup' | 'spill' | 'none' {
  if (version.active.includes(endpoint)) return 'active';
  if (version.backup.includes(endpoint)) return 'backup';
  return version.spill?.tiers.some((tier) => tier.includes(endpoint)) === true ? 'spill' : 'none';
}

/** The pods of this node that may call the route, by its own VIP and by the global one. */
function viewCallers(route: Route, table: RouteTable): object {
  const { defaultAllow, exceptions } = route.access;
  const excepted = new Set(exceptions);
  const allowed = table.callers.pods.filter((caller) => excepted.has(caller.address) !== defaultAllow);
  const name = (caller: { namespace: string; pod: string }): string => `${caller.namespace}/${caller.pod}`;
  return {
    defaultAllow,
    vip: allowed.filter((caller) => caller.trusted || caller.namespace === route.namespace).map(name),
    globalVip: route.globalVip === undefined ? [] : allowed.map(name),
  };
}
