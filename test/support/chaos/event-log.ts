import { appendFileSync } from 'node:fs';

const KEPT = 400;

/** What happened, with times since the start: the last of it stands in the report of a violation, all of it in a file. */
export class EventLog {
  readonly #startMs = Date.now();
  readonly #file: string | undefined;
  readonly #lines: string[] = [];
  readonly #counts = new Map<string, number>();

  constructor(file?: string) {
    this.#file = file;
  }

  /** Counted by `kind`. */
  add(kind: string, detail = ''): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    this.note(`${kind} ${detail}`);
  }

  note(text: string): void {
    const line = `${this.at(Date.now())} ${text}`;
    this.#lines.push(line);
    if (this.#lines.length > KEPT) this.#lines.shift();
    if (this.#file !== undefined) appendFileSync(this.#file, `${line}\n`);
  }

  /** Seconds since the start. */
  at(ms: number): string {
    return `${((ms - this.#startMs) / 1000).toFixed(3)}s`.padStart(10);
  }

  last(count: number): readonly string[] {
    return this.#lines.slice(-count);
  }

  counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }
}
