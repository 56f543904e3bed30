import { poolContains } from '../model/vip-pool.ts';
import type { VipPool } from '../model/vip-pool.ts';
import type { Family } from './claim-table.ts';

/** What this node's network should be like. */
export interface WantedNode {
  readonly pool: VipPool;
  /** Every IPv6 VIP in use; empty without an IPv6 pool. */
  readonly vips6: readonly string[];
}

/** What was read back. */
export interface FoundNode {
  /** CIDRs (canonical) of local routes on `lo`, both families. */
  readonly localRoutes: readonly string[];
  /** The claim table of a family: missing, for this very pool, or something else under our name. */
  readonly claim: Readonly<Record<Family, 'absent' | 'as-wanted' | 'different'>>;
  /** `net.ipv6.ip_nonlocal_bind`: on, off but writable, or off and not ours to change. */
  readonly nonlocalBind6: 'on' | 'writable' | 'read-only';
  /** IPv6 /128 addresses on `lo`. */
  readonly loAddresses6: readonly string[];
}

/** One change of the node's network. Each is safe to repeat. */
export type NodeStep =
  | { readonly kind: 'add-pool-route'; readonly family: Family; readonly cidr: string }
  | { readonly kind: 'remove-pool-route'; readonly family: Family; readonly cidr: string }
  | { readonly kind: 'install-claim'; readonly family: Family; readonly cidr: string }
  | { readonly kind: 'remove-claim'; readonly family: Family }
  | { readonly kind: 'set-nonlocal-bind6'; readonly on: boolean }
  | { readonly kind: 'add-address6'; readonly address: string }
  | { readonly kind: 'remove-address6'; readonly address: string };

/**
 * The steps from `found` to `wanted`: none when it is so already, none on a 127/8 pool.
 * IPv6 needs one more than IPv4: an address that is local only by its route cannot be bound unless `ip_nonlocal_bind` is on or the address
 * itself is on `lo`.
 */
export function planNode(wanted: WantedNode, found: FoundNode): readonly NodeStep[] {
  const { pool } = wanted;
  if (pool.loopback) return [];
  const steps = poolsOf(pool).flatMap(({ family, cidr }): NodeStep[] => [
    ...(found.claim[family] === 'as-wanted' ? [] : [{ kind: 'install-claim', family, cidr } as const]),
    ...(found.localRoutes.includes(cidr) ? [] : [{ kind: 'add-pool-route', family, cidr } as const]),
  ]);
  if (pool.cidr6 === undefined) return steps;
  if (found.nonlocalBind6 === 'writable') return [...steps, { kind: 'set-nonlocal-bind6', on: true }];
  const needed = found.nonlocalBind6 === 'on' ? [] : wanted.vips6;
  const missing = needed.filter((address) => !found.loAddresses6.includes(address));
  const stale = vipsOnLo(pool, found).filter((address) => !wanted.vips6.includes(address));
  return [...steps, ...missing.map((address) => ({ kind: 'add-address6', address }) as const), ...stale.map(removeAddress)];
}

/**
 * The steps that undo `planNode`. `nonlocalBindWasSet`: this process switched the sysctl on, so it is switched off; otherwise it is somebody
 * else's setting and stays.
 */
export function planRemoval(pool: VipPool, found: FoundNode, nonlocalBindWasSet: boolean): readonly NodeStep[] {
  if (pool.loopback) return [];
  return [
    ...vipsOnLo(pool, found).map(removeAddress),
    ...poolsOf(pool).flatMap(({ family, cidr }): NodeStep[] => [
      // The route first: without its claim a flow to the pool could meet somebody else's DNAT.
      ...(found.localRoutes.includes(cidr) ? [{ kind: 'remove-pool-route', family, cidr } as const] : []),
      ...(found.claim[family] === 'absent' ? [] : [{ kind: 'remove-claim', family } as const]),
    ]),
    ...(nonlocalBindWasSet ? [{ kind: 'set-nonlocal-bind6', on: false } as const] : []),
  ];
}

/** Single addresses on `lo` inside the IPv6 pool: nobody but us puts any there. */
const vipsOnLo = (pool: VipPool, found: FoundNode): readonly string[] => found.loAddresses6.filter((address) => poolContains(pool, address));

const removeAddress = (address: string) => ({ kind: 'remove-address6', address }) as const;

function poolsOf(pool: VipPool): { readonly family: Family; readonly cidr: string }[] {
  return [{ family: 'ip', cidr: pool.cidr }, ...(pool.cidr6 === undefined ? [] : [{ family: 'ip6', cidr: pool.cidr6 } as const])];
}
