import { objectKey } from '../../model/names.ts';
import type { Route, RouteTable } from '../../model/route-table.ts';
import type { Culprits } from '../find-culprits.ts';
import type { Rejection } from './check-config.ts';

/**
 * Finds one route whose rendering alone is refused, by halves: log2(routes) checks. For messages that name no route.
 * Empty when the configuration is refused without any route too, or when only a combination is.
 */
export async function bisectCulprit(table: RouteTable, check: (table: RouteTable) => Promise<Rejection>): Promise<Culprits> {
  const rejects = (routes: readonly Route[]): Promise<Rejection> => check({ ...table, routes });
  if ((await rejects([])) !== undefined) return new Map();
  let suspects = table.routes;
  while (suspects.length > 1) {
    const half = suspects.slice(0, Math.ceil(suspects.length / 2));
    suspects = (await rejects(half)) === undefined ? suspects.slice(half.length) : half;
  }
  const [suspect] = suspects;
  const verdict = suspect === undefined ? undefined : await rejects([suspect]);
  return suspect === undefined || verdict === undefined ? new Map() : new Map([[objectKey(suspect), verdict]]);
}
