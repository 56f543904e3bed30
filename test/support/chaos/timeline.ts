interface Entry<T> {
  readonly value: T;
  readonly writtenMs: number;
  /** When everybody who serves was seen to have it; Infinity: not yet. */
  effectiveMs: number;
}

/**
 * What one thing was, by time. Written, a change may be in effect at any moment; before it is seen to be, what was before it may be, too.
 * So between the two (the change window) either counts, and after it the new one alone.
 */
export class Timeline<T> {
  #entries: Entry<T>[];

  constructor(value: T) {
    this.#entries = [{ value, writtenMs: -Infinity, effectiveMs: -Infinity }];
  }

  get latest(): T {
    return this.#last.value;
  }

  get #last(): Entry<T> {
    const last = this.#entries.at(-1);
    if (last === undefined) throw new Error('a timeline is never empty');
    return last;
  }

  /** Returns what is to be called when the change is seen in effect. */
  write(value: T, nowMs: number): (nowMs: number) => void {
    const entry: Entry<T> = { value, writtenMs: nowMs, effectiveMs: Infinity };
    this.#entries.push(entry);
    return (seenMs) => {
      entry.effectiveMs = Math.min(entry.effectiveMs, seenMs);
      this.#forget(seenMs);
    };
  }

  /** All that may have been in effect at some moment between the two. */
  possible(fromMs: number, toMs: number): readonly T[] {
    const found: T[] = [];
    // From the newest: once one was surely in effect at the beginning, none before it counts.
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i];
      if (entry === undefined || entry.writtenMs > toMs) continue;
      found.push(entry.value);
      if (entry.effectiveMs < fromMs) break;
    }
    return found;
  }

  /** No call lasts minutes. */
  #forget(nowMs: number): void {
    const kept = this.#entries.findLastIndex((entry) => entry.effectiveMs < nowMs - 180_000);
    if (kept > 0) this.#entries = this.#entries.slice(kept);
  }
}
