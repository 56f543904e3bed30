import { objectKey } from '../model/names.ts';
import { problem, type Problem } from '../model/problem.ts';
import type { Route, RouteTable } from '../model/route-table.ts';
import { countBinds } from './render-frontend.ts';

/*
 * HAProxy does not start with more listeners and checked servers than its file limit allows, and then no route of the node changes any
 * more. So both have a budget, and who asks for most is cut first: one tenant cannot take the node from the others.
 */

/** Each listener counts twice: a reload holds the old and the new ones. */
const LISTENER_SHARE = 0.15;
const CHECK_SHARE = 0.5;

/** Leaves out routes above the budget for listeners: every namespace keeps as many as the largest equal allowance gives it. */
export function fitListeners(table: RouteTable, fileDescriptors: number): { readonly table: RouteTable; readonly problems: readonly Problem[] } {
  const budget = Math.floor(fileDescriptors * LISTENER_SHARE);
  const binds = (routes: readonly Route[]): number => routes.reduce((sum, route) => sum + countBinds(route), 0);
  if (binds(table.routes) <= budget) return { table, problems: [] };
  const byNamespace = Map.groupBy(table.routes, (route) => route.namespace);
  const allowance = largestAllowance([...byNamespace.values()].map(binds), budget);
  const problems: Problem[] = [];
  const used = new Map<string, number>();
  const routes = table.routes.filter((route) => {
    const sum = (used.get(route.namespace) ?? 0) + countBinds(route);
    if (sum > allowance) {
      problems.push(leftOut(route, budget));
      return false;
    }
    used.set(route.namespace, sum);
    return true;
  });
  return { table: { ...table, routes }, problems };
}

/** The largest `each` for which the sum of `min(want, each)` stays within the budget. */
function largestAllowance(wants: readonly number[], budget: number): number {
  let left = budget;
  let claimants = wants.length;
  for (const want of wants.toSorted((a, b) => a - b)) {
    if (want * claimants > left) return Math.floor(left / claimants);
    left -= want;
    claimants--;
  }
  return Infinity;
}

/** Whether all servers of a node that want checks may have them; then {@link largestChecked} is no bound. */
export const areAllChecked = (count: number, fileDescriptors: number): boolean => count <= Math.floor(fileDescriptors * CHECK_SHARE);

/**
 * Versions with more servers than this go without checks: passed over after a failed connect as ever, but not remembered as down.
 * @param counts servers of each version that would be checked
 */
export function largestChecked(counts: readonly number[], fileDescriptors: number): number {
  let left = Math.floor(fileDescriptors * CHECK_SHARE);
  let largest = 0;
  for (const count of counts.toSorted((a, b) => a - b)) {
    if (count > left) return largest === count ? count - 1 : largest;
    left -= count;
    largest = count;
  }
  return Infinity;
}

function leftOut(route: Route, budget: number): Problem {
  return problem({
    code: 'too-many-listeners',
    object: { kind: 'ServiceRoute', namespace: route.namespace, name: route.name },
    message: `this node opens at most ${budget} listeners, and namespace ${route.namespace} asks for more than its part; ${objectKey(route)} is left out`,
    remedy: 'delete routes of this namespace, or raise the limit of open files of the agent and HAProxy',
  });
}
