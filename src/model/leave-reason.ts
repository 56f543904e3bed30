import type { Endpoint, Route, Version } from './route-table.ts';

/** The version has no endpoint on this node; those here are down or failed the call; they had as many calls as `spillAt` allows; locality Cluster. */
export const LEAVE_REASONS = ['no-endpoint', 'down', 'saturated', 'cluster'] as const;
export type LeaveReason = (typeof LEAVE_REASONS)[number];

/** Why a call of `version` that `server` answered left this node; undefined: it did not. `spilled`: it passed over a saturated tier. */
export function leaveReason({ locality }: Pick<Route, 'locality'>, version: Version, server: Endpoint, spilled: boolean): LeaveReason | undefined {
  if (server.tier === 'node') return undefined;
  if (locality === 'Cluster') return 'cluster';
  if (version.active[0]?.tier !== 'node') return 'no-endpoint';
  return spilled ? 'saturated' : 'down';
}
