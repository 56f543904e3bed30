import { objectKey } from '../model/names.ts';
import { problem, type Problem } from '../model/problem.ts';
import { listenerKey } from '../model/proxy.ts';
import type { Route, RouteTable } from '../model/route-table.ts';

/** A listener that cannot be opened now: what holds it, and what can be done. */
export interface RefusedListener {
  /** `port-taken`, `port-denied` or `port-unavailable`. */
  readonly code: string;
  readonly detail: string;
  readonly remedy: string;
}

/** All addresses of a route with its port. */
export function routeListeners(route: Route): readonly { readonly address: string; readonly port: number }[] {
  return [route.vip, route.vip6, route.globalVip, route.globalVip6].flatMap((address) => (address === undefined ? [] : [{ address, port: route.listen }]));
}

/**
 * Takes routes out of the table whose listener is refused: a bind that fails inside a reload would stop every route of the node,
 * so it is never tried. Each becomes a Problem; its VIP and name stay.
 */
export function withholdRoutes(table: RouteTable, refused: ReadonlyMap<string, RefusedListener>): { readonly table: RouteTable; readonly problems: readonly Problem[] } {
  if (refused.size === 0) return { table, problems: [] };
  const problems: Problem[] = [];
  const routes = table.routes.filter((route) => {
    const key = routeListeners(route).map(({ address, port }) => listenerKey(address, port)).find((listener) => refused.has(listener));
    const why = key === undefined ? undefined : refused.get(key);
    if (key === undefined || why === undefined) return true;
    problems.push(
      problem({
        code: why.code,
        object: { kind: 'ServiceRoute', namespace: route.namespace, name: route.name },
        field: 'spec.port.listen',
        message: `${key} cannot be opened for ${objectKey(route)}: ${why.detail}; the route is not served`,
        remedy: why.remedy,
      }),
    );
    return false;
  });
  return { table: { ...table, routes }, problems };
}
