import { objectKey } from '../model/names.ts';
import { problem, type Problem } from '../model/problem.ts';
import type { ServiceRoute } from '../model/service-route.ts';
import { isRouteVip, type VipPool } from '../model/vip-pool.ts';
import { byAge, type VipAllocation } from './allocate-vips.ts';

/**
 * The addresses that the controller has written into `status`. It is the only arbiter: a node gives none, and remembers none. It
 * only refuses what cannot be right, the same way on every node: an address that the pool has not for routes, or one that an elder
 * route has; a route without an address of its own is not served.
 *
 * A global VIP counts while the spec says `global` (a spec that is invalid keeps it: the controller takes it away when the name
 * really goes). The controller never lets two routes hold one global name. Should status say so all the same (somebody wrote it by
 * hand), the eldest has the name on every node until the controller has put it right.
 */
export function readStatusVips(routes: readonly ServiceRoute[], pool: VipPool): Omit<VipAllocation, 'ledger'> {
  const problems: Problem[] = [];
  const ordered = [...routes].sort(byAge);
  const holders = new Map<string, string>();
  const take = (route: ServiceRoute, field: 'status.vip' | 'status.globalVip', vip: string): boolean => {
    const holder = holders.get(vip);
    if (holder === undefined && isRouteVip(pool, vip)) {
      holders.set(vip, objectKey(route));
      return true;
    }
    problems.push(refused(route, field, vip, holder === undefined ? `is not an address that the pool ${pool.cidr} gives to routes` : `is held by ${holder}`));
    return false;
  };

  const vips = new Map<string, string>();
  for (const route of ordered) {
    const { vip } = route.status;
    if (vip === undefined) problems.push(pending(route));
    else if (take(route, 'status.vip', vip)) vips.set(objectKey(route), vip);
  }
  const globalVips = new Map<string, string>();
  const names = new Map<string, ServiceRoute>();
  for (const route of ordered) {
    const { globalVip } = route.status;
    if (globalVip === undefined || !(route.spec?.global ?? true) || !vips.has(objectKey(route))) continue;
    const holder = names.get(route.name);
    if (holder !== undefined) problems.push(nameTaken(route, holder));
    else if (take(route, 'status.globalVip', globalVip)) {
      names.set(route.name, route);
      globalVips.set(objectKey(route), globalVip);
    }
  }
  return { vips, globalVips, problems };
}

const pending = (route: ServiceRoute): Problem =>
  problem({
    code: 'vip-pending',
    severity: 'warning',
    object: { kind: 'ServiceRoute', ...route },
    field: 'status.vip',
    message: 'the controller has not given it an address yet',
    remedy: 'wait a moment; else see the conditions of the route, and whether onehop controller runs',
    origin: route.origin,
  });

const refused = (route: ServiceRoute, field: string, vip: string, why: string): Problem =>
  problem({
    code: 'vip-refused',
    object: { kind: 'ServiceRoute', ...route },
    field,
    message: `${vip} ${why}; it is not served here`,
    remedy: 'leave status to the controller, and give it the same --vip-pool as the agents',
    origin: route.origin,
  });

const nameTaken = (route: ServiceRoute, holder: ServiceRoute): Problem =>
  problem({
    code: 'global-name-conflict',
    object: { kind: 'ServiceRoute', ...route },
    field: 'status.globalVip',
    message: `the global name ${route.name} has an address on ${objectKey(holder)} too, which is older`,
    remedy: 'leave status to the controller',
    origin: route.origin,
  });
