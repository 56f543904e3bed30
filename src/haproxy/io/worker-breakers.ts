// Invariants:
// - The running worker owns the state; `#seen` is the last that was read of it, with its time, and what a new worker begins with.
// - A worker that HAProxy began by itself, or another supervisor, knows nothing until `restore`: what it says before is no state.
// - A node without breakers is not asked anything.
import type { BreakerMode, BreakerRef, BreakerState } from '../../model/breaker.ts';
import type { RouteTable } from '../../model/route-table.ts';
import { aged, breakerCommands, breakersOf, describeBreakers, parseBreakers, type WorkerBreaker } from '../breaker-states.ts';
import type { RenderOptions } from '../render-options.ts';

/** A HAProxy that is killed loses what came after the last look. */
const LOOK_MS = 2000;

export interface WorkerBreakersParts {
  /** Sends one command to the running worker; rejects when none answers. */
  readonly ask: (command: string) => Promise<string>;
  readonly render: RenderOptions;
}

/** The breakers of the running worker, and what carries their state to the next one. */
export class WorkerBreakers {
  readonly #parts: WorkerBreakersParts;
  #refs: ReadonlyMap<string, BreakerRef> = new Map();
  #seen: { readonly atMs: number; readonly states: ReadonlyMap<string, WorkerBreaker> } | undefined;
  /** Errors by backend that are not told to the worker yet. */
  readonly #late = new Map<string, number>();
  #isCounting = false;
  /** Commands that a new worker has still to be told, in order. */
  #untold: string[] = [];
  #telling: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: WorkerBreakersParts) {
    this.#parts = parts;
  }

  /** The breakers that are wanted from now on. */
  use(table: RouteTable): void {
    this.#refs = breakersOf(table, this.#parts.render);
    if (this.#refs.size === 0) this.close();
    else this.#timer ??= setInterval(() => void this.save(), LOOK_MS).unref();
  }

  /** Reads the state of the worker that serves now. When none answers, what was read before stays. */
  async save(): Promise<void> {
    if (this.#refs.size === 0) return;
    // One that did not answer when it was new: until it has all of it what it says counts for nothing.
    if (this.#untold.length > 0) await this.#tell().catch(() => undefined);
    this.#read(await this.#parts.ask('onehop breakers').catch(() => ''));
  }

  #read(answer: string): void {
    const said = parseBreakers(answer);
    if (said !== undefined && (said.restored || this.#seen === undefined)) this.#seen = { atMs: performance.now(), states: said.breakers };
  }

  /** Brings a worker that has just begun to what was saved. @throws Error when it does not answer; what is left is told at the next looks */
  async restore(): Promise<void> {
    this.#untold = [];
    await this.#telling?.catch(() => undefined);
    if (this.#refs.size === 0) return;
    this.#untold = [...[...this.#now()].flatMap(([name, state]) => breakerCommands(name, state)), 'onehop breakers restored'];
    await this.#tell();
  }

  #tell(): Promise<void> {
    this.#telling ??= this.#tellAll(this.#untold).finally(() => (this.#telling = undefined));
    return this.#telling;
  }

  async #tellAll(commands: string[]): Promise<void> {
    for (let [next] = commands; next !== undefined; [next] = commands) {
      await this.#parts.ask(next);
      commands.shift();
      // Another worker has come meanwhile.
      if (commands !== this.#untold) return;
    }
  }

  /** @throws Error when no worker answers. */
  async states(): Promise<readonly BreakerState[]> {
    if (this.#refs.size === 0) return [];
    this.#read(await this.#parts.ask('onehop breakers'));
    return describeBreakers(this.#refs, this.#now(), Date.now());
  }

  /** What was seen, as it is now if nothing happened since; of breakers that are still wanted. */
  #now(): ReadonlyMap<string, WorkerBreaker> {
    const { atMs, states } = this.#seen ?? { atMs: 0, states: new Map<string, WorkerBreaker>() };
    return new Map([...states].flatMap(([name, state]) => (this.#refs.has(name) ? [[name, aged(state, performance.now() - atMs)] as const] : [])));
  }

  /** In effect when it resolves; nothing happens for a version without breaker. @throws Error when no worker answers. */
  async set(ref: BreakerRef, mode: BreakerMode): Promise<void> {
    const name = this.#nameOf(ref);
    if (name === undefined) return;
    await this.#parts.ask(`onehop breaker ${name} ${mode}`);
    await this.save();
  }

  /** Counts an error that HAProxy only tells in its log. One command at a time: errors that come meanwhile go with the next. */
  countError(ref: BreakerRef): void {
    const name = this.#nameOf(ref);
    if (name === undefined) return;
    this.#late.set(name, (this.#late.get(name) ?? 0) + 1);
    if (!this.#isCounting) void this.#count();
  }

  async #count(): Promise<void> {
    this.#isCounting = true;
    for (let next = [...this.#late]; next.length > 0; next = [...this.#late]) {
      this.#late.clear();
      for (const [name, count] of next) await this.#parts.ask(`onehop breaker ${name} error ${count}`).catch(() => '');
    }
    this.#isCounting = false;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #nameOf({ namespace, route, version }: BreakerRef): string | undefined {
    for (const [name, ref] of this.#refs) if (ref.namespace === namespace && ref.route === route && ref.version === version) return name;
    return undefined;
  }
}
