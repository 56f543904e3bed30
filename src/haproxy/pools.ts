import type { Endpoint, Route, Version } from '../model/route-table.ts';
import { backendNames } from './section-names.ts';

/** One backend of a version. A version that spills over has three: they are there whether or not there are servers, so that tiers come and go in the running worker. */
export interface Pool {
  /** `shop.cart.v1`; farther tiers `shop.cart.v1:2` and `shop.cart.v1:3`. */
  readonly name: string;
  /** The version as this backend serves it: its tier is active, and another one stands by. */
  readonly version: Version;
  /** Calls come here because nearer tiers are saturated. */
  readonly spilled: boolean;
}

/** Near servers that stand in for a farther tier, at most. */
const MAX_STAND_INS = 16;

const SUFFIXES = [':2', ':3'] as const;

/** The backends of a version whose name in HAProxy is `name`, nearest tier first. */
export function poolsOf(version: Version, name: string): readonly Pool[] {
  const near: Pool = { name, version, spilled: false };
  const { spill } = version;
  if (spill === undefined) return [near];
  const far = SUFFIXES.map((suffix, i) => {
    const active = spill.tiers[i] ?? [];
    return { name: `${name}${suffix}`, version: { ...version, active, backup: active.length === 0 ? [] : standIn(version, spill.tiers[1 - i]) }, spilled: true };
  });
  return [near, ...far];
}

/** Who answers when a farther tier does not: the other one of them, else the near one. */
const standIn = ({ active }: Version, other: readonly Endpoint[] | undefined): readonly Endpoint[] => other ?? active.slice(0, MAX_STAND_INS);

/** The pools of each version of a route; none of a route that cannot be served. */
export function routePools(route: Route): readonly (readonly Pool[])[] {
  if (route.invalid) return [];
  const names = backendNames(route);
  return route.versions.map((version, i) => poolsOf(version, names[i] ?? ''));
}
