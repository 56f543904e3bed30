import { printable, problem } from '../model/problem.ts';
import type { Problem } from '../model/problem.ts';
import type { Route, RouteTable } from '../model/route-table.ts';
import { compileRegex } from './compile-regex.ts';
import type { CompiledRegex } from './compile-regex.ts';

/** What the worker needs of a table: the rest (problems, endpoints for people) is not sent to it. */
export type ServedTable = Pick<RouteTable, 'callers' | 'routes'>;

/** The part of a table that is served, small enough to be copied to the worker on each change. */
export function servedTable(table: RouteTable): ServedTable {
  const routes = table.routes.map((route) => ({ ...route, problems: [], versions: route.versions.map((version) => ({ ...version, endpoints: [] })) }));
  return { callers: table.callers, routes };
}

/**
 * Compiles the regexes of all routes, reusing `earlier` ones. A route with a pattern that cannot be matched exactly as HAProxy does comes
 * back as invalid (its calls get 503 `route-invalid`) and with a Problem.
 */
export function compileRoutes(
  routes: readonly Route[],
  earlier: ReadonlyMap<string, CompiledRegex>,
): { readonly routes: readonly Route[]; readonly regexes: ReadonlyMap<string, CompiledRegex>; readonly problems: readonly Problem[] } {
  const regexes = new Map<string, CompiledRegex>();
  const problems: Problem[] = [];
  const compile = (route: Route): Route => {
    if (route.choice.kind !== 'header') return route;
    for (const [index, { match }] of route.versions.entries()) {
      if (match === undefined || match === '') continue;
      const compiled = regexes.get(match) ?? earlier.get(match) ?? compileRegex(match);
      if ('unsupported' in compiled) {
        problems.push(unsupportedRegex(route, index, match, compiled.unsupported));
        return { ...route, invalid: true };
      }
      regexes.set(match, compiled);
    }
    return route;
  };
  return { routes: routes.map(compile), regexes, problems };
}

function unsupportedRegex({ namespace, name }: Route, index: number, match: string, reason: string): Problem {
  return problem({
    code: 'regex-unsupported',
    object: { kind: 'ServiceRoute', namespace, name },
    field: `spec.to[${index}].balance.rule`,
    message: `the embedded proxy cannot match ${printable(match, 100)} as HAProxy does: ${reason}`,
    remedy: 'write the expression with plain PCRE (literals, classes, groups, |, * + ? {n,m}, ^ $), or run the node with HAProxy',
  });
}
