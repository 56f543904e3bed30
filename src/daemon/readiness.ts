import { byCodeUnit } from '../model/names.ts';
import { printable } from '../model/problem.ts';

export interface PendingTask {
  readonly task: string;
  readonly why: string;
}

/** A set of named pending tasks: ready when there is none. A finished task can become pending again. */
export class Readiness {
  readonly #pending = new Map<string, string>();
  readonly #notes = new Map<string, string>();

  constructor(tasks: Readonly<Record<string, string>> = {}) {
    for (const [task, why] of Object.entries(tasks)) this.pending(task, why);
  }

  /** `task` is not done, or no longer; `why` says what it waits for. */
  pending(task: string, why: string): void {
    this.#pending.set(task, printable(why));
  }

  done(task: string): void {
    this.#pending.delete(task);
  }

  /** Something to know about a task that is done; undefined: no longer. */
  note(task: string, text: string | undefined): void {
    if (text === undefined) this.#notes.delete(task);
    else this.#notes.set(task, printable(text));
  }

  /** What `task` waits for; undefined when it is done. */
  why(task: string): string | undefined {
    return this.#pending.get(task);
  }

  get ready(): boolean {
    return this.#pending.size === 0;
  }

  /** Sorted by task. */
  tasks(): readonly PendingTask[] {
    return [...this.#pending].map(([task, why]) => ({ task, why })).sort((a, b) => byCodeUnit(a.task, b.task));
  }

  /** The body of `/readyz`: `ready`, or one line per pending task; then one line per note. */
  describe(): string {
    const lines = this.ready ? ['ready'] : this.tasks().map(({ task, why }) => `${task}: ${why}`);
    return [...lines, ...[...this.#notes].map(([task, text]) => `${task}: ${text}`), ''].join('\n');
  }
}
