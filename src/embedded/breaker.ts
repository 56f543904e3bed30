import type { BreakerMode } from '../model/breaker.ts';

export interface BreakerSettings {
  /** Errors within the window that open it; at least 1. */
  readonly threshold: number;
  readonly windowMs: number;
  readonly breakTimeMs: number;
}

/** What a breaker does at one moment. */
export interface BreakerReading {
  readonly mode: BreakerMode;
  readonly open: boolean;
  /** On the clock that `nowMs` is of; absent while closed or held. */
  readonly openUntilMs?: number;
  /** Errors within the window. */
  readonly errors: number;
}

/**
 * The circuit breaker of one version (design section 3): it opens at exactly the threshold-th error within the sliding window, stays open
 * for the break time, then closes with an empty window. Errors of calls that were on their way when it opened are not counted while it is
 * open. All times are of one monotonic clock, in ms.
 */
export class Breaker {
  #settings: BreakerSettings;
  #mode: BreakerMode = 'auto';
  /** When the last `threshold` errors came, oldest first. */
  #errors: number[] = [];
  #openUntilMs = Number.NEGATIVE_INFINITY;

  constructor(settings: BreakerSettings) {
    this.#settings = settings;
  }

  /** New settings keep the state: an open breaker closes when it was due, a lower threshold is applied by the next error. */
  configure(settings: BreakerSettings): void {
    this.#settings = settings;
    if (this.#errors.length > settings.threshold) this.#errors = this.#errors.slice(-settings.threshold);
  }

  isOpen(nowMs: number): boolean {
    return this.#mode === 'auto' ? nowMs < this.#openUntilMs : this.#mode === 'open';
  }

  /** Counts an error; true when it opens the breaker. */
  error(nowMs: number): boolean {
    if (this.isOpen(nowMs)) return false;
    const { threshold, windowMs, breakTimeMs } = this.#settings;
    this.#errors.push(nowMs);
    if (this.#errors.length > threshold) this.#errors.shift();
    const [oldest = nowMs] = this.#errors;
    if (this.#mode !== 'auto' || this.#errors.length < threshold || nowMs - oldest >= windowMs) return false;
    this.#errors = [];
    this.#openUntilMs = nowMs + breakTimeMs;
    return true;
  }

  /** Holds it open or closed, or leaves it to its errors again; what was counted before is forgotten. */
  setMode(mode: BreakerMode): void {
    this.#mode = mode;
    this.#errors = [];
    this.#openUntilMs = Number.NEGATIVE_INFINITY;
  }

  read(nowMs: number): BreakerReading {
    const open = this.isOpen(nowMs);
    return {
      mode: this.#mode,
      open,
      ...(open && this.#mode === 'auto' ? { openUntilMs: this.#openUntilMs } : {}),
      errors: this.#errors.filter((at) => nowMs - at < this.#settings.windowMs).length,
    };
  }
}
