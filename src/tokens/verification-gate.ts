/** What checking signatures may take of this machine. One check costs about 0.1 ms of a processor. */
export interface GateLimits {
  readonly atOnce: number;
  readonly waiting: number;
  readonly perSecond: number;
}

/** Bounds work that a stranger can ask for: so many at a time, so many in a second, and few that wait. Above that it is not begun. */
export class VerificationGate {
  readonly #limits: GateLimits;
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #second = Number.NEGATIVE_INFINITY;
  #begun = 0;

  constructor(limits: GateLimits) {
    this.#limits = limits;
  }

  /** The result of `work`, or undefined when there is no room for it now. */
  async run<T>(work: () => Promise<T>, nowMs: number): Promise<T | undefined> {
    if (!this.#enter(nowMs)) return undefined;
    if (this.#running >= this.#limits.atOnce) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await work();
    } finally {
      // Its place goes to the next one, if one waits.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  #enter(nowMs: number): boolean {
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#begun = 0;
    }
    const full = this.#running >= this.#limits.atOnce && this.#waiting.length >= this.#limits.waiting;
    if (full || this.#begun >= this.#limits.perSecond) return false;
    this.#begun++;
    return true;
  }
}
