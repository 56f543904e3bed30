import type { Step } from './observed.ts';
import { TokenBucket } from '../daemon/token-bucket.ts';

/** Writes of status that something waits for: 1,000 new routes at once, then a steady pace. */
const URGENT = { burst: 1_000, perSecond: 100 };
/** Each status write is an event for every agent: so many of those per second are left to counts of nodes. */
const COUNT_EVENTS_PER_SECOND = 20_000;
const COUNTS = { burst: 200, least: 1, most: 50 };

/** Decides which planned writes are made in this pass; the others are planned again later. */
export class PassBudget {
  readonly #urgent: TokenBucket;
  readonly #counts: TokenBucket;

  constructor(nowMs: number) {
    this.#urgent = new TokenBucket(URGENT, nowMs);
    this.#counts = new TokenBucket({ burst: COUNTS.burst, perSecond: COUNTS.most }, nowMs);
  }

  /** `withCounts`: writes of which only the count of nodes is new may be made, too. `agents`: how many watch. */
  choose(steps: readonly Step[], { withCounts, agents, nowMs }: { readonly withCounts: boolean; readonly agents: number; readonly nowMs: number }): readonly Step[] {
    this.#counts.setRate(Math.min(COUNTS.most, Math.max(COUNTS.least, COUNT_EVENTS_PER_SECOND / Math.max(1, agents))));
    return steps.filter((step) => {
      if (step.kind !== 'write-status') return true;
      return step.isUrgent ? this.#urgent.take(nowMs) : withCounts && this.#counts.take(nowMs);
    });
  }
}
