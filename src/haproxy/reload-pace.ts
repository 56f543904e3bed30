/** How closely reloads may follow each other. */
export interface ReloadPace {
  /** Between the starts of two, as long as they are few. */
  readonly gapMs: number;
  /** However many there were. */
  readonly mostMs: number;
}

/**
 * A change on a quiet node is loaded at once, a burst with a few reloads. One that never ends must not cost every other tenant its long
 * connections: each reload leaves an old worker that holds them, and only so many of these are kept.
 */
export const RELOAD_PACE: ReloadPace = { gapMs: 500, mostMs: 8000 };

const COUNTED_MS = 60_000;
/** From so many within {@link COUNTED_MS} on, each further one doubles the gap. */
const FEW = 4;

/** When the next reload may start, ms of the same clock as `startsMs` (ascending) and `nowMs`; not before now. */
export function reloadDueMs(startsMs: readonly number[], nowMs: number, { gapMs, mostMs }: ReloadPace): number {
  const recent = startsMs.filter((at) => nowMs - at < COUNTED_MS);
  const last = recent.at(-1);
  if (last === undefined) return nowMs;
  return Math.max(nowMs, last + Math.min(mostMs, gapMs * 2 ** Math.max(0, recent.length - FEW)));
}
