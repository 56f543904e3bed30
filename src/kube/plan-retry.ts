import type { ApiError } from './api-error.ts';

/** How one attempt to list or to watch ended. `progressed`: it told something new, or lasted long enough to be worth its connection. */
export type Outcome =
  | { readonly kind: 'listed' }
  /** The server ended the watch by its own limit, or the connection was silent for too long. */
  | { readonly kind: 'ended'; readonly progressed: boolean }
  /** The request was refused, or the connection failed. */
  | { readonly kind: 'failed'; readonly during: 'list' | 'watch'; readonly error: ApiError; readonly progressed: boolean }
  /** An ERROR event, or a line that is no event. */
  | { readonly kind: 'bad-event'; readonly error: ApiError; readonly progressed: boolean }
  /** An object was too large to be read from the watch: only a list can tell it. */
  | { readonly kind: 'too-long' };

/** What to do next, and when. */
export interface Step {
  readonly action: 'list' | 'watch';
  readonly delayMs: number;
  /** The server could not be reached: as soon as it has answered anybody, what is left of the delay shrinks to this at most. */
  readonly returnMs?: number;
}

export interface RetryLimits {
  /** Upper bound of the first delay, and of every delay. */
  readonly baseMs: number;
  readonly maxMs: number;
  /** Of every delay while the server cannot be reached: that costs it nothing, and all that it will have to tell is late by as much. */
  readonly awayMs: number;
  /** Of the delay once it has answered: the watches of one node begin again within this time. */
  readonly returnMs: number;
  /** Upper bound of the first delay before a list after 410: a compaction or a restart sends all nodes here at the same moment. */
  readonly relistMs: number;
}

export const RETRY_LIMITS: RetryLimits = { baseMs: 500, maxMs: 30_000, awayMs: 5_000, returnMs: 500, relistMs: 2_000 };

/** Bad events in a row after which a watch from the same place is given up for a list. */
const MAX_BAD_EVENTS = 3;

/**
 * Decides after each attempt what a reflector does next. Delays have full jitter, uniform in (0, bound], the bound doubling with each
 * failure in a row; Retry-After is added to them. Only what makes the place of the watch doubtful leads to a list: a server that is away
 * or overloaded never does, so that its return is not met by a list of every node.
 */
export class RetryPlan {
  readonly #limits: RetryLimits;
  readonly #random: () => number;
  #failures = 0;
  /** Attempts in a row that reached no server. */
  #absences = 0;
  /** 410s in a row. */
  #expiries = 0;
  #badEvents = 0;

  /** `random` returns [0, 1). */
  constructor(random: () => number, limits: RetryLimits = RETRY_LIMITS) {
    this.#random = random;
    this.#limits = limits;
  }

  after(outcome: Outcome): Step {
    // A list is progress only once the watch after it works: else a server that ends each watch with 410 would be listed without pause.
    if (outcome.kind === 'listed') return { action: 'watch', delayMs: 0 };
    if ('progressed' in outcome && outcome.progressed) {
      this.#failures = 0;
      this.#absences = 0;
      this.#expiries = 0;
      this.#badEvents = 0;
    }
    if (outcome.kind === 'ended') return { action: 'watch', delayMs: outcome.progressed ? 0 : this.#failureMs() };
    if (outcome.kind === 'too-long') return { action: 'list', delayMs: this.#failureMs() };
    const { error } = outcome;
    if (outcome.kind === 'failed' && isAway(error)) return { action: outcome.during, ...this.#awayFor() };
    this.#absences = 0;
    const pauseMs = error.retryAfterMs ?? 0;
    if (outcome.kind === 'failed' && outcome.during === 'list') return { action: 'list', delayMs: pauseMs + this.#failureMs() };
    if (isExpired(error)) {
      this.#badEvents = 0;
      // The server answers again: however long it was away, only its own 410s in a row make the wait for the list longer.
      return { action: 'list', delayMs: pauseMs + this.#delayMs(this.#limits.relistMs, this.#expiries++) };
    }
    if (outcome.kind === 'bad-event' || isRefusal(error)) this.#badEvents++;
    const delayMs = pauseMs + this.#failureMs();
    if (this.#badEvents < MAX_BAD_EVENTS) return { action: 'watch', delayMs };
    this.#badEvents = 0;
    return { action: 'list', delayMs };
  }

  /** How long it was away says nothing about how busy it is when it is back: these are counted apart. */
  #awayFor(): Omit<Step, 'action'> {
    const { baseMs, awayMs, returnMs } = this.#limits;
    return { delayMs: this.#draw(Math.min(awayMs, baseMs * 2 ** Math.min(this.#absences++, 20))), returnMs: this.#draw(returnMs) };
  }

  #failureMs(): number {
    return this.#delayMs(this.#limits.baseMs, this.#failures++);
  }

  #delayMs(baseMs: number, before: number): number {
    return this.#draw(Math.min(this.#limits.maxMs, baseMs * 2 ** Math.min(before, 20)));
  }

  #draw(boundMs: number): number {
    return Math.ceil((1 - this.#random()) * boundMs);
  }
}

/** The resourceVersion is no longer known: 410 with reason Expired or Gone. */
export const isExpired = ({ status, reason }: ApiError): boolean => status === 410 || reason === 'Expired' || reason === 'Gone';

/** No answer came, as there was nobody, or the connection broke. */
const isAway = ({ status, reason }: ApiError): boolean => status === 0 && reason === 'Unreachable';

/** An answer that says the request itself is wrong, other than who asks (401, 403) and how often (429). */
const isRefusal = ({ status }: ApiError): boolean => status >= 400 && status < 500 && ![401, 403, 429].includes(status);
