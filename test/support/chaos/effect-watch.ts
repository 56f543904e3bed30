import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosWorld } from './chaos-world.ts';
import type { EventLog } from './event-log.ts';
import type { Generation, RoutesAnswer } from './node-under-test.ts';

const POLL_MS = 40;
const LIMIT_MS = 120_000;
/** A reload that goes astray is given up after 30 s. */
const EXCUSED_MS = 60_000;
const MARK = /^Mark-(\w+)-(\d+)$/;
/** What no object of a test run may lead to: nothing of it is wrong with the node. */
const NODE_CODES = ['haproxy-failed', 'config-rejected', 'port-taken', 'port-denied', 'port-unavailable', 'state-unsaved'];

/**
 * Asks all agents what is in effect while something is waited for: a change's window ends when every one of them shows the mark
 * that was written with it.
 */
export class EffectWatch {
  /** Agents that must have a change; a list that changes at a hand-over. */
  agents: readonly Generation[] = [];
  /** Problems of the node that were seen, once each. */
  readonly troubles = new Set<string>();
  slowestMs = 0;
  readonly #world: ChaosWorld;
  readonly #events: EventLog;
  #closed = false;
  readonly #running: Promise<void>;
  #excusedUntilMs = 0;
  readonly #writtenMs = new Map<string, number>();

  constructor(world: ChaosWorld, events: EventLog) {
    this.#world = world;
    this.#events = events;
    this.#running = this.#watch();
  }

  /** HAProxy is killed, or reloaded by somebody else, now: a pass that meets it may say so. */
  excuse(): void {
    this.#excusedUntilMs = Date.now() + EXCUSED_MS;
  }

  /** Resolves when all that is written now is in effect. @throws Error when that takes two minutes */
  async inEffect(): Promise<void> {
    const wanted = this.#world.waitingFor.map(({ file, count }) => ({ file, count }));
    const waits = (): boolean => wanted.some(({ file, count }) => this.#world.waitingFor.some((one) => one.file === file && one.count <= count));
    for (const end = Date.now() + LIMIT_MS; waits(); await sleep(POLL_MS / 2)) {
      if (this.#closed) return;
      if (Date.now() > end) throw new Error(`a change is not in effect after ${LIMIT_MS / 1000} s: ${wanted.map(({ file, count }) => `${file} ${count}`).join(', ')}`);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #watch(): Promise<void> {
    for (; !this.#closed; await sleep(POLL_MS)) {
      const { agents } = this;
      if (this.#world.waitingFor.length === 0 || agents.length === 0) continue;
      for (const { file, count } of this.#world.waitingFor) if (!this.#writtenMs.has(`${file} ${count}`)) this.#writtenMs.set(`${file} ${count}`, Date.now());
      const answers = await Promise.all(agents.map((agent) => agent.routes().catch(() => undefined)));
      if (agents !== this.agents) continue;
      const counts = answers.map((answer) => (answer === undefined ? new Map<string, number>() : this.#marksOf(answer)));
      const [first, ...others] = counts;
      if (first === undefined) continue;
      const everywhere = new Map([...first].map(([file, count]) => [file, Math.min(count, ...others.map((one) => one.get(file) ?? 0))]));
      this.#tell(everywhere);
    }
  }

  #tell(counts: ReadonlyMap<string, number>): void {
    const nowMs = Date.now();
    const done = this.#world.waitingFor.filter(({ file, count }) => (counts.get(file) ?? 0) >= count);
    for (const { file, count } of done) {
      this.slowestMs = Math.max(this.slowestMs, nowMs - (this.#writtenMs.get(`${file} ${count}`) ?? nowMs));
      this.#events.note(`in effect: ${file} ${count}`);
    }
    this.#world.sawMarks(counts, nowMs);
  }

  #marksOf({ problems }: RoutesAnswer): ReadonlyMap<string, number> {
    const marks = new Map<string, number>();
    for (const { code, message, object } of problems) {
      const [, file, count] = MARK.exec(object.name) ?? [];
      if (file !== undefined) marks.set(file, Number(count));
      if (!NODE_CODES.includes(code) || this.troubles.has(message) || (code === 'haproxy-failed' && Date.now() < this.#excusedUntilMs)) continue;
      this.troubles.add(message);
      this.#events.note(`PROBLEM ${code} ${object.name}: ${message}`);
    }
    return marks;
  }
}
