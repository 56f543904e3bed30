import { byCodeUnit, objectKey } from '../model/names.ts';
import type { Problem } from '../model/problem.ts';
import type { Route, RouteTable } from '../model/route-table.ts';
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
 * table is not in effect either, with what the table says of it. An invalid spec is in effect as its refusal; a route that still waits for its
 * address is left out: only with an address is there something to put into effect.
 */
export function buildNodeReport({ serviceRoutes, resourceVersion = '' }: Snapshot, table: Pick<RouteTable, 'routes' | 'problems'>, problems: readonly Problem[]): NodeReport {
  const served = new Set(table.routes.map(objectKey));
  const codes = new Map<string, string>();
  for (const [key, code] of codesOf(problems.filter(({ severity }) => severity === 'error'))) if (!codes.has(key)) codes.set(key, code);
  const unserved = serviceRoutes.filter((route) => route.status.vip !== undefined && !served.has(objectKey(route)));
  if (unserved.length > 0) {
    const known = new Map(codesOf(table.problems).toReversed());
    for (const key of unserved.map(objectKey)) if (!codes.has(key)) codes.set(key, known.get(key) ?? 'not-served');
  }
  const present = new Set(serviceRoutes.map(objectKey));
  const lines = [...codes].filter(([key]) => present.has(key)).map(([key, code]) => `${key}: ${code}`).sort(byCodeUnit);
  const notInEffect = lines.slice(0, MAX_LINES);
  const routes = serviceRoutes.map(({ namespace, name, uid, generation, status }) => `${namespace}/${name} ${uid} ${generation} ${status.vip} ${status.globalVip}`);
  return { resourceVersion, notInEffect, fingerprint: [...routes, '', ...notInEffect].join('\n') };
}

const codesOf = (problems: readonly Problem[]): (readonly [key: string, code: string])[] =>
  problems.flatMap(({ code, object: { kind, namespace, name } }) => (kind === 'ServiceRoute' && namespace !== undefined ? [[objectKey({ namespace, name }), code] as const] : []));

/** {@link buildNodeReport} that gives what it gave before while nothing of it changed: endpoints come and go many times a second. */
export function rememberNodeReport(): typeof buildNodeReport {
  let last: { readonly snapshot: Snapshot; readonly table: Pick<RouteTable, 'routes' | 'problems'>; readonly problems: readonly Problem[]; readonly report: NodeReport } | undefined;
  return (snapshot, table, problems) => {
    const isSame =
      last !== undefined &&
      last.snapshot.serviceRoutes === snapshot.serviceRoutes &&
      last.table.problems === table.problems &&
      isSameList(ofRoutes(last.problems), ofRoutes(problems)) &&
      last.table.routes.length === table.routes.length &&
      table.routes.every((route, i) => isSameRoute(route, last?.table.routes[i]));
    const report = isSame && last !== undefined ? { ...last.report, resourceVersion: snapshot.resourceVersion ?? '' } : buildNodeReport(snapshot, table, problems);
    last = { snapshot, table, problems, report };
    return report;
  };
}

const ofRoutes = (problems: readonly Problem[]): readonly Problem[] => problems.filter(({ object }) => object.kind === 'ServiceRoute');

const isSameList = (a: readonly Problem[], b: readonly Problem[]): boolean => a.length === b.length && a.every((one, i) => one === b[i]);

const isSameRoute = (a: Route, b: Route | undefined): boolean => a === b || (a.name === b?.name && a.namespace === b.namespace);
