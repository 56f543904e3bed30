/** How closely reloads may follow each other. */
export interface ReloadPace {
  /** Between the starts of two, with at most one old worker. */
  readonly gapMs: number;
  /** With however many. */
  readonly mostMs: number;
}

/**
 * A change on a quiet node is loaded at once, a burst with a few reloads. One that does not end must not cost other tenants their long
 * connections: each reload leaves an old worker that holds them, and only so many of these are kept. Most wait for connections that only
 * idle, for as long as the keep-alive time of a minute: at this pace they end before the limit is reached.
 */
export const RELOAD_PACE: ReloadPace = { gapMs: 500, mostMs: 16_000 };

/** Old workers with connections; of more, the oldest is ended. */
export const MAX_OLD_WORKERS = 8;

/** An old worker may be gone any moment: waits are looked at again after this. */
const AGAIN_MS = 1_000;

/**
 * When the next reload may start, or is to be asked after again; ms of the same clock as `lastMs`, the start of the last one, and `nowMs`.
 * Not before now. Each old worker beyond the first doubles the gap.
 */
export function reloadDueMs(lastMs: number | undefined, nowMs: number, { gapMs, mostMs }: ReloadPace, oldWorkers: number): number {
  if (lastMs === undefined) return nowMs;
  const dueMs = lastMs + Math.min(mostMs, gapMs * 2 ** Math.max(0, oldWorkers - 1));
  return Math.max(nowMs, Math.min(dueMs, nowMs + AGAIN_MS));
}
