import type { RouteState } from '../kube/parse-route-state.ts';
import type { ServiceState } from '../kube/parse-service-state.ts';
import { objectKey } from '../model/names.ts';
import type { VipAssignment } from '../routing/assign-vips.ts';
import type { AccessPoint, ControllerOptions, Observed, Step } from './observed.ts';

/** Why an access point of a route is not there. */
export interface PointConflict {
  readonly reason: 'ServiceExists' | 'GlobalServiceExists' | 'ServiceRefused';
  readonly message: string;
}

export interface PointPlan {
  readonly steps: readonly Step[];
  /** By the key of the route. */
  readonly conflicts: ReadonlyMap<string, readonly PointConflict[]>;
}

const placeOf = (point: AccessPoint): string => `${point.namespace}/${point.name}`;

/**
 * Brings the access points in step with the routes. A Service without our labels and the route's own annotation is never touched: it is
 * a conflict. An access point is made once the address that it leads to stands in the route's status, and goes with the route, or with
 * its right to the global name.
 */
export function planAccessPoints(observed: Observed, assignment: VipAssignment, options: ControllerOptions): PointPlan {
  const { services, refusedPoints } = observed;
  const steps: Step[] = [];
  const conflicts = new Map<string, PointConflict[]>();
  const kept = new Set<string>();
  for (const state of observed.routes) {
    if (state.route === undefined) continue;
    for (const { point, isServed } of pointsOf(state, assignment, options)) {
      const place = placeOf(point);
      const there = services.get(place);
      const isOwn = there?.mark?.route === point.mark.route && there.mark.kind === point.mark.kind;
      if (isOwn) kept.add(place);
      const refusal = refusedPoints.get(place);
      const conflict =
        there === undefined || isOwn ? (refusal === undefined ? undefined : refused(place, refusal.message)) : there.mark === undefined ? taken(point, place) : undefined; // another route's access point goes first
      if (conflict !== undefined) conflicts.set(point.mark.route, [...(conflicts.get(point.mark.route) ?? []), conflict]);
      // A refusal stays a conflict until a new attempt gets through.
      if (conflict !== undefined && (conflict.reason !== 'ServiceRefused' || refusal?.isDue !== true)) continue;
      if (there === undefined && isServed) steps.push({ kind: 'create-access-point', point });
      else if (isOwn && there.externalName !== point.externalName) steps.push({ kind: 'update-access-point', point, target: targetOf(there) });
    }
  }
  for (const [place, there] of services) {
    if (there.mark === undefined || kept.has(place)) continue;
    steps.push({ kind: 'delete-access-point', target: targetOf(there), why: `route ${there.mark.route} is gone, or has no right to this name` });
  }
  return { steps, conflicts };
}

/** The access points that a route should have; `isServed`: the address stands in its status. */
function pointsOf(state: RouteState, { vips, globalVips }: VipAssignment, { zone, globalNamespace }: ControllerOptions): readonly { readonly point: AccessPoint; readonly isServed: boolean }[] {
  const { namespace, name, status } = state;
  const route = objectKey(state);
  const [vip, globalVip] = [vips.get(route), globalVips.get(route)];
  const own = { point: { namespace, name, externalName: `${name}.${namespace}.${zone}`, mark: { kind: 'route' as const, route } }, isServed: vip !== undefined && vip === status.vip };
  if (globalVip === undefined) return [own];
  const global = { namespace: globalNamespace, name, externalName: `${name}.${globalNamespace}.${zone}`, mark: { kind: 'global' as const, route } };
  return [own, { point: global, isServed: globalVip === status.globalVip }];
}

const taken = (point: AccessPoint, place: string): PointConflict => ({
  reason: point.mark.kind === 'global' ? 'GlobalServiceExists' : 'ServiceExists',
  message: `Service ${place} is there and is not Onehop's, so callers of http://${point.mark.kind === 'global' ? `${point.name}.${point.namespace}` : point.name}/ reach that one; rename the route or the Service (${point.externalName} works all the same)`,
});

const refused = (place: string, why: string): PointConflict => ({ reason: 'ServiceRefused', message: `Service ${place} could not be written: ${why}` });

export const targetOf = ({ service, uid, resourceVersion }: ServiceState): { namespace: string; name: string; uid: string; resourceVersion: string } => ({
  namespace: service.namespace,
  name: service.name,
  uid,
  resourceVersion,
});
