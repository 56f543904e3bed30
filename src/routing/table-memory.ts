import type { Problem } from '../model/problem.ts';
import type { CallerTable, Route, RouteTable } from '../model/route-table.ts';
import type { ServiceRoute } from '../model/service-route.ts';
import type { EndpointSlice, Snapshot } from '../model/snapshot.ts';
import type { VipAllocation } from './allocate-vips.ts';
import type { ResolveContext, ResolvedRoute } from './resolve-route.ts';
import type { RoutingOptions } from './routing-options.ts';
import type { SliceGroups } from './slice-groups.ts';

/*
 * A build remembers what it resolved, so that the next one only does what changed. A source keeps the identity of objects that did not
 * change: the same object means the same content. What a route resolves to depends on its own object, its slices, and what all share
 * (options, Services, pods, nodes, the API server's addresses); when these are the very same, so is the result. While nothing but slices
 * changed, only the routes that use them are looked at.
 */

/** What all routes depend on, as it was indexed. */
export interface SharedPart {
  readonly inputs: readonly (readonly unknown[])[];
  readonly context: Omit<ResolveContext, 'slices'>;
  readonly callers: { readonly table: CallerTable; readonly problems: readonly Problem[] };
}

/** Everything of a build but the slices. */
export interface TableBase {
  readonly shared: SharedPart;
  /** All ServiceRoutes and Problems of the Snapshot. */
  readonly sources: readonly ServiceRoute[];
  readonly sourceProblems: readonly Problem[];
  /** Those that may be served. */
  readonly serviceRoutes: readonly ServiceRoute[];
  readonly allocation: Omit<VipAllocation, 'ledger'>;
  /** Found before any route was resolved; `known`: those of routes, by key. */
  readonly found: readonly Problem[];
  readonly known: ReadonlyMap<string, readonly Problem[]>;
  /** Routes by the Services that they name, `namespace/name`. */
  readonly users: ReadonlyMap<string, readonly ServiceRoute[]>;
}

/** One route as it was resolved, and the Route that was made of it. */
export interface ResolvedEntry {
  readonly source: ServiceRoute;
  readonly slices: readonly EndpointSlice[];
  readonly resolved: { readonly route: ResolvedRoute; readonly problems: readonly Problem[] };
  readonly route: Route;
}

export interface TableMemory {
  readonly base: TableBase;
  readonly groups: SliceGroups;
  readonly entries: ReadonlyMap<string, ResolvedEntry>;
  readonly table: RouteTable;
}

/** The objects that the shared part is made of, list by list. */
export function sharedInputs(snapshot: Snapshot, options: RoutingOptions): SharedPart['inputs'] {
  const apiServer = snapshot.endpointSlices.filter((slice) => slice.namespace === 'default' && slice.serviceName === 'kubernetes');
  const { ownAddresses, trustedCallers, pool, ...scalars } = options;
  return [snapshot.services, snapshot.pods, snapshot.nodes, apiServer, ownAddresses, trustedCallers, [pool], Object.values(scalars)];
}

/** True when both lists hold the very same elements. */
export const sameElements = (a: readonly unknown[], b: readonly unknown[]): boolean => a === b || (a.length === b.length && a.every((element, i) => element === b[i]));

/** True when all routes would see the same shared part. */
export const sameInputs = (a: SharedPart['inputs'], b: SharedPart['inputs']): boolean => a.length === b.length && a.every((list, i) => sameElements(list, b[i] ?? []));
