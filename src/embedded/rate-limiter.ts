export interface RateSettings {
  readonly requestsPerSecond: number;
  /** Calls that may come at once. */
  readonly burst: number;
}

/** Callers that are remembered at once; beyond it the one that called longest ago is forgotten. */
export const MAX_CALLERS = 4_096;
/** Sums of fractions of a call are not exact; what is missing to a whole call by less than this is no reason to refuse it. */
const SLACK = 1e-9;

interface Level {
  /** Calls not yet worked off, at `atMs`. */
  calls: number;
  atMs: number;
}

/**
 * Meters calls as a leaky bucket per key: within any t seconds at most `requestsPerSecond * t + burst` calls of one key pass. Keys are
 * callers, or one for a whole route. Memory is bounded by MAX_CALLERS. Times are of one monotonic clock, in ms.
 */
export class RateLimiter {
  #settings: RateSettings;
  /** In the order of the last call. */
  readonly #levels = new Map<string, Level>();

  constructor(settings: RateSettings) {
    this.#settings = settings;
  }

  /** New settings hold for what was counted before them, too. */
  configure(settings: RateSettings): void {
    this.#settings = settings;
  }

  /** 0: the call passes, and is counted. Else it is not counted, and the next may pass after that many seconds (whole, at least 1). */
  take(key: string, nowMs: number): number {
    const { requestsPerSecond, burst } = this.#settings;
    const level = this.#levels.get(key);
    const calls = level === undefined ? 0 : this.#drained(level, nowMs);
    if (calls + 1 > burst + SLACK) return Math.max(1, Math.ceil((calls + 1 - burst) / requestsPerSecond));
    this.#levels.delete(key);
    this.#levels.set(key, { calls: calls + 1, atMs: nowMs });
    if (this.#levels.size > MAX_CALLERS) this.#forgetOldest();
    return 0;
  }

  /** Forgets callers whose calls are all worked off: they are as good as new. */
  prune(nowMs: number): void {
    for (const [key, level] of this.#levels) if (this.#drained(level, nowMs) === 0) this.#levels.delete(key);
  }

  /** Callers that are remembered. */
  get size(): number {
    return this.#levels.size;
  }

  #drained({ calls, atMs }: Level, nowMs: number): number {
    return Math.max(0, calls - ((nowMs - atMs) / 1000) * this.#settings.requestsPerSecond);
  }

  #forgetOldest(): void {
    for (const key of this.#levels.keys()) {
      this.#levels.delete(key);
      return;
    }
  }
}
