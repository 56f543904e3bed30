import { printable } from '../model/problem.ts';
import type { Route } from '../model/route-table.ts';
import { label } from './quote.ts';

/** The internal sections; none holds a dot, so none meets a route's `namespace.name`. */
export const INTERNAL_FRONTEND = 'onehop';

/** Name of a route's frontend and the stem of its map files: `shop.cart`. */
export const frontendName = (route: Pick<Route, 'namespace' | 'name'>): string => `${label(route.namespace)}.${label(route.name)}`;

/** Names of a route's backends, one per version: `shop.cart.cart-v1`; a Service listed again gets its position behind it. */
export function backendNames(route: Route): readonly string[] {
  const seen = new Set<string>();
  return route.versions.map((version, index) => {
    const name = `${frontendName(route)}.${label(version.name)}`;
    const unique = seen.has(name) ? `${name}.${index + 1}` : name;
    seen.add(unique);
    return unique;
  });
}

const ROUTE_COMMENT = '# ServiceRoute ';

/** The comment line that opens a route's part of the file; everything up to the next one belongs to the route. */
export const routeComment = (route: Pick<Route, 'namespace' | 'name'>): string => `${ROUTE_COMMENT}${printable(`${route.namespace}/${route.name}`, 130)}`;

/** `namespace/name` when the line is a {@link routeComment}. */
export function parseRouteComment(line: string): string | undefined {
  return line.startsWith(ROUTE_COMMENT) ? line.slice(ROUTE_COMMENT.length) : undefined;
}
