// Invariants:
// - `#applied` is what the running worker has, and what lies on disk whenever no method runs: a restart, by us or by
//   anybody else's supervisor, brings back exactly that.
// - A candidate reaches the run dir only after `haproxy -c` accepted it; one that fails to start is taken back.
// - One method at a time: `HaproxyProxy` orders the calls.
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../model/coded-error.ts';
import type { Route } from '../../model/route-table.ts';
import { lastAlert } from '../describe-refusal.ts';
import { isSameWorker, parseListeners, type Processes, type Worker } from '../parse-answers.ts';
import { describeStep, filesOf, planChange } from '../plan-change.ts';
import { MAX_OLD_WORKERS } from '../reload-pace.ts';
import type { RenderedConfig } from '../render-config.ts';
import type { RenderOptions } from '../render-options.ts';
import { STATS_SOCKET } from '../render-global.ts';
import { readFiles, readLiveMaps, writeFiles } from './config-files.ts';
import type { HaproxyStatus } from './haproxy-status.ts';
import type { Outcome } from './master.ts';
import { RunningWorker, type RunningWorkerParts } from './running-worker.ts';

export interface RunningHaproxyParts extends Omit<RunningWorkerParts, 'runDir'> {
  readonly attach: boolean;
  readonly render: RenderOptions;
  /** Attached: what is seen to be wrong now. */
  readonly trouble?: () => string | undefined;
}

const START_TIMEOUT_MS = 20_000;
/** A master re-executes itself within this time, however large the configuration and busy the machine. */
const REEXEC_MS = 10_000;
/** The files wait on disk for an attached HAProxy that is not there yet; the next apply looks again. */
const ATTACH_TIMEOUT_MS = 5000;
const ATTACH_LOOK_MS = 25;
/** A master that is not seen so often in a row (50 ms apart) has ended. */
const MISSED_IS_GONE = 4;
const MAX_BACKOFF_MS = 5_000;
/** A run this long proves the configuration good: the next restart is immediate again. */
const STEADY_MS = 2_000;

/** `rejected`: by `haproxy -c`; else it passed and did not start. */
export type Refused = { readonly ok: false; readonly rejected: boolean; readonly messages: string };
/** Not before then (performance.now) may the reload start that this needs. */
export type Later = { readonly ok: false; readonly dueMs: number };
export type Applied = { readonly ok: true } | Refused | Later;

/** Stands for whatever a worker runs that is not what lies on disk: only a reload leads out of it. */
const UNKNOWN: RenderedConfig = { config: '', digest: '', files: new Map(), servers: new Map(), structures: new Map() };

/** The HAProxy of a run dir, spawned, adopted or attached: what it runs, and how it is brought to something else. */
export class RunningHaproxy {
  readonly #parts: RunningHaproxyParts;
  #applied: RenderedConfig | undefined;
  #processes: Processes | undefined;
  readonly #running: RunningWorker;
  /** What a configuration of this digest binds: megabytes are read once. */
  #binds: { readonly digest: string; readonly keys: ReadonlySet<string> } | undefined;
  /** Attached: the worker that `#applied` speaks of. */
  #worker: Worker | undefined;
  /** A candidate that passed the check and did not start beside a running worker: unchanged it is not tried again. */
  #failed: { readonly digest: string; readonly refused: Refused } | undefined;
  /** From the end of one HAProxy until the next one answers: what it binds meanwhile is ours, whoever looks. */
  #restarting = false;
  /** Or when it was tried last. */
  #startedAtMs = 0;
  #backoffMs = 0;
  #restarts = 0;
  #configRejected = 0;

  constructor(parts: RunningHaproxyParts) {
    this.#parts = parts;
    const { master, render, check, events, pace, onWorker, carry } = parts;
    this.#running = new RunningWorker({ master, runDir: render.runDir, check, events, pace, onWorker, carry });
  }

  get applied(): RenderedConfig | undefined {
    return this.#applied;
  }

  get processes(): Processes | undefined {
    return this.#processes;
  }

  listeners(): ReadonlySet<string> {
    if ((this.#processes === undefined && !this.#restarting) || this.#applied === undefined) return new Set();
    if (this.#binds?.digest !== this.#applied.digest) this.#binds = { digest: this.#applied.digest, keys: parseListeners(this.#applied.config) };
    return this.#binds.keys;
  }

  status(): HaproxyStatus {
    const { reloads, repaired, lastReloadReason } = this.#running.counts;
    return {
      version: this.#parts.render.haproxy.version,
      pid: this.#processes?.master,
      workerPid: this.#processes?.worker,
      oldWorkers: this.#processes?.old.length ?? 0,
      restarts: this.#restarts,
      reloads: Object.values(reloads).reduce((sum, count) => sum + count, 0),
      reloadsByCause: reloads,
      lastReloadReason,
      configRejected: this.#configRejected,
      repaired,
    };
  }

  /** Both processes live, as far as one look tells. */
  isAlive(): boolean {
    const { master: pid, worker } = this.#processes ?? {};
    const { master } = this.#parts;
    return pid !== undefined && master.isOurs(pid) && worker !== undefined && master.isOurs(worker);
  }

  /** Attached: whether this is the worker that `applied` speaks of. */
  isKnown(worker: Worker): boolean {
    return isSameWorker(this.#worker, worker);
  }

  /** Takes over what runs in the run dir. A worker that is not the one of the files on disk is reloaded by the next apply. */
  async adopt(): Promise<void> {
    const { master, attach } = this.#parts;
    for (let tries = 0; this.#processes === undefined && tries < 20; tries++) {
      this.#processes = await master.processes();
      if (this.#processes !== undefined) break;
      if (!attach && master.left().length === 0) return;
      if (attach && tries > 0) return;
      await sleep(100);
    }
    const worker = this.#processes === undefined ? undefined : await master.worker();
    if (worker !== undefined) await this.#takeOver(worker);
  }

  /** What the worker runs becomes what is applied: the files on disk with the maps that it has, or unknown. */
  async #takeOver(worker: Worker): Promise<void> {
    const { master, render } = this.#parts;
    const disk = await readFiles(render.runDir);
    const same = disk !== undefined && worker.digest === disk.digest;
    this.#applied = same ? { ...disk, files: await readLiveMaps(master.statsSocket, disk.files) } : UNKNOWN;
    if (same) await this.#running.meet();
    this.#worker = worker;
    this.#startedAtMs = Date.now();
    this.#parts.onWorker();
  }

  /** Checks and executes one candidate. Not ok: nothing changed, what served before serves on. */
  async bringTo(desired: RenderedConfig, routes: readonly Route[]): Promise<Applied> {
    const { master, attach } = this.#parts;
    const running = (await this.refresh()) && (!attach || (await this.#recognize()));
    if (running && this.#applied !== undefined) this.#applied = await this.#running.settle(this.#applied);
    const applied = running ? this.#applied : undefined;
    const dueMs = this.#running.reloadDueMs(this.#processes?.old.length ?? 0);
    // What runs unknown cannot be changed otherwise.
    if (applied !== undefined && applied.digest !== '' && applied.digest !== desired.digest && dueMs > performance.now()) return { ok: false, dueMs };
    const steps = applied === undefined ? undefined : planChange(applied, desired);
    const { digest } = desired;
    const reloads = steps?.some((step) => step.kind === 'reload') === true;
    if (reloads && this.#failed?.digest === digest) return this.#failed.refused;
    if (steps === undefined || reloads) {
      const rejection = await this.#parts.check(desired);
      if (rejection !== undefined) {
        this.#configRejected++;
        return { ok: false, rejected: true, messages: rejection };
      }
    }
    const outcome = steps === undefined ? await this.#start(desired) : await this.#running.execute(steps, applied, desired);
    if (outcome.ok) this.#applied = desired;
    if (outcome.ok && attach && steps?.length !== 0) this.#worker = await master.worker();
    const runs = await this.refresh();
    if (outcome.ok && steps?.length !== 0) this.#parts.events.onChange(`${routes.length} routes: ${steps === undefined ? 'started' : steps.map(describeStep).join('; ')}`);
    this.#failed = undefined;
    if (outcome.ok) return outcome;
    const refused = { ...outcome, rejected: false };
    // Each attempt to reload may stop the listeners for seconds. While nothing runs there is nothing to lose.
    if (reloads && runs) this.#failed = { digest, refused };
    return refused;
  }

  /** What of `desired` the worker can have that runs something else, and cannot be loaded with the rest now. */
  async bringWhatLives(desired: RenderedConfig): Promise<void> {
    const applied = this.#applied;
    if (applied === undefined || applied.digest === '' || applied.digest === desired.digest) return;
    this.#applied = await this.#running.bringWhatLives(await this.#running.settle(applied), desired);
  }

  /** What is left to be done when there is time. */
  get untidy(): 'file' | 'servers' | undefined {
    return this.#running.untidy;
  }

  /** Does it. @throws Error when the disk is full or HAProxy does not answer */
  async tidy(): Promise<void> {
    if (this.#applied !== undefined && this.#applied.config !== '') await this.#running.tidy(this.#applied);
  }

  /** Mends what differs from what is applied. @returns what was mended, one word each. @throws Error when HAProxy does not answer, or refuses a map */
  async repair(): Promise<readonly string[]> {
    const { master, attach } = this.#parts;
    const applied = this.#applied;
    const worker = applied === undefined || applied.digest === '' ? undefined : await master.worker();
    // Another worker than ours is brought in step by the next apply.
    if (applied === undefined || worker?.digest !== applied.digest || (attach && !isSameWorker(this.#worker, worker))) return [];
    this.#applied = await this.#running.settle(applied);
    return this.#running.repair(this.#applied);
  }

  /** Nothing runs: writes all files and spawns, or, attached, waits for the other supervisor to start it. */
  async #start(desired: RenderedConfig): Promise<Outcome> {
    const { master, render, attach } = this.#parts;
    const onDisk = await readFiles(render.runDir);
    const stale = [...(onDisk?.files.keys() ?? [])].filter((file) => !desired.files.has(file));
    await writeFiles(render.runDir, filesOf(desired), stale);
    const outcome = attach ? await this.#meetAttached(desired, onDisk === undefined) : await master.start(desired.digest, START_TIMEOUT_MS);
    this.#startedAtMs = Date.now();
    if (outcome.ok) {
      if (!attach) this.#running.loaded(desired);
      this.#parts.onWorker();
      await this.#running.restoreState();
    } else if (!attach && this.#applied !== undefined && this.#applied.config !== '') await writeFiles(render.runDir, filesOf(this.#applied));
    return outcome;
  }

  /**
   * The files lie on disk: waits for the HAProxy of the other supervisor, and brings it in step if it was loaded with something else.
   * `first`: there was no haproxy.cfg before, and it came last. So a worker of its digest has read all the other files as they are.
   */
  async #meetAttached(desired: RenderedConfig, first: boolean): Promise<Outcome> {
    const { master, render } = this.#parts;
    for (const deadline = Date.now() + ATTACH_TIMEOUT_MS; Date.now() < deadline; await sleep(ATTACH_LOOK_MS)) {
      const worker = await master.worker();
      if (worker === undefined) continue;
      if (first && worker.digest === desired.digest) {
        this.#running.loaded(desired);
        this.#worker = worker;
        return { ok: true };
      }
      await this.#running.restoreState();
      await this.#takeOver(worker);
      return this.#running.execute(planChange(this.#applied ?? UNKNOWN, desired), this.#applied, desired);
    }
    return { ok: false, messages: `no HAProxy answers on ${render.runDir}/${STATS_SOCKET}` };
  }

  /** The files cannot be written, the disk is full: what lies there is what ran, or was about to. */
  async #startFromDisk(digest: string, error: unknown): Promise<Outcome> {
    const { master, events } = this.#parts;
    events.onFault(`HAProxy's files could not be written (${messageOf(error)}): it is started with those that are there`);
    const outcome = await master.start(digest, START_TIMEOUT_MS);
    this.#startedAtMs = Date.now();
    const worker = outcome.ok ? await master.worker() : undefined;
    if (worker !== undefined) {
      await this.#takeOver(worker);
      await this.#running.restoreState();
    }
    return outcome;
  }

  /** Attached, the worker may not be the one of the last apply: started again, or reloaded by somebody. False when none answers. */
  async #recognize(): Promise<boolean> {
    const worker = await this.#parts.master.worker();
    if (worker === undefined) return false;
    if (isSameWorker(this.#worker, worker)) return true;
    if (this.#worker !== undefined) {
      this.#restarts++;
      this.#parts.events.onFault('HAProxy was started or reloaded by somebody else');
      await this.#running.restoreState();
    }
    await this.#takeOver(worker);
    return true;
  }

  /** Reads the processes; ends the oldest workers above the limit. True when a master with a worker runs. */
  async refresh(): Promise<boolean> {
    const { master, attach } = this.#parts;
    let now = await master.processes();
    // While the master re-executes itself its socket is closed, and for a moment its command line cannot be read; and a machine that stood
    // still has run out its time: one look proves nothing.
    const deadline = Date.now() + REEXEC_MS;
    const isExpected = (): boolean => this.#processes !== undefined || (!attach && master.left().length > 0);
    for (let missed = 0; now?.worker === undefined && missed < MISSED_IS_GONE && Date.now() < deadline && isExpected(); ) {
      missed = this.#masterLives() ? 0 : missed + 1;
      await sleep(50);
      now = await master.processes();
    }
    this.#processes = now;
    for (const pid of now?.old.slice(0, -MAX_OLD_WORKERS) ?? []) {
      if (attach) void master.cutOff(pid);
      else master.end(pid);
    }
    return now?.worker !== undefined;
  }

  #masterLives(): boolean {
    if (this.#parts.trouble !== undefined) return this.#parts.trouble() === undefined;
    return this.#processes !== undefined && this.#parts.master.isOurs(this.#processes.master);
  }

  /** Starts the last good configuration again after HAProxy ended; one that lives after all is let be. */
  async restart(): Promise<void> {
    const { master, events } = this.#parts;
    if (this.#applied === undefined || this.#applied.config === '') return;
    if (Date.now() - this.#startedAtMs > STEADY_MS) this.#backoffMs = 0;
    if (this.#backoffMs > 0) await sleep(this.#backoffMs, undefined, { ref: false });
    // It may not have been seen since it was started.
    if (this.#processes?.worker === undefined) await this.refresh();
    if (this.isAlive()) return;
    const before = this.#processes;
    // What is left of it would hold the ports' share of the traffic: SO_REUSEPORT.
    if (before !== undefined) for (const pid of [before.master, before.worker]) if (pid !== undefined) master.end(pid);
    this.#restarting = true;
    this.#processes = undefined;
    this.#restarts++;
    this.#backoffMs = Math.min(MAX_BACKOFF_MS, Math.max(200, this.#backoffMs * 2));
    try {
      const outcome = await this.#start(this.#applied).catch((error: unknown) => this.#startFromDisk(this.#applied?.digest ?? '', error));
      await this.refresh();
      events.onFault(outcome.ok ? 'HAProxy had ended and was started again' : `HAProxy ended and does not start: ${lastAlert(outcome.messages)}`);
    } finally {
      this.#restarting = false;
    }
  }
}
