import { poolContains } from '../model/vip-pool.ts';
import type { VipPool } from '../model/vip-pool.ts';
import type { Family } from './claim-table.ts';
import { DIVERT_RULES, type DivertRule } from './divert.ts';

/** What this node's network should be like. */
export interface WantedNode {
  readonly pool: VipPool;
  /** Every IPv6 VIP in use; empty without an IPv6 pool. */
  readonly vips6: readonly string[];
  /** Servers see the callers' addresses: their answers are brought to HAProxy (divert.ts). */
  readonly divert?: boolean;
}

/** A table of ours: missing, as it should be, or something else under our name. */
export type TableState = 'absent' | 'as-wanted' | 'different';

/** What there is of the divert in one family. */
export interface FoundDivert {
  readonly table: TableState;
  readonly rules: readonly DivertRule[];
  readonly route: boolean;
}

/** What was read back. */
export interface FoundNode {
  /** CIDRs (canonical) of local routes on `lo`, both families. */
  readonly localRoutes: readonly string[];
  readonly claim: Readonly<Record<Family, TableState>>;
  /** Read only where it is wanted. */
  readonly divert?: Readonly<Record<Family, FoundDivert>>;
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
  | { readonly kind: 'add-divert-route' | 'remove-divert-route' | 'install-divert' | 'remove-divert'; readonly family: Family }
  | { readonly kind: 'add-divert-rule' | 'remove-divert-rule'; readonly family: Family; readonly rule: DivertRule }
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
    ...(wanted.divert === true && found.divert !== undefined ? planDivert(family, found.divert[family]) : []),
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
      ...(found.divert === undefined ? [] : planDivertRemoval(family, found.divert[family])),
    ]),
    ...(nonlocalBindWasSet ? [{ kind: 'set-nonlocal-bind6', on: false } as const] : []),
  ];
}

const RULES = Object.keys(DIVERT_RULES) as DivertRule[];

/** What marks packets comes last: a marked packet without its route would go nowhere. */
const planDivert = (family: Family, { table, rules, route }: FoundDivert): readonly NodeStep[] => [
  ...(route ? [] : [{ kind: 'add-divert-route', family } as const]),
  ...RULES.filter((rule) => !rules.includes(rule)).map((rule) => ({ kind: 'add-divert-rule', family, rule }) as const),
  ...(table === 'as-wanted' ? [] : [{ kind: 'install-divert', family } as const]),
];

const planDivertRemoval = (family: Family, { table, rules, route }: FoundDivert): readonly NodeStep[] => [
  ...(table === 'absent' ? [] : [{ kind: 'remove-divert', family } as const]),
  ...rules.map((rule) => ({ kind: 'remove-divert-rule', family, rule }) as const),
  ...(route ? [{ kind: 'remove-divert-route', family } as const] : []),
];

/** Single addresses on `lo` inside the IPv6 pool: nobody but us puts any there. */
const vipsOnLo = (pool: VipPool, found: FoundNode): readonly string[] => found.loAddresses6.filter((address) => poolContains(pool, address));

const removeAddress = (address: string) => ({ kind: 'remove-address6', address }) as const;

function poolsOf(pool: VipPool): { readonly family: Family; readonly cidr: string }[] {
  return [{ family: 'ip', cidr: pool.cidr }, ...(pool.cidr6 === undefined ? [] : [{ family: 'ip6', cidr: pool.cidr6 } as const])];
}
