import { byCodeUnit, objectKey } from '../model/names.ts';
import type { Problem } from '../model/problem.ts';
import type { RouteTable } from '../model/route-table.ts';
import type { Snapshot } from '../model/snapshot.ts';

/** What a node says about itself (design section 7, "Programmed n of m"). */
export interface NodeReport {
  /** Of ServiceRoutes: everything up to it is in effect, but for `notInEffect`. */
  readonly resourceVersion: string;
  /** `namespace/name: code`, sorted, at most {@link MAX_LINES}. */
  readonly notInEffect: readonly string[];
  /** Differs when the report has to be written anew: a uid, generation, deletion or address took effect, or a route stopped or began to be. */
  readonly fingerprint: string;
}

/** An annotation of 100 lines has 16 KB at most: names are 63 characters each, codes a word or two. */
export const MAX_LINES = 100;

/**
 * Builds the report of a pass. `problems` are those found while applying (taken ports, what the proxy refused); a route that has no place in the
 * table is not in effect either, with the first error that the table knows of it. An invalid spec is in effect as its refusal.
 */
export function buildNodeReport({ serviceRoutes, resourceVersion = '' }: Snapshot, table: Pick<RouteTable, 'routes' | 'problems'>, problems: readonly Problem[]): NodeReport {
  const served = new Set(table.routes.map(objectKey));
  const codes = new Map<string, string>();
  for (const [key, code] of errorsOf(problems)) if (!codes.has(key)) codes.set(key, code);
  const unserved = serviceRoutes.map(objectKey).filter((key) => !served.has(key));
  if (unserved.length > 0) {
    const known = new Map(errorsOf(table.problems).toReversed());
    for (const key of unserved) if (!codes.has(key)) codes.set(key, known.get(key) ?? 'not-served');
  }
  const present = new Set(serviceRoutes.map(objectKey));
  const lines = [...codes].filter(([key]) => present.has(key)).map(([key, code]) => `${key}: ${code}`).sort(byCodeUnit);
  const notInEffect = lines.slice(0, MAX_LINES);
  const routes = serviceRoutes.map(({ namespace, name, uid, generation, status }) => `${namespace}/${name} ${uid} ${generation} ${status.vip} ${status.globalVip}`);
  return { resourceVersion, notInEffect, fingerprint: [...routes, '', ...notInEffect].join('\n') };
}

const errorsOf = (problems: readonly Problem[]): (readonly [key: string, code: string])[] =>
  problems.flatMap(({ severity, code, object: { kind, namespace, name } }) =>
    severity === 'error' && kind === 'ServiceRoute' && namespace !== undefined ? [[objectKey({ namespace, name }), code] as const] : [],
  );
