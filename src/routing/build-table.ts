import { byCodeUnit, objectKey } from '../model/names.ts';
import type { Problem } from '../model/problem.ts';
import type { Route, RouteTable } from '../model/route-table.ts';
import type { ServiceRoute } from '../model/service-route.ts';
import type { Pod, Snapshot } from '../model/snapshot.ts';
import type { VipLedger } from '../model/vip-ledger.ts';
import { pairedVip6, type VipPool } from '../model/vip-pool.ts';
import { allocateVips } from './allocate-vips.ts';
import { buildCallers, indexCallers } from './build-callers.ts';
import { buildEndpointGuard } from './endpoint-guard.ts';
import { readStatusVips } from './read-status-vips.ts';
import { resolveRoute, type ResolveContext } from './resolve-route.ts';
import type { RoutingOptions } from './routing-options.ts';
import { sameElements, sameInputs, sharedInputs, type ResolvedEntry, type SharedPart, type TableMemory } from './table-memory.ts';

export interface BuiltTable {
  readonly table: RouteTable;
  /** Who holds which VIP from now on; untouched where the controller gives them. */
  readonly ledger: VipLedger;
  /** For the next build: with it, unchanged routes keep their identity and cost nothing. */
  readonly memory: TableMemory;
}

/** Snapshot -> what this node serves. Pure: same input, same output, with or without `before`. */
export function buildTable(snapshot: Snapshot, options: RoutingOptions, ledger: VipLedger, nowMs: number, before?: TableMemory): BuiltTable {
  const inputs = sharedInputs(snapshot, options);
  const kept = before !== undefined && sameInputs(before.shared.inputs, inputs) ? before : undefined;
  const shared = kept?.shared ?? buildShared(snapshot, options, inputs);
  const context: ResolveContext = { ...shared.context, slices: Map.groupBy(snapshot.endpointSlices, (slice) => `${slice.namespace}/${slice.serviceName}`) };

  const serviceRoutes = snapshot.serviceRoutes.filter((route) => route.namespace !== options.globalNamespace);
  const allocation =
    options.vips === 'status' ? { ...readStatusVips(serviceRoutes, options.pool), ledger } : allocateVips(serviceRoutes, options.pool, ledger, nowMs, snapshot.nodes.length > 1);
  const found = [...snapshot.problems, ...shared.callers.problems, ...allocation.problems];
  const known = Map.groupBy(
    found.filter((one) => one.object.kind === 'ServiceRoute'),
    (one) => `${one.object.namespace ?? ''}/${one.object.name}`,
  );

  const entries = new Map<string, ResolvedEntry>();
  for (const source of serviceRoutes) {
    const key = objectKey(source);
    const vip = allocation.vips.get(key);
    if (vip === undefined) continue;
    const slices = source.spec?.to.flatMap((to) => context.slices.get(`${source.namespace}/${to.name}`) ?? []) ?? [];
    const last = kept?.entries.get(key);
    const resolved = last !== undefined && last.source === source && sameElements(last.slices, slices) ? last.resolved : resolveRoute(source, context);
    const route = placeRoute(source, resolved, { pool: options.pool, vip, globalVip: allocation.globalVips.get(key), known: known.get(key) ?? [] });
    entries.set(key, { source, slices, resolved, route: last !== undefined && last.resolved === resolved && isSamePlace(last.route, route) ? last.route : route });
  }
  const { zone } = shared.context.view;
  return {
    table: {
      node: options.nodeName,
      ...(zone === undefined ? {} : { zone }),
      routes: [...entries.values()].map(({ route }) => route).sort((a, b) => byCodeUnit(a.namespace, b.namespace) || byCodeUnit(a.name, b.name)),
      callers: shared.callers.table,
      tokenCodes: snapshot.tokenCodes,
      problems: sortProblems([...found, ...[...entries.values()].flatMap(({ resolved }) => resolved.problems)]),
    },
    ledger: allocation.ledger,
    memory: { shared, entries },
  };
}

/** Indexes what all routes share. */
function buildShared(snapshot: Snapshot, options: RoutingOptions, inputs: SharedPart['inputs']): SharedPart {
  const { nodeName, pool, ownAddresses, httpPort } = options;
  const podsByKey = new Map(snapshot.pods.map((pod): [string, Pod] => [objectKey(pod), pod]));
  const nodes = new Map(snapshot.nodes.map((node) => [node.name, node]));
  const zone = nodes.get(nodeName)?.zone;
  const callers = buildCallers(snapshot.pods, snapshot.services, nodeName, pool, ownAddresses, options.trustedCallers);
  return {
    inputs,
    callers,
    context: {
      httpPort,
      services: new Map(snapshot.services.map((service) => [objectKey(service), service])),
      view: { name: nodeName, nodes, podsByKey, ...(zone === undefined ? {} : { zone }) },
      guard: buildEndpointGuard(snapshot, pool, ownAddresses, podsByKey),
      callers: indexCallers(callers.table),
    },
  };
}

/** Adds what allocation and the rest of the snapshot say about a route. */
function placeRoute(
  { namespace, name }: ServiceRoute,
  { route, problems }: ResolvedEntry['resolved'],
  { pool, vip, globalVip, known }: { readonly pool: VipPool; readonly vip: string; readonly globalVip: string | undefined; readonly known: readonly Problem[] },
): Route {
  const vip6 = pairedVip6(pool, vip);
  const globalVip6 = globalVip === undefined ? undefined : pairedVip6(pool, globalVip);
  return {
    namespace,
    name,
    vip,
    ...(vip6 === undefined ? {} : { vip6 }),
    ...(globalVip === undefined ? {} : { globalVip }),
    ...(globalVip6 === undefined ? {} : { globalVip6 }),
    ...route,
    problems: sortProblems([...known, ...problems]),
  };
}

/** True when two Routes made of one resolution differ in nothing else. */
const isSamePlace = (a: Route, b: Route): boolean =>
  a.vip === b.vip && a.globalVip === b.globalVip && a.problems.length === b.problems.length && a.problems.every((one, i) => JSON.stringify(one) === JSON.stringify(b.problems[i]));

/** By object, field, code and message. Each key is made once: a tenant may cause tens of thousands. */
function sortProblems(problems: readonly Problem[]): readonly Problem[] {
  const key = (one: Problem): string => [one.object.kind, one.object.namespace ?? '', one.object.name, one.field ?? '', one.code, one.message].join('\u0000');
  return problems
    .map((one) => ({ one, key: key(one) }))
    .sort((a, b) => byCodeUnit(a.key, b.key))
    .map(({ one }) => one);
}
