import type { Choice, Version } from '../model/route-table.ts';
import type { RouteSpec } from '../model/service-route.ts';

/** How a request of this route picks its version (design: "Choosing"). `versions` are in the order of `spec.to`. */
export function buildChoice(rule: RouteSpec['rule'], versions: readonly Version[]): Choice {
  const preferred = versions.findIndex((version) => version.name === rule.prefer);
  const otherwise = preferred < 0 ? {} : { otherwise: preferred };
  switch (rule.type) {
    case 'Header':
      return rule.header === undefined ? { kind: 'none' } : { kind: 'header', header: rule.header.toLowerCase(), ...otherwise };
    case 'Percentage':
      return { kind: 'weighted', total: 100, shares: buildShares(versions.map((version) => version.weight ?? 0)), ...otherwise };
    case '': {
      if (preferred >= 0 || versions.length === 1) return { kind: 'fixed', version: Math.max(preferred, 0) };
      const counts = versions.map(countActiveTier);
      const total = counts.reduce((sum, count) => sum + count, 0);
      // Also without any endpoint: what carries the traffic must not be rebuilt when the last one goes or the first one comes.
      return total === 0 ? { kind: 'weighted', total: 1, shares: [{ below: 1, version: 0 }] } : { kind: 'weighted', total, shares: buildShares(counts) };
    }
    default:
      return rule.type satisfies never;
  }
}

/** Endpoints of the tier that is active, those beyond the rendered ones too. */
function countActiveTier({ active, endpoints }: Version): number {
  const tiers = new Set(active.map((endpoint) => endpoint.tier));
  return endpoints.filter((endpoint) => tiers.has(endpoint.tier) && endpoint.state === active[0]?.state).length;
}

/** Weights -> upper bounds: [50, 0, 20] -> [{below: 50, version: 0}, {below: 70, version: 2}]. */
function buildShares(weights: readonly number[]): { below: number; version: number }[] {
  const shares: { below: number; version: number }[] = [];
  let below = 0;
  for (const [version, weight] of weights.entries()) {
    below += weight;
    if (weight > 0) shares.push({ below, version });
  }
  return shares;
}
