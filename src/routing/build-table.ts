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
import { groupSlices } from './slice-groups.ts';
import { sameElements, sameInputs, sharedInputs, type ResolvedEntry, type SharedPart, type TableBase, type TableMemory } from './table-memory.ts';

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
  const kept = before !== undefined && sameInputs(before.base.shared.inputs, inputs) ? before : undefined;
  const { base, ledger: next } = buildBase(snapshot, options, ledger, nowMs, kept?.base ?? buildShared(snapshot, options, inputs));
  const { touched, ...groups } = groupSlices(snapshot.endpointSlices, before?.groups);
  const context: ResolveContext = { ...base.shared.context, slices: groups.byService };

  const last = kept?.base === base && touched !== undefined ? kept : undefined;
  const stale = last === undefined || touched === undefined ? base.serviceRoutes : new Set([...touched].flatMap((service) => base.users.get(service) ?? []));
  const entries = new Map(last?.entries);
  for (const source of stale) {
    const key = objectKey(source);
    const entry = buildEntry(source, base, context, options.pool, kept?.entries.get(key));
    if (entry !== undefined) entries.set(key, entry);
  }
  const table = last === undefined ? assemble(options.nodeName, snapshot, base, entries) : amend(last, snapshot, base, entries, stale);
  return { table, ledger: next, memory: { base, groups, entries, table } };
}

/** Everything but the slices; the very same as before when nothing of it changed. */
function buildBase(snapshot: Snapshot, options: RoutingOptions, ledger: VipLedger, nowMs: number, before: TableBase | SharedPart): { readonly base: TableBase; readonly ledger: VipLedger } {
  const kept = 'shared' in before ? before : undefined;
  const shared = 'shared' in before ? before.shared : before;
  const isSameSources = kept !== undefined && sameElements(kept.sources, snapshot.serviceRoutes);
  const serviceRoutes = isSameSources ? kept.serviceRoutes : snapshot.serviceRoutes.filter((route) => route.namespace !== options.globalNamespace);
  // What the controller gave changes with the routes alone; what is given here also with time.
  const { ledger: next, ...allocation } =
    options.vips === 'allocate'
      ? allocateVips(serviceRoutes, options.pool, ledger, nowMs, snapshot.nodes.length > 1)
      : { ...(isSameSources ? kept.allocation : readStatusVips(serviceRoutes, options.pool)), ledger };
  if (isSameSources && sameElements(kept.sourceProblems, snapshot.problems) && isSameAllocation(kept.allocation, allocation)) return { base: kept, ledger: next };
  const found = [...snapshot.problems, ...shared.callers.problems, ...allocation.problems];
  const known = Map.groupBy(
    found.filter((one) => one.object.kind === 'ServiceRoute'),
    (one) => `${one.object.namespace ?? ''}/${one.object.name}`,
  );
  const users = new Map<string, ServiceRoute[]>();
  for (const route of serviceRoutes) {
    for (const { name } of route.spec?.to ?? []) {
      const key = `${route.namespace}/${name}`;
      const those = users.get(key);
      if (those === undefined) users.set(key, [route]);
      else those.push(route);
    }
  }
  return { base: { shared, sources: snapshot.serviceRoutes, sourceProblems: snapshot.problems, serviceRoutes, allocation, found, known, users }, ledger: next };
}

/** True when both give the same addresses and find the same. */
const isSameAllocation = (a: TableBase['allocation'], b: TableBase['allocation']): boolean =>
  isSameMap(a.vips, b.vips) && isSameMap(a.globalVips, b.globalVips) && (a.problems === b.problems || (a.problems.length === 0 && b.problems.length === 0));

const isSameMap = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean =>
  a === b || (a.size === b.size && [...a].every(([key, value]) => b.get(key) === value));

/** Resolves and places one route; as much of `last` as still holds stays the very same. Undefined: it has no address. */
function buildEntry(source: ServiceRoute, { allocation, known }: TableBase, context: ResolveContext, pool: VipPool, last: ResolvedEntry | undefined): ResolvedEntry | undefined {
  const key = objectKey(source);
  const vip = allocation.vips.get(key);
  if (vip === undefined) return undefined;
  const slices = source.spec?.to.flatMap((to) => context.slices.get(`${source.namespace}/${to.name}`) ?? []) ?? [];
  const resolved = last !== undefined && last.source === source && sameElements(last.slices, slices) ? last.resolved : resolveRoute(source, context);
  const route = placeRoute(source, resolved, { pool, vip, globalVip: allocation.globalVips.get(key), known: known.get(key) ?? [] });
  return { source, slices, resolved, route: last !== undefined && last.resolved === resolved && isSamePlace(last.route, route) ? last.route : route };
}

function assemble(node: string, snapshot: Snapshot, { shared, found }: TableBase, entries: ReadonlyMap<string, ResolvedEntry>): RouteTable {
  const { zone } = shared.context.view;
  return {
    node,
    ...(zone === undefined ? {} : { zone }),
    routes: [...entries.values()].map(({ route }) => route).sort((a, b) => byCodeUnit(a.namespace, b.namespace) || byCodeUnit(a.name, b.name)),
    callers: shared.callers.table,
    tokenCodes: snapshot.tokenCodes,
    problems: sortProblems([...found, ...[...entries.values()].flatMap(({ resolved }) => resolved.problems)]),
  };
}

/** The table before with other routes in the place of those that were looked at again; lists without a change stay the very same. */
function amend(last: TableMemory, snapshot: Snapshot, base: TableBase, entries: ReadonlyMap<string, ResolvedEntry>, looked: Iterable<ServiceRoute>): RouteTable {
  const replaced = new Map<Route, Route>();
  let hasProblems = false;
  for (const source of looked) {
    const key = objectKey(source);
    const [old, now] = [last.entries.get(key), entries.get(key)];
    if (old === undefined || now === undefined || old.route === now.route) continue;
    replaced.set(old.route, now.route);
    hasProblems ||= old.resolved.problems.length > 0 || now.resolved.problems.length > 0;
  }
  if (hasProblems) return assemble(last.table.node, snapshot, base, entries);
  const { table } = last;
  return { ...table, routes: replaced.size === 0 ? table.routes : table.routes.map((route) => replaced.get(route) ?? route), tokenCodes: snapshot.tokenCodes };
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
