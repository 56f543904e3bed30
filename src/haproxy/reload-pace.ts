/** How closely reloads may follow each other. */
export interface ReloadPace {
  /** Between the starts of two, as long as they are few. */
  readonly gapMs: number;
  /** However many there were. */
  readonly mostMs: number;
  /** An old worker that lives longer holds more than connections without a call. */
  readonly drainMs: number;
}

/** Old workers with connections; of more, the oldest is ended. */
export const MAX_OLD_WORKERS = 8;

/**
 * A change on a quiet node is loaded at once, a burst with a few reloads. One that never ends must not cost every other tenant its long
 * connections: each reload leaves an old worker that holds them, and only so many of these are kept.
 */
export const RELOAD_PACE: ReloadPace = { gapMs: 500, mostMs: 8000, drainMs: 60_000 };

const COUNTED_MS = 60_000;
/** From so many within {@link COUNTED_MS} on, each further one doubles the gap. */
const FEW = 4;
/** An old worker may be gone any moment. */
const AGAIN_MS = 1_000;

/**
 * When the next reload may start, ms of the same clock as `startsMs` (ascending) and `nowMs`; not before now. While as many old workers as
 * are kept are there, one that still drains may make room: a client's idle connections end within its keep-alive time, and the one that
 * would be ended holds the longest calls of all.
 */
export function reloadDueMs(startsMs: readonly number[], nowMs: number, { gapMs, mostMs, drainMs }: ReloadPace, oldWorkers: number): number {
  const recent = startsMs.filter((at) => nowMs - at < COUNTED_MS);
  const last = recent.at(-1);
  if (last === undefined) return nowMs;
  const paced = Math.max(nowMs, last + Math.min(mostMs, gapMs * 2 ** Math.max(0, recent.length - FEW)));
  const draining = oldWorkers < MAX_OLD_WORKERS ? undefined : recent.at(1 - MAX_OLD_WORKERS);
  return draining === undefined ? paced : Math.max(paced, Math.min(draining + drainMs, nowMs + AGAIN_MS));
}
