/** At most so often, and at least so often (a report counts for 3 minutes). */
const LEAST_MS = 5_000;
const RENEW_MS = 60_000;
/** Of each node, the time within which the nodes of a cluster spread: 1,000 reports a second from 5,000 nodes, no wait in a small cluster. */
const SPREAD_PER_NODE_MS = 1;
const MAX_SPREAD_MS = 5_000;
const MAX_RETRY_MS = 60_000;

/**
 * When a node writes its report: soon after a change took effect, but at most every 5 s, and again before a minute is over. All times are
 * moments of one clock in ms. Pure: `random` returns [0, 1).
 */
export class ReportSchedule {
  readonly #random: () => number;
  #writtenAtMs = -Infinity;
  #written: string | undefined;
  #wanted: string | undefined;
  #dueMs = Infinity;
  #failures = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** When to write next; Infinity: there is nothing to say yet. */
  get dueMs(): number {
    return this.#dueMs;
  }

  /** What is in effect now; `nodes`: how many others may have the same to say at the same moment. */
  inEffect(fingerprint: string, nodes: number, nowMs: number): void {
    if (fingerprint === this.#wanted) return;
    this.#wanted = fingerprint;
    if (this.#failures > 0 || fingerprint === this.#written) return;
    const spreadMs = Math.min(MAX_SPREAD_MS, nodes * SPREAD_PER_NODE_MS);
    this.#dueMs = Math.min(this.#dueMs, Math.max(nowMs, this.#writtenAtMs + LEAST_MS) + this.#random() * spreadMs);
  }

  /** The report with this fingerprint was written. */
  written(fingerprint: string, nowMs: number): void {
    this.#failures = 0;
    this.#written = fingerprint;
    this.#writtenAtMs = nowMs;
    const waitMs = fingerprint === this.#wanted ? RENEW_MS * (1 - 0.2 * this.#random()) : LEAST_MS * (1 + this.#random());
    this.#dueMs = nowMs + waitMs;
  }

  /** It could not be written: tried again after 0.5 to 1 times a time that doubles from 1 s to a minute, or when the server says. */
  failed(nowMs: number, retryAfterMs = 0): void {
    const boundMs = Math.min(MAX_RETRY_MS, 1_000 * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    this.#dueMs = nowMs + retryAfterMs + boundMs * (1 - 0.5 * this.#random());
  }
}
