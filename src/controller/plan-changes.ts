import { objectKey } from '../model/names.ts';
import type { ServiceRoute } from '../model/service-route.ts';
import { isAtLeast } from '../model/resource-version.ts';
import { VIP_QUARANTINE_MS } from '../routing/allocate-vips.ts';
import { globalKey } from '../routing/allocate-vips.ts';
import { assignVips, type Freed, type VipAssignment, type VipRecord } from '../routing/assign-vips.ts';
import { resolveRoute, type ResolveContext } from '../routing/resolve-route.ts';
import type { ControllerOptions, Observed, Step } from './observed.ts';
import { planAccessPoints } from './plan-access-points.ts';
import { planStatus } from './plan-status.ts';
import { ReportIndex } from './report-index.ts';

/**
 * What to write now. Pure, and safe to be cut off anywhere: every step relies only on what is observed. So an address is in the ledger
 * before it is in a status, in the status before an access point leads to it; and an access point is gone before its address counts as
 * freed. Planning again after all steps are done gives the next ones, and nothing once all is in step.
 */
export function planChanges(observed: Observed, options: ControllerOptions, nowMs: number): readonly Step[] {
  const assignment = assign(observed, options, nowMs);
  const points = planAccessPoints(observed, assignment, options);
  const resolve = buildResolver(observed, options);
  const reports = new ReportIndex(observed.reports);
  return [
    ...(sameRecords(observed.records, assignment.records) ? [] : [{ kind: 'write-ledger' as const, records: assignment.records }]),
    ...observed.routes.flatMap((state) => {
      const problems = [...state.problems, ...(state.route === undefined ? [] : resolve(state.route))];
      const conflicts = points.conflicts.get(objectKey(state)) ?? [];
      return planStatus(state, { problems, assignment, conflicts, reports }, observed, options, nowMs) ?? [];
    }),
    ...points.steps,
    ...planTaints(observed, options),
  ];
}

function assign(observed: Observed, { pool }: ControllerOptions, nowMs: number): VipAssignment {
  const led = new Set([...observed.services.values()].flatMap(({ mark }) => (mark === undefined ? [] : [`${mark.kind} ${mark.route}`])));
  const served = new Set(observed.routes.flatMap((state) => (state.status.globalVip === undefined ? [] : [objectKey(state)])));
  const live = observed.reports.filter((report) => report.live);
  return assignVips({
    routes: observed.routes.flatMap(({ route }) => route ?? []),
    pool,
    records: observed.records,
    nowMs,
    version: observed.routesVersion,
    mayReuse: ({ atMs, version }: Freed) => nowMs - atMs >= VIP_QUARANTINE_MS && live.every((report) => isAtLeast(report.version, version)),
    canFree: ({ key, namespace }: VipRecord) => {
      if (namespace === undefined) return !led.has(`route ${key}`);
      const route = `${namespace}/${key.slice(globalKey('').length)}`;
      return !led.has(`global ${route}`) && !served.has(route);
    },
  });
}

/** The very same records stand for what did not change. */
const sameRecords = (a: Observed['records'], b: Observed['records']): boolean => a.size === b.size && [...b].every(([vip, record]) => a.get(vip) === record);

/** What is wrong with a route and the Services that it names; servers are the nodes' business. */
function buildResolver({ services }: Observed, { httpPort }: ControllerOptions): (route: ServiceRoute) => ReturnType<typeof resolveRoute>['problems'] {
  const context: ResolveContext = {
    httpPort,
    services: new Map([...services].map(([key, { service }]) => [key, service])),
    slices: new Map(),
    view: { name: '', nodes: new Map(), podsByKey: new Map() },
    guard: () => undefined,
    callers: new Map(),
  };
  return (route) => resolveRoute(route, context).problems;
}

/** Nodes whose agent was heard of since the node was seen with the taint: a report from before a reboot proves nothing. */
function planTaints({ taintedNodes, reports }: Observed, { startupTaint }: ControllerOptions): readonly Step[] {
  if (startupTaint === undefined) return [];
  const heard = new Map(reports.filter((report) => report.live).map((report) => [report.node, report.renewedAtMs]));
  return taintedNodes
    .filter(({ name, seenAtMs }) => (heard.get(name) ?? -Infinity) > seenAtMs)
    .map((node) => ({ kind: 'remove-taint', node, taints: node.taints.filter((taint) => taint['key'] !== startupTaint) }));
}
