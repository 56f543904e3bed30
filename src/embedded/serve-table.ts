import { objectKey } from '../model/names.ts';
import { printable, problem } from '../model/problem.ts';
import type { Problem } from '../model/problem.ts';
import type { CallerTable, Route, RouteTable } from '../model/route-table.ts';
import { compileRegex } from './compile-regex.ts';
import type { CompiledRegex } from './compile-regex.ts';

/** What the worker serves. */
export type ServedTable = Pick<RouteTable, 'callers' | 'routes'>;

/** What changed since the worker's last table: copying a whole large one would block the agent's thread for tens of milliseconds. */
export interface TableChange {
  readonly callers: CallerTable;
  readonly changed: readonly Route[];
  /** Keys (`namespace/name`). */
  readonly removed: readonly string[];
}

/** The change from the routes that the worker has to `table`. Problems and the endpoints for people stay behind. */
export function planTransfer(sent: ReadonlyMap<string, Route>, table: RouteTable): TableChange {
  const kept = new Set(table.routes.map((route) => objectKey(route)));
  return {
    callers: table.callers,
    changed: table.routes
      .filter((route) => !isSameData(sent.get(objectKey(route)), route))
      .map((route) => ({ ...route, problems: [], versions: route.versions.map((version) => ({ ...version, endpoints: [] })) })),
    removed: [...sent.keys()].filter((key) => !kept.has(key)),
  };
}

/** Not sent to the worker, so no reason to send a route again. */
const LEFT_BEHIND = new Set(['problems', 'endpoints']);

/** Equality of plain data (objects, lists, primitives), but for what is left behind. Routes that are the same objects cost nothing. */
function isSameData(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, i) => isSameData(item, b[i]));
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => LEFT_BEHIND.has(key) || isSameData(left[key], right[key]));
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
