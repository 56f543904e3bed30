export interface BackoffLimits {
  /** Upper bound of the first delay. */
  readonly baseMs: number;
  /** Upper bound of every delay. */
  readonly maxMs: number;
}

/**
 * Delays between attempts: full jitter, uniform in (0, min(max, base * 2^failures)], so that many nodes that failed together do not
 * come back together. `random` returns [0, 1).
 */
export class Backoff {
  readonly #limits: BackoffLimits;
  readonly #random: () => number;
  #failures = 0;

  constructor(limits: BackoffLimits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
  }

  /** The delay before the next attempt; call once per failure. */
  nextMs(): number {
    // 2^30 bases are beyond any maximum; the exponent is kept from growing to Infinity.
    const ceilingMs = Math.min(this.#limits.maxMs, this.#limits.baseMs * 2 ** Math.min(this.#failures, 30));
    this.#failures++;
    return Math.ceil((1 - this.#random()) * ceilingMs);
  }

  /** An attempt succeeded. */
  reset(): void {
    this.#failures = 0;
  }
}
