import type { Metrics } from '../daemon/metrics.ts';
import type { Snapshot } from '../model/snapshot.ts';

/** Seconds. A change of endpoints takes hundredths, one that reloads HAProxy tenths; above that something waits or fails. */
const BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Changes that wait at the same time; those that come on top count as one. */
const MAX_WAITING = 1_000;

/** How long changes take from the source's news to their effect in proxy and DNS, as the histogram `onehop_change_seconds`. */
export class ChangeTimes {
  readonly #observe: (seconds: number) => void;
  /** In the order in which they came. */
  readonly #waiting: { readonly snapshot: Snapshot; readonly changedAtMs: number }[] = [];
  #first: Snapshot | undefined;

  constructor(metrics: Metrics) {
    this.#observe = metrics.histogram({ name: 'onehop_change_seconds', help: 'From the news of a change (watch event, changed file) to its effect in proxy and DNS' }, BUCKETS);
  }

  /** The source has this Snapshot now, whose oldest change it learned of at `changedAtMs` (`performance.now()`). The first one is no change. */
  came(snapshot: Snapshot, changedAtMs: number): void {
    this.#first ??= snapshot;
    if (snapshot === this.#first) return;
    // What a newer one overtakes is still waited for.
    const last = this.#waiting.length < MAX_WAITING ? undefined : this.#waiting.pop();
    this.#waiting.push({ snapshot, changedAtMs: last?.changedAtMs ?? changedAtMs });
  }

  /** This Snapshot is in effect, and so is all that came before it. */
  inEffect(snapshot: Snapshot, nowMs: number): void {
    const place = this.#waiting.findIndex((one) => one.snapshot === snapshot);
    for (const { changedAtMs } of this.#waiting.splice(0, place + 1)) this.#observe((nowMs - changedAtMs) / 1000);
  }
}
