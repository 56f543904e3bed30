import type { Metrics } from '../daemon/metrics.ts';
import type { Snapshot } from '../model/snapshot.ts';

/** Seconds. A change of endpoints takes hundredths, one that reloads HAProxy tenths; above that something waits or fails. */
const BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Changes that wait at the same time; those that come on top count as one. */
const MAX_WAITING = 1_000;

/**
 * How long changes take from the source's news to their effect in proxy and DNS: the histogram `onehop_change_seconds`, and what waits in
 * `onehop_change_waiting_seconds`. Snapshots are not held.
 */
export class ChangeTimes {
  readonly #observe: (seconds: number) => void;
  /** Every Snapshot that came, by its number; the first is 0, and no change. */
  readonly #numbers = new WeakMap<Snapshot, number>();
  #last = -1;
  /** In the order in which they came. */
  readonly #waiting: { number: number; readonly changedAtMs: number }[] = [];

  constructor(metrics: Metrics, nowMs: () => number) {
    this.#observe = metrics.histogram({ name: 'onehop_change_seconds', help: 'From the news of a change (watch event, changed file) to its effect in proxy and DNS' }, BUCKETS);
    metrics.gauge({ name: 'onehop_change_waiting_seconds', help: 'For how long the oldest change waits that is not in effect yet; 0: none does' }, () => {
      const [oldest] = this.#waiting;
      return [{ value: oldest === undefined ? 0 : (nowMs() - oldest.changedAtMs) / 1000 }];
    });
  }

  /** The source has this Snapshot now, whose oldest change it heard of at `changedAtMs` (`performance.now()`). */
  came(snapshot: Snapshot, changedAtMs: number): void {
    const number = ++this.#last;
    this.#numbers.set(snapshot, number);
    const newest = this.#waiting.at(-1);
    if (number === 0) return;
    // What a newer one overtakes is still waited for.
    if (newest === undefined || this.#waiting.length < MAX_WAITING) this.#waiting.push({ number, changedAtMs });
    else newest.number = number;
  }

  /** This Snapshot is in effect, and so is all that came before it. */
  inEffect(snapshot: Snapshot, nowMs: number): void {
    const number = this.#numbers.get(snapshot) ?? -1;
    for (let [oldest] = this.#waiting; oldest !== undefined && oldest.number <= number; [oldest] = this.#waiting) {
      this.#observe((nowMs - oldest.changedAtMs) / 1000);
      this.#waiting.shift();
    }
  }
}
