import ipaddr from 'ipaddr.js';
import type { VipPool } from '../model/vip-pool.ts';

/** A route of the node, as `ip -j route show table all` prints it. */
export interface NodeRoute {
  /** CIDR, address or `default`. */
  readonly dst: string;
  readonly type: string;
  readonly dev?: string;
  readonly table?: string;
}

export interface PoolConflict {
  readonly cidr: string;
  /** One line. */
  readonly message: string;
}

/**
 * Routes that overlap the pool and are not its own: addresses that mean something else on this node (metadata services, NodeLocal
 * DNSCache, another network). On a 127/8 pool there is nothing to compare.
 */
export function findPoolConflicts(pool: VipPool, routes: readonly NodeRoute[]): readonly PoolConflict[] {
  if (pool.loopback) return [];
  const pools = pool.cidr6 === undefined ? [pool.cidr] : [pool.cidr, pool.cidr6];
  return pools.flatMap((cidr) =>
    routes
      .filter((route) => !isPoolRoute(route, cidr) && !isInfrastructureOfPool(route, cidr) && overlaps(cidr, route.dst))
      .map((route) => ({
        cidr,
        message: `the pool ${cidr} overlaps the node's route ${route.dst}${route.dev === undefined ? '' : ` on ${route.dev}`}${route.table === undefined ? '' : ` (table ${route.table})`}`,
      })),
  );
}

const isPoolRoute = (route: NodeRoute, cidr: string): boolean => route.type === 'local' && route.dev === 'lo' && route.dst === cidr;

/** Single addresses inside an IPv6 pool on `lo` are the VIPs themselves. */
const isInfrastructureOfPool = (route: NodeRoute, cidr: string): boolean =>
  cidr.includes(':') && route.dev === 'lo' && !route.dst.includes('/') && overlaps(cidr, route.dst);

/** Whether two networks share an address: the shorter prefix contains the other. Other families and `default`: no. */
function overlaps(cidr: string, dst: string): boolean {
  if (dst === 'default' || !/^[\da-f.:]+(?:\/\d+)?$/i.test(dst)) return false;
  try {
    const [a, aBits] = ipaddr.parseCIDR(cidr);
    const [b, bBits] = ipaddr.parseCIDR(dst.includes('/') ? dst : `${dst}/${dst.includes(':') ? 128 : 32}`);
    // A default route written as 0.0.0.0/1 or ::/0 covers everything and conflicts with nothing.
    return a.kind() === b.kind() && bBits > 1 && a.match(b, Math.min(aBits, bBits));
  } catch {
    return false;
  }
}
