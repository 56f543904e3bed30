/** What one look at HAProxy's socket says: nobody listens there, a worker answers, or somebody listens and says nothing. */
export type Seen = 'gone' | 'serves' | 'silent';

export interface Look {
  readonly atMs: number;
  readonly seen: Seen;
  /** When HAProxy was last brought in step with what is wanted; undefined: not since it was opened. */
  readonly inStepAtMs: number | undefined;
}

export interface StandInTiming {
  /** Gone for so long, it is not coming back. A restart takes 0.3 s, one with a thousand routes 2 s. */
  readonly goneMs: number;
  /** The same for a HAProxy that keeps falling. */
  readonly fallingGoneMs: number;
  /** Back for so long, and in step, it is given back what it had. */
  readonly steadyMs: number;
  /** The same for a HAProxy that keeps falling. */
  readonly fallingSteadyMs: number;
  /** It keeps falling when it fell so often within so long. */
  readonly falls: number;
  readonly fallsWithinMs: number;
}

export const STAND_IN_TIMING: StandInTiming = { goneMs: 3_000, fallingGoneMs: 1_000, steadyMs: 3_000, fallingSteadyMs: 60_000, falls: 3, fallsWithinMs: 60_000 };

/** Decides by looks at HAProxy when another proxy begins to stand in for it, and when that ends. One that hangs holds its ports: it is not gone. */
export class StandInJudge {
  readonly #timing: StandInTiming;
  #before: Seen | undefined;
  #goneSinceMs: number | undefined;
  #servesSinceMs: number | undefined;
  #fallsAtMs: readonly number[] = [];

  constructor(timing: StandInTiming) {
    this.#timing = timing;
  }

  /** `standing`: whether the other proxy stands in now. */
  see({ atMs, seen, inStepAtMs }: Look, standing: boolean): 'begin' | 'end' | 'stay' {
    if (this.#before === 'serves' && seen === 'gone') this.#fallsAtMs = [...this.#fallsAtMs, atMs];
    this.#before = seen;
    this.#fallsAtMs = this.#fallsAtMs.filter((at) => atMs - at < this.#timing.fallsWithinMs);
    this.#goneSinceMs = seen === 'gone' ? (this.#goneSinceMs ?? atMs) : undefined;
    this.#servesSinceMs = seen === 'serves' ? (this.#servesSinceMs ?? atMs) : undefined;
    const { goneMs, fallingGoneMs, steadyMs, fallingSteadyMs, falls } = this.#timing;
    const falling = this.#fallsAtMs.length >= falls;
    if (!standing) return this.#goneSinceMs !== undefined && atMs - this.#goneSinceMs >= (falling ? fallingGoneMs : goneMs) ? 'begin' : 'stay';
    const since = this.#servesSinceMs;
    if (since === undefined || inStepAtMs === undefined || inStepAtMs < since) return 'stay';
    return atMs - since >= (falling ? fallingSteadyMs : steadyMs) ? 'end' : 'stay';
  }

  /** HAProxy answers, but nobody brought it in step since. */
  isBehind(inStepAtMs: number | undefined): boolean {
    return this.#servesSinceMs !== undefined && (inStepAtMs === undefined || inStepAtMs < this.#servesSinceMs);
  }
}
