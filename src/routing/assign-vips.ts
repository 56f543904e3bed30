import { byCodeUnit, objectKey } from '../model/names.ts';
import { problem, type Problem } from '../model/problem.ts';
import type { ServiceRoute } from '../model/service-route.ts';
import { ipv4ToNumber, isRouteVip, type VipPool } from '../model/vip-pool.ts';
import { byAge, globalKey, hashSlot, nextFree, type Claim } from './allocate-vips.ts';

/*
 * What the controller of a cluster decides, where `allocate-vips` is for one agent and its files. Its ledger is keyed by address, so
 * that one address can have one holder only, whatever happens; and freed addresses stay in it until somebody else gets them: how long
 * each has been free decides who is next.
 */

/** When an address was given up, and the resourceVersion of ServiceRoutes that was known then: nodes that know it too have let go. */
export interface Freed {
  readonly atMs: number;
  readonly version: string;
}

/** Who holds an address, or held it last. */
export interface VipRecord {
  /** `namespace/name` of a route; a star in place of the namespace for a global name. */
  readonly key: string;
  /** The namespace that holds the global name. */
  readonly namespace?: string;
  readonly freed?: Freed;
}

/** Records by IPv4 address. */
export type VipRecords = ReadonlyMap<string, VipRecord>;

export interface AssignInput {
  readonly routes: readonly ServiceRoute[];
  readonly pool: VipPool;
  readonly records: VipRecords;
  readonly nowMs: number;
  /** resourceVersion up to which `routes` is known: noted with what is freed now. */
  readonly version: string;
  /** Whether an address freed like this may go to somebody else. */
  readonly mayReuse: (freed: Freed) => boolean;
  /** Whether nothing leads to the record's address any more, so that it may be marked as freed. */
  readonly canFree: (record: VipRecord) => boolean;
}

export interface VipAssignment {
  /** VIP by route key. Routes that are absent got none (a Problem says why). */
  readonly vips: ReadonlyMap<string, string>;
  /** Global VIP by the key of the route that holds the name. */
  readonly globalVips: ReadonlyMap<string, string>;
  /** The ledger from now on. Only records that are in effect (written) may be acted upon. */
  readonly records: VipRecords;
  readonly problems: readonly Problem[];
}

/**
 * Freed addresses that one namespace leaves behind at most: an eighth of the pool (991 of the default one). Without a bound a tenant that
 * creates and deletes routes under new names uses up the pool for everybody within minutes, whatever its quota of routes is, and fills the
 * ledger beyond what a ConfigMap may hold.
 */
export const maxLeftBehind = (pool: VipPool): number => Math.floor(pool.size / 8);

/** A ConfigMap holds 1 MiB: a crowd of long names must not make a ledger that can be written for nobody. */
const MAX_LEDGER_BYTES = 950_000;
/** Address, separators, and what is noted when it is freed. */
const ENTRY_BYTES = 90;
const bytesOf = ({ key, namespace = '' }: Pick<VipRecord, 'key' | 'namespace'>): number => key.length + namespace.length + ENTRY_BYTES;

/**
 * Gives each route its VIP and each global name its holder and VIP.
 * Order of rights: who holds an address keeps it; then what the key held last, as long as nobody else got it; then `status` of routes
 * that the ledger does not know (it was lost), the eldest first; then the key's hash slot or the next address that was never given;
 * then the address that has been free for longest and may be used again. A namespace that has left {@link maxLeftBehind} behind gets none but
 * its own ones again, after their rest.
 */
export function assignVips(input: AssignInput): VipAssignment {
  const { pool, records } = input;
  const problems: Problem[] = [];
  const ordered = [...input.routes].sort(byAge);
  const holders = claimGlobalNames(ordered, input, problems);
  const claims: Claim[] = [
    ...ordered.map((route): Claim => ({ key: objectKey(route), route, pinned: route.status.vip, field: 'status.vip' })),
    ...[...holders.values()].map((route): Claim => ({ key: globalKey(route.name), route, pinned: route.status.globalVip, field: 'status.globalVip', namespace: route.namespace })),
  ];

  const given = new Map<Claim, string>();
  const next = new Map<string, VipRecord>(records);
  const give = (claim: Claim, vip: string): void => {
    given.set(claim, vip);
    const now = records.get(vip);
    // The very same record while nothing changes: comparing two ledgers then costs nothing.
    const same = now !== undefined && now.freed === undefined && isOf(claim, now);
    next.set(vip, same ? now : { key: claim.key, ...(claim.namespace === undefined ? {} : { namespace: claim.namespace }) });
  };
  keepHeld(claims, input, give, given);
  for (const claim of claims) {
    const { pinned } = claim;
    if (given.has(claim) || pinned === undefined || !isRouteVip(pool, pinned) || next.has(pinned)) continue;
    give(claim, pinned);
  }
  giveNew(claims, input, next, give, given, problems);
  free(claims, input, next, given);

  const pick = (field: Claim['field']): Map<string, string> =>
    new Map([...given].filter(([claim]) => claim.field === field).map(([claim, vip]) => [objectKey(claim.route), vip]));
  return { vips: pick('status.vip'), globalVips: pick('status.globalVip'), records: next, problems };
}

const isOf = (claim: Claim, record: VipRecord): boolean => record.key === claim.key && record.namespace === claim.namespace;

/** Holders keep what they hold; who comes back gets what it had. Of several addresses of one key the live one, then the last one freed. */
function keepHeld(claims: readonly Claim[], { pool, records }: AssignInput, give: (claim: Claim, vip: string) => void, given: ReadonlyMap<Claim, string>): void {
  const byKey = Map.groupBy(
    [...records].filter(([vip]) => isRouteVip(pool, vip)).sort(([, a], [, b]) => (b.freed?.atMs ?? Infinity) - (a.freed?.atMs ?? Infinity)),
    ([, record]) => record.key,
  );
  for (const claim of claims) {
    const held = byKey.get(claim.key)?.find(([, record]) => isOf(claim, record));
    if (held !== undefined && !given.has(claim)) give(claim, held[0]);
  }
}

/** Addresses for those who have none yet. */
function giveNew(claims: readonly Claim[], { pool, mayReuse }: AssignInput, next: ReadonlyMap<string, VipRecord>, give: (claim: Claim, vip: string) => void, given: ReadonlyMap<Claim, string>, problems: Problem[]): void {
  const resting = [...next]
    .flatMap(([vip, record]) => (record.freed !== undefined && isRouteVip(pool, vip) ? [{ vip, record, freed: record.freed }] : []))
    .sort((a, b) => b.freed.atMs - a.freed.atMs || ipv4ToNumber(b.vip) - ipv4ToNumber(a.vip));
  const leftBehind = Map.groupBy(resting, ({ record }) => leaver(record));
  const reusable = resting.filter(({ freed }) => mayReuse(freed));
  const takeLast = (from: (typeof resting)[number][]): string | undefined => {
    let last = from.pop();
    while (last !== undefined && next.get(last.vip) !== last.record) last = from.pop(); // given already, out of the other list
    return last?.vip;
  };
  // Nothing is given back within a build: after the first claim that finds no fresh address none is looked for.
  let hasFresh = true;
  const takeAny = (claim: Claim): string | undefined => {
    const fresh: string | undefined = hasFresh ? nextFree(pool, hashSlot(claim.key, pool.size), (address) => next.has(address)) : undefined;
    hasFresh = fresh !== undefined;
    return fresh ?? takeLast(reusable);
  };
  let bytes = [...next.values()].reduce((sum, record) => sum + bytesOf(record), 0);
  for (const claim of claims) {
    if (given.has(claim)) continue;
    const own = leftBehind.get(leaver(claim)) ?? [];
    const isSpendthrift = own.length >= maxLeftBehind(pool);
    const isOwnRested = own.some(({ freed }) => mayReuse(freed));
    const vip = isSpendthrift ? (isOwnRested ? takeLast(own) : undefined) : bytes + bytesOf(claim) <= MAX_LEDGER_BYTES ? takeAny(claim) : undefined;
    if (vip !== undefined) {
      give(claim, vip);
      bytes += bytesOf(claim);
    } else problems.push(isSpendthrift ? tooManyLeft(claim, pool) : exhausted(claim, pool));
  }
}

/** The namespace that holds a record or makes a claim, global names apart from routes. */
const leaver = ({ key, namespace }: Pick<VipRecord, 'key' | 'namespace'>): string => (namespace === undefined ? (key.split('/')[0] ?? '') : `*/${namespace}`);

/** Marks what nobody claims any more, once nothing leads there; forgets addresses of a former pool once they have rested. */
function free(claims: readonly Claim[], { pool, nowMs, version, canFree, mayReuse }: AssignInput, next: Map<string, VipRecord>, given: ReadonlyMap<Claim, string>): void {
  const held = new Set(claims.flatMap((claim) => given.get(claim) ?? []));
  for (const [vip, record] of next) {
    if (held.has(vip)) continue;
    if (record.freed === undefined && canFree(record)) next.set(vip, { ...record, freed: { atMs: nowMs, version } });
    else if (record.freed !== undefined && !isRouteVip(pool, vip) && mayReuse(record.freed)) next.delete(vip);
  }
}

/**
 * The route that holds each global name; every other claimant gets a Problem. A route whose spec is invalid keeps a name that its
 * namespace holds. A name whose holder went stays with the holder's namespace until its address may be used again.
 */
function claimGlobalNames(ordered: readonly ServiceRoute[], { records, mayReuse }: AssignInput, problems: Problem[]): Map<string, ServiceRoute> {
  const byName = Map.groupBy([...records.values()].filter(({ namespace }) => namespace !== undefined), ({ key }) => key);
  const holds = (route: ServiceRoute): boolean => {
    const known = byName.get(globalKey(route.name));
    // A ledger that was lost: what status says is the next best.
    return known === undefined ? route.status.globalVip !== undefined : known.some((one) => one.namespace === route.namespace && one.freed === undefined);
  };
  const claimants = Map.groupBy(
    ordered.filter((route) => route.spec?.global ?? holds(route)),
    ({ name }) => name,
  );
  const holders = new Map<string, ServiceRoute>();
  for (const [name, routes] of claimants) {
    const known = byName.get(globalKey(name)) ?? [];
    const live = known.find(({ freed }) => freed === undefined);
    const resting = known.filter(({ freed }) => freed !== undefined && !mayReuse(freed)).sort((a, b) => (b.freed?.atMs ?? 0) - (a.freed?.atMs ?? 0))[0];
    const owner = (live ?? resting)?.namespace;
    const holder = owner === undefined ? (routes.find(holds) ?? routes[0]) : routes.find((route) => route.namespace === owner);
    if (holder !== undefined) holders.set(name, holder);
    for (const route of routes) if (route !== holder) problems.push(globalConflict(route, holder?.namespace ?? owner ?? '', holder === undefined));
  }
  return holders;
}

const globalConflict = (route: ServiceRoute, holder: string, isGone: boolean): Problem =>
  problem({
    code: 'global-name-conflict',
    object: { kind: 'ServiceRoute', namespace: route.namespace, name: route.name },
    field: 'spec.global',
    message: isGone
      ? `the global name ${route.name} belonged to namespace ${holder} and stays reserved for it for 2 hours after its route went`
      : `the global name ${route.name} belongs to namespace ${holder}, which had it first`,
    remedy: 'rename the route, or set spec.global to false; its own name is served meanwhile',
  });

const exhausted = ({ route, field }: Claim, pool: VipPool): Problem =>
  problem({
    code: 'vip-exhausted',
    object: { kind: 'ServiceRoute', namespace: route.namespace, name: route.name },
    field,
    message: `the pool ${pool.cidr} has no free address`,
    remedy: 'use a larger --vip-pool, or delete routes (an address rests for 2 hours before another route gets it)',
  });

const tooManyLeft = ({ route, field }: Claim, pool: VipPool): Problem =>
  problem({
    code: 'vip-exhausted',
    object: { kind: 'ServiceRoute', namespace: route.namespace, name: route.name },
    field,
    message: `namespace ${route.namespace} has given up ${maxLeftBehind(pool)} addresses, which rest for 2 hours`,
    remedy: 'use one of those names again, or wait',
  });

/** Records in the order of their addresses. */
export const sortRecords = (records: VipRecords): readonly (readonly [string, VipRecord])[] =>
  [...records].sort(([a], [b]) => ipv4ToNumber(a) - ipv4ToNumber(b) || byCodeUnit(a, b));
