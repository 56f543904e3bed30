import type { Backoff } from './backoff.ts';

/*
 * Invariants
 * 1. At most one `apply` runs at any time.
 * 2. Values are applied in the order in which they were wanted; one that is overtaken before its turn is never applied.
 * 3. The latest value is applied until it succeeds, is overtaken or the runner is closed: an error never loses it.
 * 4. After a failure the same value waits for the backoff; a newer one ends that wait.
 * 5. Once `close` is called no `apply` starts; the one that runs sees its signal aborted, and `close` resolves when it has ended.
 * 6. The `apply` that runs is told when a newer value is wanted; when it then gives up with that signal's reason, it is no failure.
 * 7. Nothing that `apply` or `onError` throws leaves the runner.
 */

export interface SerialRunnerOptions<Wanted> {
  /** `overtaken` is aborted when a newer value waits for its turn, or the runner closes. */
  readonly apply: (wanted: Wanted, signal: AbortSignal, overtaken: AbortSignal) => Promise<void>;
  /** Told of each failure and of the delay before the same value is tried again. */
  readonly onError: (error: unknown, retryInMs: number) => void;
  readonly backoff: Backoff;
  /** Resolves after `ms`, or early when `signal` aborts; never rejects. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** The one owner of a changing world: applies the latest wanted value, one at a time. */
export class SerialRunner<Wanted> {
  readonly #options: SerialRunnerOptions<Wanted>;
  readonly #closing = new AbortController();
  #next: { readonly wanted: Wanted } | undefined;
  #running: Promise<void> | undefined;
  #endWait: () => void = () => {};
  #overtake = new AbortController();

  constructor(options: SerialRunnerOptions<Wanted>) {
    this.#options = options;
  }

  /** Makes `wanted` the value to bring about, in place of any that has not had its turn. */
  want(wanted: Wanted): void {
    if (this.#closing.signal.aborted) return;
    this.#next = { wanted };
    this.#overtake.abort();
    this.#endWait();
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is left to apply (at once when idle). While values keep failing it stays pending. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#overtake.abort();
    this.#endWait();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { apply, backoff } = this.#options;
    const { signal } = this.#closing;
    await Promise.resolve(); // so that `#running` is set before `apply` can call `want`
    while (this.#next !== undefined && !signal.aborted) {
      const current = this.#next;
      this.#next = undefined;
      this.#overtake = new AbortController();
      const { signal: overtaken } = this.#overtake;
      try {
        await apply(current.wanted, signal, overtaken);
        backoff.reset();
      } catch (error) {
        const gaveUp = overtaken.aborted && error === overtaken.reason;
        if (!signal.aborted && !gaveUp) await this.#waitAfter(error, current);
      }
    }
    this.#running = undefined; // no await since the check above: a `want` cannot fall between them
  }

  async #waitAfter(error: unknown, failed: { readonly wanted: Wanted }): Promise<void> {
    const delayMs = this.#options.backoff.nextMs();
    try {
      this.#options.onError(error, delayMs);
    } catch {
      // The reporter's own failure has nobody left to be reported to.
    }
    if (this.#next !== undefined) return;
    this.#next = failed;
    const wait = new AbortController();
    this.#endWait = () => wait.abort();
    await this.#options.sleep(delayMs, wait.signal);
    this.#endWait = () => {};
  }
}
