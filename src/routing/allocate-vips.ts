import { byCodeUnit, objectKey } from '../model/names.ts';
import { problem, type Problem } from '../model/problem.ts';
import type { ServiceRoute } from '../model/service-route.ts';
import type { VipHolding, VipLedger } from '../model/vip-ledger.ts';
import { isRouteVip, numberToIpv4, type VipPool } from '../model/vip-pool.ts';

/** A freed VIP, or a global name whose holder went, is given to nobody else for this long: stale DNS must not cross tenants. */
export const VIP_QUARANTINE_MS = 2 * 60 * 60 * 1000;

export interface VipAllocation {
  /** VIP by route key. Routes that are absent got none (a Problem says why). */
  readonly vips: ReadonlyMap<string, string>;
  /** Global VIP by the key of the route that holds the name. */
  readonly globalVips: ReadonlyMap<string, string>;
  readonly ledger: VipLedger;
  readonly problems: readonly Problem[];
}

/** Key of a global name. */
export const globalKey = (name: string): string => `*/${name}`;

/** A wish for one address: a route's own, or that of the global name that it holds. */
export interface Claim {
  readonly key: string;
  readonly route: ServiceRoute;
  readonly pinned: string | undefined;
  readonly field: 'status.vip' | 'status.globalVip';
  readonly namespace?: string;
}

/**
 * Gives each route its VIP and each global name its holder and VIP.
 * Order of rights: a live holder never moves; then `status.vip`, the eldest route first; then what the key held before; then the
 * key's hash slot or the next free one. Routes are ordered by (creation time, namespace, name).
 * @param severalNodes more than one node reads the same files: an address that depends on history is a Problem (`vip-unpinned`).
 */
export function allocateVips(
  routes: readonly ServiceRoute[],
  pool: VipPool,
  ledger: VipLedger,
  nowMs: number,
  severalNodes: boolean,
): VipAllocation {
  const problems: Problem[] = [];
  const ordered = [...routes].sort(byAge);
  const holders = claimGlobalNames(ordered, ledger, nowMs, problems);
  const claims: Claim[] = [
    ...ordered.map((route): Claim => ({ key: objectKey(route), route, pinned: route.status.vip, field: 'status.vip' })),
    ...ordered
      .filter((route) => holders.get(route.name) === route)
      .map((route): Claim => ({ key: globalKey(route.name), route, pinned: route.status.globalVip, field: 'status.globalVip', namespace: route.namespace })),
  ];
  const given = giveAddresses(claims, pool, ledger, nowMs, severalNodes, problems);

  const vips = new Map<string, string>();
  const globalVips = new Map<string, string>();
  for (const claim of claims) {
    const vip = given.get(claim.key);
    if (vip !== undefined) (claim.field === 'status.vip' ? vips : globalVips).set(objectKey(claim.route), vip);
  }
  return { vips, globalVips, ledger: nextLedger(claims, given, ledger, nowMs), problems };
}

/** The order of rights between routes: creation time, namespace, name. */
export function byAge(a: ServiceRoute, b: ServiceRoute): number {
  return (a.createdAtMs ?? 0) - (b.createdAtMs ?? 0) || byCodeUnit(objectKey(a), objectKey(b));
}

/** Whether a holding whose holder is gone still rests; one without `freedAtMs` went just now. */
const inQuarantine = (holding: VipHolding, nowMs: number): boolean => nowMs - (holding.freedAtMs ?? nowMs) < VIP_QUARANTINE_MS;

/** The route that holds each global name; every other claimant gets a Problem. An invalid route keeps a name that its namespace holds. */
function claimGlobalNames(ordered: readonly ServiceRoute[], ledger: VipLedger, nowMs: number, problems: Problem[]): Map<string, ServiceRoute> {
  const claimants = new Map<string, ServiceRoute[]>();
  for (const route of ordered) {
    const held = ledger[globalKey(route.name)];
    const claims = route.spec?.global ?? (held?.namespace === route.namespace && held.freedAtMs === undefined);
    if (!claims) continue;
    const others = claimants.get(route.name);
    if (others === undefined) claimants.set(route.name, [route]);
    else others.push(route);
  }
  const holders = new Map<string, ServiceRoute>();
  for (const [name, routes] of claimants) {
    const held = ledger[globalKey(name)];
    const returning = held === undefined ? undefined : routes.find((route) => route.namespace === held.namespace);
    const reserved = held !== undefined && returning === undefined && inQuarantine(held, nowMs);
    const holder = reserved ? undefined : (returning ?? routes[0]);
    if (holder !== undefined) holders.set(name, holder);
    for (const route of routes) {
      if (route !== holder) problems.push(globalConflict(route, holder?.namespace ?? held?.namespace ?? '', holder === undefined));
    }
  }
  return holders;
}

function globalConflict(route: ServiceRoute, holder: string, gone: boolean): Problem {
  return problem({
    code: 'global-name-conflict',
    object: { kind: 'ServiceRoute', ...route },
    field: 'spec.global',
    message: gone
      ? `the global name ${route.name} belonged to namespace ${holder} and stays reserved for it for 2 hours after its route went`
      : `the global name ${route.name} belongs to namespace ${holder}, which had it first`,
    remedy: 'rename the route, or set spec.global to false; its own name is served meanwhile',
    origin: route.origin,
  });
}

function giveAddresses(
  claims: readonly Claim[],
  pool: VipPool,
  ledger: VipLedger,
  nowMs: number,
  severalNodes: boolean,
  problems: Problem[],
): Map<string, string> {
  const given = new Map<string, string>();
  const taken = new Map<string, string>();
  const give = (claim: Claim, vip: string): void => {
    given.set(claim.key, vip);
    taken.set(vip, claim.key);
  };
  const heldBy = (claim: Claim): VipHolding | undefined => {
    const held = ledger[claim.key];
    return held !== undefined && isRouteVip(pool, held.vip) && held.namespace === claim.namespace ? held : undefined;
  };

  // Pins that agree with the ledger and live unpinned holders first: nothing that is in use may move under a caller's cached answer.
  for (const claim of claims) {
    const held = heldBy(claim);
    if (held === undefined || held.freedAtMs !== undefined || taken.has(held.vip)) continue;
    if (claim.pinned === undefined || claim.pinned === held.vip || !isRouteVip(pool, claim.pinned)) give(claim, held.vip);
  }
  for (const claim of claims) {
    if (claim.pinned === undefined || given.get(claim.key) === claim.pinned) continue;
    if (!isRouteVip(pool, claim.pinned)) problems.push(pinRefused(claim, `is not an address that the pool ${pool.cidr} gives to routes`));
    else if (taken.has(claim.pinned)) problems.push(pinRefused(claim, `is held by ${taken.get(claim.pinned) ?? ''}`));
    else give(claim, claim.pinned);
  }
  for (const claim of claims) {
    const held = heldBy(claim);
    if (!given.has(claim.key) && held !== undefined && !taken.has(held.vip)) give(claim, held.vip);
  }
  const resting = new Set(Object.entries(ledger).flatMap(([key, held]) => (!given.has(key) && inQuarantine(held, nowMs) ? [held.vip] : [])));
  // Nothing is given back within a build: after the first claim that finds no free address none is looked for.
  let isFull = false;
  for (const claim of claims) {
    const slot = hashSlot(claim.key, pool.size);
    if (!given.has(claim.key)) {
      const vip: string | undefined = isFull ? undefined : nextFree(pool, slot, (address) => taken.has(address) || resting.has(address));
      isFull = vip === undefined;
      if (vip === undefined) problems.push(exhausted(claim, pool));
      else give(claim, vip);
    }
    const vip = given.get(claim.key);
    if (severalNodes && vip !== undefined && vip !== claim.pinned && vip !== numberToIpv4(pool.first + slot)) problems.push(unpinned(claim, vip));
  }
  return given;
}

/** The first address that is not taken, from `slot` on and around. */
export function nextFree(pool: VipPool, slot: number, isTaken: (address: string) => boolean): string | undefined {
  for (let step = 0; step < pool.size; step++) {
    const address = numberToIpv4(pool.first + ((slot + step) % pool.size));
    if (!isTaken(address)) return address;
  }
  return undefined;
}

/** FNV-1a over the key: the same slot on every node and in every version. */
export function hashSlot(key: string, size: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % size;
}

/** Keeps what is held, marks what went, forgets what has rested long enough. */
function nextLedger(claims: readonly Claim[], given: ReadonlyMap<string, string>, ledger: VipLedger, nowMs: number): VipLedger {
  const next: [string, VipHolding][] = [];
  for (const { key, namespace } of claims) {
    const vip = given.get(key);
    if (vip !== undefined) next.push([key, { vip, ...(namespace === undefined ? {} : { namespace }) }]);
  }
  const reused = new Set(given.values());
  for (const [key, held] of Object.entries(ledger)) {
    const freed = { ...held, freedAtMs: held.freedAtMs ?? nowMs };
    if (!given.has(key) && !reused.has(held.vip) && inQuarantine(freed, nowMs)) next.push([key, freed]);
  }
  return Object.fromEntries(next.sort(([a], [b]) => byCodeUnit(a, b)));
}

function pinRefused(claim: Claim, why: string): Problem {
  return problem({
    code: 'vip-refused',
    object: { kind: 'ServiceRoute', ...claim.route },
    field: claim.field,
    message: `${claim.pinned ?? ''} ${why}; another address is used`,
    remedy: 'give each route an address of its own from the pool, outside its first /24',
    origin: claim.route.origin,
  });
}

function exhausted(claim: Claim, pool: VipPool): Problem {
  return problem({
    code: 'vip-exhausted',
    object: { kind: 'ServiceRoute', ...claim.route },
    message: `the pool ${pool.cidr} has no free address`,
    remedy: 'use a larger --vip-pool, or delete routes (an address rests for 2 hours before another route gets it)',
    origin: claim.route.origin,
  });
}

function unpinned(claim: Claim, vip: string): Problem {
  return problem({
    code: 'vip-unpinned',
    severity: 'warning',
    object: { kind: 'ServiceRoute', ...claim.route },
    field: claim.field,
    message: `${vip} is not what the name alone gives (another route is on that address, or this one was held from before); another node may choose differently`,
    remedy: `write ${claim.field}: ${vip} into the file that all nodes read`,
    origin: claim.route.origin,
  });
}
