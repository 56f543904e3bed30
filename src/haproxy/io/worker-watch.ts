import type { Worker } from '../parse-answers.ts';
import type { Sight } from './master.ts';

const WATCH_MS = 1000;
/** Seen so often in a row before it is told: one look may fall into a reload or a busy moment. */
const TOLD_AFTER = 2;

export interface WorkerWatchParts {
  readonly look: () => Promise<Sight>;
  /** Digest of what should run; undefined while that changes, and before the first table. */
  readonly expected: () => string | undefined;
  /** Called at each change: what is wrong, or undefined when all is well again. */
  readonly onTrouble: (why: string | undefined) => void;
  /** Whether this is the worker that was last brought to anything. */
  readonly isKnown: (worker: Worker) => boolean;
  /** Another worker answers than the known one, and nothing of ours is under way that explains it. */
  readonly onOther: () => void;
}

/**
 * Watches the HAProxy of another supervisor, by its socket alone: pids of another container say nothing. It tells, and
 * neither starts nor ends anything.
 */
export class WorkerWatch {
  readonly #parts: WorkerWatchParts;
  readonly #timer: NodeJS.Timeout;
  #looking = false;
  #seen: string | undefined;
  #times = 0;
  #trouble: string | undefined;

  constructor(parts: WorkerWatchParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => void this.#look(), WATCH_MS);
    this.#timer.unref();
  }

  /** What is wrong, one line; undefined: it serves what it should, as far as one knows. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const before = this.#parts.expected();
    const sight = await this.#parts.look();
    this.#looking = false;
    // Asked before and after: in between a reload may have changed both.
    const expected = before === this.#parts.expected() ? before : undefined;
    if (expected !== undefined && typeof sight !== 'string' && !this.#parts.isKnown(sight)) this.#parts.onOther();
    const why = describe(sight, expected);
    this.#times = why === this.#seen ? this.#times + 1 : 1;
    this.#seen = why;
    if (why === this.#trouble || (why !== undefined && this.#times < TOLD_AFTER)) return;
    this.#trouble = why;
    this.#parts.onTrouble(why);
  }
}

function describe(sight: Sight, expected: string | undefined): string | undefined {
  if (sight === 'gone') return 'no HAProxy answers on its socket; its supervisor has to start it';
  if (sight === 'silent') return 'HAProxy is there and does not answer on its socket: it hangs, or is stopped';
  return expected === undefined || sight.digest === expected ? undefined : 'HAProxy runs another configuration than the one in effect';
}
