import { buildZone } from '../dns/build-zone.ts';
import type { Zone } from '../dns/zone.ts';
import type { Route, RouteTable } from '../model/route-table.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { VipLedger } from '../model/vip-ledger.ts';
import { buildTable } from '../routing/build-table.ts';
import type { RoutingOptions } from '../routing/routing-options.ts';
import type { TableMemory } from '../routing/table-memory.ts';

export interface DesiredOptions extends RoutingOptions {
  /** Name of the route zone, without the final dot. */
  readonly zoneName: string;
  /** Onehop's version, for `version.server`. */
  readonly version: string;
}

/** What one node should serve. */
export interface Desired {
  readonly table: RouteTable;
  readonly zone: Zone;
  readonly ledger: VipLedger;
  /** For the next call: what did not change is not built again. */
  readonly memory: DesiredMemory;
}

export interface DesiredMemory {
  readonly table: TableMemory;
  readonly zone: Zone;
  /** What the zone was built from: its scalars, and the routes. */
  readonly zoneKey: string;
  readonly routes: readonly Route[];
}

/** Snapshot -> Desired. Pure: the same input gives the same output, on every node and in every tool, with or without `before`. */
export function buildDesired(snapshot: Snapshot, options: DesiredOptions, ledger: VipLedger, nowMs: number, before?: DesiredMemory): Desired {
  const { table, ledger: next, memory } = buildTable(snapshot, options, ledger, nowMs, before?.table);
  const { zoneName, globalNamespace, pool, nodeName, version } = options;
  const { routes } = table;
  const zoneKey = `${zoneName} ${globalNamespace} ${nodeName} ${version} ${pool.cidr} ${pool.cidr6 ?? ''}`;
  const zone = before?.zoneKey === zoneKey && haveSameNames(before.routes, routes) ? before.zone : buildZone({ zoneName, globalNamespace, pool, routes, nodeName, version });
  return { table, zone, ledger: next, memory: { table: memory, zone, zoneKey, routes } };
}

/** True when DNS says the same of both. Endpoints are not in it, so their churn leaves the zone as it is. */
const haveSameNames = (before: readonly Route[], routes: readonly Route[]): boolean =>
  before === routes || (before.length === routes.length && routes.every((route, i) => route === before[i] || namesOf(route) === namesOf(before[i])));

/** What DNS says of a route. */
const namesOf = (route: Route | undefined): string =>
  route === undefined
    ? ''
    : JSON.stringify([route.namespace, route.name, route.vip, route.globalVip, route.listen, route.protocol, route.invalid, route.targetPort, route.rule, route.versions.map((version) => version.name)]);
