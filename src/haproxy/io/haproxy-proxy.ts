// Invariants:
// - `#exclusive` orders everything that touches the process or its files: apply, restart, close never overlap.
// - `#applied` is what the running worker has, and what lies on disk whenever `#exclusive` is free: a restart,
//   by us or by anybody else's supervisor, brings back exactly that.
// - A candidate reaches the run dir only after `haproxy -c` accepted it; one that fails to start is taken back.
import { setTimeout as sleep } from 'node:timers/promises';
import { NO_CALLS, type CallCounts } from '../../model/call-counts.ts';
import { messageOf } from '../../model/coded-error.ts';
import { objectKey } from '../../model/names.ts';
import type { Problem } from '../../model/problem.ts';
import type { Proxy } from '../../model/proxy.ts';
import type { Route, RouteTable } from '../../model/route-table.ts';
import { lastAlert, nodeProblem } from '../describe-refusal.ts';
import { fitListeners } from '../fit-limits.ts';
import { findCulprits } from '../find-culprits.ts';
import type { Culprits } from '../find-culprits.ts';
import { isSameWorker, parseListeners, type Processes, type Worker } from '../parse-answers.ts';
import { parseStats } from '../parse-stats.ts';
import { describeStep, filesOf, planChange } from '../plan-change.ts';
import type { Step } from '../plan-change.ts';
import { rememberRender } from '../remember-render.ts';
import { configDigest, renderConfig, type RenderedConfig } from '../render-config.ts';
import type { RenderOptions } from '../render-options.ts';
import { STATS_SOCKET } from '../render-global.ts';
import { frontendName } from '../section-names.ts';
import { bisectCulprit } from './bisect-culprit.ts';
import { openConfigCheck } from './check-config.ts';
import type { CheckConfig } from './check-config.ts';
import { askCli, replaceMap } from './cli-socket.ts';
import { readFiles, readLiveMaps, writeFiles } from './config-files.ts';
import type { Master, Outcome } from './master.ts';
import { Quarantine } from './quarantine.ts';
import type { RunLock } from './run-lock.ts';
import { WorkerWatch } from './worker-watch.ts';

export interface HaproxyEvents {
  /** Something went wrong that no Problem tells: one printable line for the log. */
  onFault(line: string): void;
  /** A worker with a new configuration serves, or the old one again: `reason` says why. */
  onChange(reason: string): void;
  /** Attached: what is wrong with the HAProxy there, or undefined when it is well again (the table should be applied anew then). */
  onTrouble(why: string | undefined): void;
}

export interface HaproxyStatus {
  readonly version: string;
  /** Of the master; undefined while none runs. */
  readonly pid: number | undefined;
  readonly workerPid: number | undefined;
  /** Workers of earlier configurations that still serve connections. */
  readonly oldWorkers: number;
  readonly restarts: number;
  readonly reloads: number;
  readonly lastReloadReason: string | undefined;
  readonly configRejected: number;
}

export interface HaproxyProxyParts {
  readonly master: Master;
  readonly binary: string;
  readonly attach: boolean;
  readonly render: RenderOptions;
  readonly lock: RunLock;
  readonly events: HaproxyEvents;
}

const START_TIMEOUT_MS = 20_000;
const RELOAD_TIMEOUT_MS = 30_000;
/** A master re-executes itself within this time, however large the configuration and busy the machine. */
const REEXEC_MS = 10_000;
/** The files wait on disk for an attached HAProxy that is not there yet; the next apply looks again. */
const ATTACH_TIMEOUT_MS = 5000;
const WATCH_MS = 150;
/** A master that is not seen so often in a row (50 ms apart) has ended. */
const MISSED_IS_GONE = 4;
const MAX_BACKOFF_MS = 10_000;
/** A run this long proves the configuration good: the next restart is immediate again. */
const STEADY_MS = 2_000;
const MAX_OLD_WORKERS = 8;

/** `rejected`: by `haproxy -c`; else it passed and did not start. */
type Refused = { readonly ok: false; readonly rejected: boolean; readonly messages: string };
type Applied = { readonly ok: true } | Refused;

/** Stands for whatever a worker runs that is not what lies on disk: only a reload leads out of it. */
const UNKNOWN: RenderedConfig = { config: '', files: new Map() };

export class HaproxyProxy implements Proxy {
  readonly kind = 'haproxy';
  readonly #parts: HaproxyProxyParts;
  readonly #check: CheckConfig;
  readonly #render: (table: RouteTable) => RenderedConfig;
  #applied: RenderedConfig | undefined;
  /** The table last given, whose names the counters bear. */
  #table: RouteTable | undefined;
  #processes: Processes | undefined;
  /** Attached: the worker that `#applied` speaks of. */
  #worker: Worker | undefined;
  readonly #quarantine = new Quarantine();
  /** A candidate that passed the check and did not start beside a running worker: unchanged it is not tried again. */
  #failed: { readonly digest: string | undefined; readonly refused: Refused } | undefined;
  #exclusive: Promise<unknown> = Promise.resolve();
  #busy = 0;
  #closed = false;
  #missed = 0;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #watch: WorkerWatch | undefined;
  #startedAtMs = 0;
  #backoffMs = 0;
  #restarts = 0;
  #reloads = 0;
  #configRejected = 0;
  #lastReloadReason: string | undefined;

  constructor(parts: HaproxyProxyParts) {
    this.#parts = parts;
    this.#render = rememberRender(parts.render);
    this.#check = openConfigCheck(parts.binary, parts.render.runDir);
    if (parts.attach) {
      const expected = (): string | undefined => (this.#busy > 0 || this.#applied === undefined ? undefined : configDigest(this.#applied.config));
      this.#watch = new WorkerWatch({ look: () => parts.master.look(), expected, onTrouble: (why) => parts.events.onTrouble(why) });
    } else {
      this.#timer = setInterval(() => this.#look(), WATCH_MS).unref();
    }
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
    const same = disk !== undefined && worker.digest === configDigest(disk.config);
    this.#applied = same ? { config: disk.config, files: await readLiveMaps(master.statsSocket, disk.files) } : UNKNOWN;
    this.#worker = worker;
    this.#startedAtMs = Date.now();
  }

  apply(table: RouteTable): Promise<readonly Problem[]> {
    return this.#alone(() => this.#apply(table));
  }

  listeners(): ReadonlySet<string> {
    return this.#processes === undefined || this.#applied === undefined ? new Set() : parseListeners(this.#applied.config);
  }

  /** Attached: what is seen to be wrong with HAProxy now. */
  get trouble(): string | undefined {
    return this.#watch?.trouble;
  }

  status(): HaproxyStatus {
    return {
      version: this.#parts.render.haproxy.version,
      pid: this.#processes?.master,
      workerPid: this.#processes?.worker,
      oldWorkers: this.#processes?.old.length ?? 0,
      restarts: this.#restarts,
      reloads: this.#reloads,
      lastReloadReason: this.#lastReloadReason,
      configRejected: this.#configRejected,
    };
  }

  /** What the running worker has counted; nothing while none answers. */
  async calls(): Promise<CallCounts> {
    const table = this.#table;
    const answer = table === undefined ? '' : await askCli(this.#parts.master.statsSocket, 'show stat').catch(() => '');
    return table === undefined || answer === '' ? NO_CALLS : parseStats(answer, table);
  }

  async close(how: { readonly drainMs: number; readonly leaveRunning: boolean }): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#watch?.close();
    await this.#alone(async () => {
      const { master, attach, lock } = this.#parts;
      const running = (await master.processes()) ?? this.#processes;
      if (!how.leaveRunning && !attach) await master.stop(running?.master, how.drainMs);
      await lock.release();
    });
  }

  async #alone<T>(task: () => Promise<T>): Promise<T> {
    this.#busy++;
    const turn = this.#exclusive.then(task);
    this.#exclusive = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.#busy--;
    }
  }

  async #apply(whole: RouteTable): Promise<readonly Problem[]> {
    this.#table = whole;
    const { render, binary } = this.#parts;
    const { table, problems: leftOut } = fitListeners(whole, render.fileDescriptors);
    const problems = new Map(leftOut.map((one) => [`${one.object.namespace}/${one.object.name}`, one]));
    for (const [key, held] of await this.#quarantine.keep(table.routes)) problems.set(key, held);
    for (;;) {
      const routes = table.routes.filter((route) => !problems.has(objectKey(route)));
      const desired = this.#render({ ...table, routes });
      try {
        const outcome = await this.#bringTo(desired, routes);
        if (outcome.ok) return [...problems.values()];
        const culprits = await this.#culprits(outcome, desired, { ...table, routes });
        if (culprits.size === 0) return [...problems.values(), nodeProblem(table.node, outcome.rejected ? 'config-rejected' : 'haproxy-failed', outcome.messages)];
        for (const [key, found] of this.#quarantine.add(culprits, routes)) problems.set(key, found);
      } catch (error) {
        // The binary cannot be run, the disk is full: nothing about any route.
        return [...problems.values(), nodeProblem(table.node, 'haproxy-failed', `${binary}: ${messageOf(error)}`)];
      }
    }
  }

  /** Checks and executes one candidate. Not ok: nothing changed, what served before serves on. */
  async #bringTo(desired: RenderedConfig, routes: readonly Route[]): Promise<Applied> {
    const { master, attach } = this.#parts;
    const running = (await this.#refresh()) && (!attach || (await this.#recognize()));
    const applied = running ? this.#applied : undefined;
    const steps = applied === undefined ? undefined : planChange(applied, desired);
    const digest = configDigest(desired.config);
    if (running && this.#failed !== undefined && this.#failed.digest === digest) return this.#failed.refused;
    if (steps === undefined || steps.some((step) => step.kind === 'reload')) {
      const rejection = await this.#check(desired);
      if (rejection !== undefined) {
        this.#configRejected++;
        return { ok: false, rejected: true, messages: rejection };
      }
    }
    const outcome = steps === undefined ? await this.#start(desired) : await this.#execute(steps, desired);
    if (outcome.ok) this.#applied = desired;
    if (outcome.ok && attach && steps?.length !== 0) this.#worker = await master.worker();
    await this.#refresh();
    if (outcome.ok && steps?.length !== 0) this.#parts.events.onChange(`${routes.length} routes: ${steps === undefined ? 'started' : steps.map(describeStep).join('; ')}`);
    this.#failed = undefined;
    if (outcome.ok) return outcome;
    const refused = { ...outcome, rejected: false };
    // Each attempt to reload may stop the listeners for seconds. While nothing runs there is nothing to lose.
    if (running) this.#failed = { digest, refused };
    return refused;
  }

  async #execute(steps: readonly Step[], desired: RenderedConfig): Promise<Outcome> {
    const { master, render } = this.#parts;
    const before = this.#applied;
    for (const step of steps) {
      switch (step.kind) {
        case 'replace-map':
          try {
            await replaceMap(master.statsSocket, step.file, step.content);
            await writeFiles(render.runDir, new Map([[step.file, step.content]]));
          } catch (error) {
            this.#parts.events.onFault(`${step.file} was not changed at run time (${messageOf(error)}); reloading`);
            await writeFiles(render.runDir, filesOf(desired));
            return this.#reload(desired, before, `${step.file} could not be changed at run time`);
          }
          break;
        case 'write-files':
          await writeFiles(render.runDir, step.write, []);
          break;
        case 'reload': {
          const outcome = await this.#reload(desired, before, step.reason);
          if (!outcome.ok) return outcome;
          for (const other of steps) if (other.kind === 'write-files') await writeFiles(render.runDir, new Map(), other.remove);
          break;
        }
      }
    }
    return { ok: true };
  }

  async #reload(desired: RenderedConfig, before: RenderedConfig | undefined, reason: string): Promise<Outcome> {
    const { master, render } = this.#parts;
    const outcome = await master.reload(configDigest(desired.config) ?? '', RELOAD_TIMEOUT_MS);
    if (outcome.ok) {
      this.#reloads++;
      this.#lastReloadReason = reason;
    } else if (before !== undefined && before.config !== '') {
      await writeFiles(render.runDir, filesOf(before), [...desired.files.keys()].filter((file) => !before.files.has(file)));
      this.#parts.events.onFault(`a reload failed (${reason}); the configuration before it goes on`);
    }
    return outcome;
  }

  /** Nothing runs: writes all files and spawns, or, attached, waits for the other supervisor to start it. */
  async #start(desired: RenderedConfig): Promise<Outcome> {
    const { master, render, attach } = this.#parts;
    const onDisk = await readFiles(render.runDir);
    const stale = [...(onDisk?.files.keys() ?? [])].filter((file) => !desired.files.has(file));
    await writeFiles(render.runDir, filesOf(desired), stale);
    const digest = configDigest(desired.config) ?? '';
    const outcome = attach ? await this.#meetAttached(desired) : await master.start(digest, START_TIMEOUT_MS);
    if (outcome.ok) this.#startedAtMs = Date.now();
    else if (!attach && this.#applied !== undefined && this.#applied.config !== '') await writeFiles(render.runDir, filesOf(this.#applied));
    return outcome;
  }

  /** The files lie on disk: waits for the HAProxy of the other supervisor, and brings it in step if it was loaded with something else. */
  async #meetAttached(desired: RenderedConfig): Promise<Outcome> {
    const { master, render } = this.#parts;
    for (const deadline = Date.now() + ATTACH_TIMEOUT_MS; Date.now() < deadline; await sleep(100)) {
      const worker = await master.worker();
      if (worker === undefined) continue;
      await this.#takeOver(worker);
      return this.#execute(planChange(this.#applied ?? UNKNOWN, desired), desired);
    }
    return { ok: false, messages: `no HAProxy answers on ${render.runDir}/${STATS_SOCKET}` };
  }

  /** Attached, the worker may not be the one of the last apply: started again, or reloaded by somebody. False when none answers. */
  async #recognize(): Promise<boolean> {
    const worker = await this.#parts.master.worker();
    if (worker === undefined) return false;
    if (isSameWorker(this.#worker, worker)) return true;
    if (this.#worker !== undefined) {
      this.#restarts++;
      this.#parts.events.onFault('HAProxy was started or reloaded by somebody else');
    }
    await this.#takeOver(worker);
    return true;
  }

  /** Reads the processes; ends the oldest workers above the limit. True when a master with a worker runs. */
  async #refresh(): Promise<boolean> {
    const { master, attach } = this.#parts;
    let now = await master.processes();
    // While the master re-executes itself its socket is closed, and for a moment its command line cannot be read: one look proves nothing.
    const deadline = Date.now() + REEXEC_MS;
    for (let missed = 0; now?.worker === undefined && this.#processes !== undefined && missed < MISSED_IS_GONE && Date.now() < deadline; ) {
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
    if (this.#watch !== undefined) return this.#watch.trouble === undefined;
    return this.#processes !== undefined && this.#parts.master.isOurs(this.#processes.master);
  }

  /** Called by the timer: a dead master or worker means that nobody serves. */
  #look(): void {
    const { master } = this.#parts;
    if (this.#closed || this.#busy > 0 || this.#applied === undefined) return;
    const { master: pid, worker } = this.#processes ?? {};
    const alive = pid !== undefined && master.isOurs(pid) && worker !== undefined && master.isOurs(worker);
    // Seen twice: while the master re-executes itself its command line is not readable for a moment.
    this.#missed = alive ? 0 : this.#missed + 1;
    if (this.#missed < 2) return;
    this.#missed = 0;
    void this.#alone(() => this.#restart());
  }

  async #restart(): Promise<void> {
    const { master, events } = this.#parts;
    if (this.#closed || this.#applied === undefined || this.#applied.config === '') return;
    if (Date.now() - this.#startedAtMs > STEADY_MS) this.#backoffMs = 0;
    if (this.#backoffMs > 0) await sleep(this.#backoffMs, undefined, { ref: false });
    const before = this.#processes;
    // What is left of it would hold the ports' share of the traffic: SO_REUSEPORT.
    if (before !== undefined) for (const pid of [before.master, before.worker]) if (pid !== undefined) master.end(pid);
    this.#processes = undefined;
    this.#restarts++;
    this.#backoffMs = Math.min(MAX_BACKOFF_MS, Math.max(200, this.#backoffMs * 2));
    const outcome = await this.#start(this.#applied);
    await this.#refresh();
    if (outcome.ok) events.onFault('HAProxy had ended and was started again');
    else events.onFault(`HAProxy ended and does not start: ${lastAlert(outcome.messages)}`);
  }

  async #culprits(refused: Refused, desired: RenderedConfig, table: RouteTable): Promise<Culprits> {
    const { render } = this.#parts;
    const routes = table.routes.map((route) => ({ key: objectKey(route), stem: frontendName(route) }));
    const named = findCulprits(refused.messages, desired.config, routes);
    if (named.size > 0 || !refused.rejected) return named;
    return bisectCulprit(table, (part) => this.#check(renderConfig(part, render)));
  }
}
