import { byCodeUnit, objectKey } from '../model/names.ts';
import type { Problem } from '../model/problem.ts';
import type { Route, RouteTable } from '../model/route-table.ts';
import type { Pod, Snapshot } from '../model/snapshot.ts';
import { pairedVip6, type VipPool } from '../model/vip-pool.ts';
import { allocateVips, type VipLedger } from './allocate-vips.ts';
import { buildCallers, indexCallers, type TrustedCaller } from './build-callers.ts';
import { buildEndpointGuard } from './endpoint-guard.ts';
import { resolveRoute, type ResolveContext } from './resolve-route.ts';

export interface RoutingOptions {
  readonly nodeName: string;
  /** Addresses of this node's interfaces, without loopback ones. */
  readonly ownAddresses: readonly string[];
  readonly pool: VipPool;
  readonly globalNamespace: string;
  readonly trustedCallers: readonly TrustedCaller[];
  /** Default port of http routes on their VIP. */
  readonly httpPort: number;
}

/** Snapshot -> what this node serves, and who holds which VIP from now on. Pure: same input, same output. */
export function buildTable(
  snapshot: Snapshot,
  options: RoutingOptions,
  ledger: VipLedger,
  nowMs: number,
): { readonly table: RouteTable; readonly ledger: VipLedger } {
  const podsByKey = new Map(snapshot.pods.map((pod): [string, Pod] => [objectKey(pod), pod]));
  const nodes = new Map(snapshot.nodes.map((node) => [node.name, node]));
  const zone = nodes.get(options.nodeName)?.zone;
  const callers = buildCallers(snapshot.pods, snapshot.services, options.nodeName, options.pool, options.ownAddresses, options.trustedCallers);
  const context: ResolveContext = {
    httpPort: options.httpPort,
    services: new Map(snapshot.services.map((service) => [objectKey(service), service])),
    slices: Map.groupBy(snapshot.endpointSlices, (slice) => `${slice.namespace}/${slice.serviceName}`),
    view: { name: options.nodeName, nodes, podsByKey, ...(zone === undefined ? {} : { zone }) },
    guard: buildEndpointGuard(snapshot, options.pool, options.ownAddresses, podsByKey),
    callers: indexCallers(callers.table),
  };

  const serviceRoutes = snapshot.serviceRoutes.filter((route) => route.namespace !== options.globalNamespace);
  const allocation = allocateVips(serviceRoutes, options.pool, ledger, nowMs, snapshot.nodes.length > 1);
  const found = [...snapshot.problems, ...callers.problems, ...allocation.problems];
  const known = Map.groupBy(
    found.filter((one) => one.object.kind === 'ServiceRoute'),
    (one) => `${one.object.namespace ?? ''}/${one.object.name}`,
  );

  const routes: Route[] = [];
  const resolved: Problem[] = [];
  for (const source of serviceRoutes) {
    const key = objectKey(source);
    const vip = allocation.vips.get(key);
    if (vip === undefined) continue;
    const { route, problems } = resolveRoute(source, context);
    const vip6 = pairedVip6(options.pool, vip);
    const globalVip = allocation.globalVips.get(key);
    const globalVip6 = globalVip === undefined ? undefined : pairedVip6(options.pool, globalVip);
    resolved.push(...problems);
    routes.push({
      namespace: source.namespace,
      name: source.name,
      vip,
      ...(vip6 === undefined ? {} : { vip6 }),
      ...(globalVip === undefined ? {} : { globalVip }),
      ...(globalVip6 === undefined ? {} : { globalVip6 }),
      ...route,
      problems: [...(known.get(key) ?? []), ...problems].sort(byProblem),
    });
  }
  return {
    table: {
      node: options.nodeName,
      ...(zone === undefined ? {} : { zone }),
      routes: routes.sort((a, b) => byCodeUnit(objectKey(a), objectKey(b))),
      callers: callers.table,
      problems: [...found, ...resolved].sort(byProblem),
    },
    ledger: allocation.ledger,
  };
}

function byProblem(a: Problem, b: Problem): number {
  const key = (one: Problem): string => [one.object.kind, one.object.namespace ?? '', one.object.name, one.field ?? '', one.code, one.message].join('\u0000');
  return byCodeUnit(key(a), key(b));
}
