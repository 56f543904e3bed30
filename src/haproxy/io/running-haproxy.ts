// Invariants:
// - `#applied` is what the running worker has, and what lies on disk whenever no method runs: a restart, by us or by
//   anybody else's supervisor, brings back exactly that.
// - A candidate reaches the run dir only after `haproxy -c` accepted it; one that fails to start is taken back.
// - One method at a time: `HaproxyProxy` orders the calls.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Route } from '../../model/route-table.ts';
import { lastAlert } from '../describe-refusal.ts';
import { isSameWorker, parseListeners, type Processes, type Worker } from '../parse-answers.ts';
import { messageOf } from '../../model/coded-error.ts';
import { CONFIG_FILE, describeStep, filesOf, planChange } from '../plan-change.ts';
import type { Step } from '../plan-change.ts';
import { FIRST_MAP } from '../plan-servers.ts';
import type { RenderedConfig } from '../render-config.ts';
import type { RenderOptions } from '../render-options.ts';
import { STATS_SOCKET } from '../render-global.ts';
import type { CheckConfig } from './check-config.ts';
import { replaceMap } from './cli-socket.ts';
import { readFiles, readLiveMaps, writeFiles } from './config-files.ts';
import type { HaproxyEvents, HaproxyStatus } from './haproxy-status.ts';
import { LiveServers } from './live-servers.ts';
import type { Master, Outcome } from './master.ts';

export interface RunningHaproxyParts {
  readonly master: Master;
  readonly attach: boolean;
  readonly render: RenderOptions;
  readonly check: CheckConfig;
  readonly events: HaproxyEvents;
  /** Another worker serves than before. */
  readonly onWorker: () => void;
  /** Carries what a worker knows to the next one: `save` before it goes, `restore` when the new one serves. */
  readonly carry: { save(): Promise<void>; restore(): Promise<void> };
  /** Attached: what is seen to be wrong now. */
  readonly trouble?: () => string | undefined;
}

const START_TIMEOUT_MS = 20_000;
const RELOAD_TIMEOUT_MS = 30_000;
/** A master re-executes itself within this time, however large the configuration and busy the machine. */
const REEXEC_MS = 10_000;
/** The files wait on disk for an attached HAProxy that is not there yet; the next apply looks again. */
const ATTACH_TIMEOUT_MS = 5000;
/** A master that is not seen so often in a row (50 ms apart) has ended. */
const MISSED_IS_GONE = 4;
const MAX_BACKOFF_MS = 10_000;
/** A run this long proves the configuration good: the next restart is immediate again. */
const STEADY_MS = 2_000;
const MAX_OLD_WORKERS = 8;

/** `rejected`: by `haproxy -c`; else it passed and did not start. */
export type Refused = { readonly ok: false; readonly rejected: boolean; readonly messages: string };
export type Applied = { readonly ok: true } | Refused;

/** Stands for whatever a worker runs that is not what lies on disk: only a reload leads out of it. */
const UNKNOWN: RenderedConfig = { config: '', digest: '', files: new Map(), servers: new Map() };

/** The HAProxy of a run dir, spawned, adopted or attached: what it runs, and how it is brought to something else. */
export class RunningHaproxy {
  readonly #parts: RunningHaproxyParts;
  #applied: RenderedConfig | undefined;
  #processes: Processes | undefined;
  readonly #servers: LiveServers;
  /** What a configuration of this digest binds: megabytes are read once. */
  #binds: { readonly digest: string; readonly keys: ReadonlySet<string> } | undefined;
  /** Servers changed since haproxy.cfg was written. */
  #unstored = false;
  /** Attached: the worker that `#applied` speaks of. */
  #worker: Worker | undefined;
  /** A candidate that passed the check and did not start beside a running worker: unchanged it is not tried again. */
  #failed: { readonly digest: string; readonly refused: Refused } | undefined;
  #startedAtMs = 0;
  #backoffMs = 0;
  #restarts = 0;
  #reloads = 0;
  #configRejected = 0;
  #repaired = 0;
  #lastReloadReason: string | undefined;

  constructor(parts: RunningHaproxyParts) {
    this.#parts = parts;
    this.#servers = new LiveServers(parts.master.statsSocket);
  }

  get applied(): RenderedConfig | undefined {
    return this.#applied;
  }

  get processes(): Processes | undefined {
    return this.#processes;
  }

  listeners(): ReadonlySet<string> {
    if (this.#processes === undefined || this.#applied === undefined) return new Set();
    if (this.#binds?.digest !== this.#applied.digest) this.#binds = { digest: this.#applied.digest, keys: parseListeners(this.#applied.config) };
    return this.#binds.keys;
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
      repaired: this.#repaired,
    };
  }

  /** Both processes live, as far as one look tells. */
  isAlive(): boolean {
    const { master: pid, worker } = this.#processes ?? {};
    const { master } = this.#parts;
    return pid !== undefined && master.isOurs(pid) && worker !== undefined && master.isOurs(worker);
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
    if (same) await this.#servers.read();
    this.#worker = worker;
    this.#startedAtMs = Date.now();
    this.#parts.onWorker();
  }

  /** Checks and executes one candidate. Not ok: nothing changed, what served before serves on. */
  async bringTo(desired: RenderedConfig, routes: readonly Route[]): Promise<Applied> {
    const { master, attach } = this.#parts;
    const running = (await this.refresh()) && (!attach || (await this.#recognize()));
    const applied = running ? this.#applied : undefined;
    const steps = applied === undefined ? undefined : planChange(applied, desired);
    const { digest } = desired;
    if (running && this.#failed !== undefined && this.#failed.digest === digest) return this.#failed.refused;
    if (steps === undefined || steps.some((step) => step.kind === 'reload')) {
      const rejection = await this.#parts.check(desired);
      if (rejection !== undefined) {
        this.#configRejected++;
        return { ok: false, rejected: true, messages: rejection };
      }
    }
    const outcome = steps === undefined ? await this.#start(desired) : await this.#execute(steps, desired);
    if (outcome.ok) this.#applied = desired;
    if (outcome.ok && attach && steps?.length !== 0) this.#worker = await master.worker();
    await this.refresh();
    if (outcome.ok && steps?.length !== 0) this.#parts.events.onChange(`${routes.length} routes: ${steps === undefined ? 'started' : steps.map(describeStep).join('; ')}`);
    this.#failed = undefined;
    if (outcome.ok) return outcome;
    const refused = { ...outcome, rejected: false };
    // Each attempt to reload may stop the listeners for seconds. While nothing runs there is nothing to lose.
    if (running) this.#failed = { digest, refused };
    return refused;
  }

  /**
   * What can be brought to the running worker of a configuration that it cannot be loaded with: identities, ACLs and servers of the
   * routes that it has. Whatever is wrong with the rest, pods come and go.
   */
  async bringWhatLives(desired: RenderedConfig): Promise<void> {
    const { master, render, events } = this.#parts;
    const applied = this.#applied;
    if (applied === undefined || applied.digest === '' || applied.digest === desired.digest) return;
    try {
      const maps = new Map<string, string>();
      for (const step of planChange(applied, desired)) {
        if (step.kind !== 'replace-map') continue;
        await replaceMap(master.statsSocket, step.file, step.content);
        maps.set(step.file, step.content);
      }
      await writeFiles(render.runDir, maps);
      const servers = new Map([...desired.servers].filter(([backend]) => applied.servers.has(backend)));
      await this.#servers.bring(this.#servers.differing(servers));
      this.#applied = { ...applied, files: new Map([...applied.files, ...maps]), servers: new Map([...applied.servers, ...servers]) };
    } catch (error) {
      events.onFault(`changes could not be brought to the running HAProxy: ${messageOf(error)}`);
    }
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
          await writeFiles(render.runDir, this.#unstored ? filesOf(desired) : step.write, []);
          break;
        case 'servers':
          // All at once, below, and in any case.
          break;
        case 'reload': {
          const outcome = await this.#reload(desired, before, step.reason);
          if (!outcome.ok) return outcome;
          for (const other of steps) if (other.kind === 'write-files') await writeFiles(render.runDir, new Map(), other.remove);
          return { ok: true };
        }
      }
    }
    // By what the worker has: the file that it was taken over with may be older.
    const servers = this.#servers.differing(desired.servers);
    if (servers.length === 0) return { ok: true };
    try {
      await this.#servers.bring(servers);
      this.#unstored = true;
      return { ok: true };
    } catch (error) {
      this.#parts.events.onFault(`servers were not changed at run time (${messageOf(error)}); reloading`);
      await this.#servers.read().catch(() => undefined);
      await writeFiles(render.runDir, filesOf(desired));
      return this.#reload(desired, before, 'servers could not be changed at run time');
    }
  }

  async #reload(desired: RenderedConfig, before: RenderedConfig | undefined, reason: string): Promise<Outcome> {
    const { master, render } = this.#parts;
    await this.#parts.carry.save();
    const outcome = await master.reload(desired.digest, RELOAD_TIMEOUT_MS);
    if (outcome.ok) {
      this.#loaded(desired);
      this.#reloads++;
      this.#lastReloadReason = reason;
      this.#parts.onWorker();
      await this.#restoreState();
    } else if (before !== undefined && before.config !== '') {
      await writeFiles(render.runDir, filesOf(before), [...desired.files.keys()].filter((file) => !before.files.has(file)));
      this.#parts.events.onFault(`a reload failed (${reason}); the configuration before it goes on`);
    }
    return outcome;
  }

  /** What cannot be restored is lost, and no reason to refuse the worker. */
  async #restoreState(): Promise<void> {
    try {
      await this.#parts.carry.restore();
    } catch (error) {
      this.#parts.events.onFault(`breakers begin anew: ${messageOf(error)}`);
    }
  }

  /** A worker runs exactly what lies on disk. */
  #loaded(desired: RenderedConfig): void {
    this.#servers.loaded(desired);
    this.#unstored = false;
  }

  /** What is left to be done when there is time: haproxy.cfg to be written, or only servers to be deleted; undefined: nothing. */
  get untidy(): 'file' | 'servers' | undefined {
    if (this.#unstored) return 'file';
    return this.#servers.leaving > 0 ? 'servers' : undefined;
  }

  /** Does it. @throws Error when the disk is full or HAProxy does not answer */
  async tidy(): Promise<void> {
    const { render } = this.#parts;
    if (this.#applied === undefined || this.#applied.config === '') return;
    if (this.#unstored) await writeFiles(render.runDir, new Map([[FIRST_MAP, this.#applied.files.get(FIRST_MAP) ?? ''], [CONFIG_FILE, this.#applied.config]]));
    this.#unstored = false;
    if (this.#servers.leaving > 0) await this.#servers.sweep();
  }

  /**
   * Compares what the worker has with what is applied, and mends what differs: somebody else's command, one of ours that was lost.
   * @returns what was mended, one word each. @throws Error when HAProxy does not answer or refuses
   */
  async repair(): Promise<readonly string[]> {
    const { master, attach } = this.#parts;
    const applied = this.#applied;
    const worker = applied === undefined || applied.digest === '' ? undefined : await master.worker();
    // Another worker than ours is brought in step by the next apply.
    if (applied === undefined || worker?.digest !== applied.digest || (attach && !isSameWorker(this.#worker, worker))) return [];
    const live = await readLiveMaps(master.statsSocket, applied.files);
    const maps = [...applied.files].filter(([file, content]) => file !== FIRST_MAP && live.has(file) && live.get(file) !== content);
    for (const [file, content] of maps) await replaceMap(master.statsSocket, file, content);
    await this.#servers.read();
    const servers = this.#servers.differing(applied.servers);
    await this.#servers.bring(servers);
    const mended = [...maps.map(([file]) => file), ...servers.map(([backend]) => backend)];
    this.#repaired += mended.length;
    return mended;
  }

  /** Nothing runs: writes all files and spawns, or, attached, waits for the other supervisor to start it. */
  async #start(desired: RenderedConfig): Promise<Outcome> {
    const { master, render, attach } = this.#parts;
    const onDisk = await readFiles(render.runDir);
    const stale = [...(onDisk?.files.keys() ?? [])].filter((file) => !desired.files.has(file));
    await writeFiles(render.runDir, filesOf(desired), stale);
    const outcome = attach ? await this.#meetAttached(desired) : await master.start(desired.digest, START_TIMEOUT_MS);
    if (outcome.ok) {
      this.#startedAtMs = Date.now();
      if (!attach) this.#loaded(desired);
      this.#parts.onWorker();
      await this.#restoreState();
    } else if (!attach && this.#applied !== undefined && this.#applied.config !== '') await writeFiles(render.runDir, filesOf(this.#applied));
    return outcome;
  }

  /** The files lie on disk: waits for the HAProxy of the other supervisor, and brings it in step if it was loaded with something else. */
  async #meetAttached(desired: RenderedConfig): Promise<Outcome> {
    const { master, render } = this.#parts;
    for (const deadline = Date.now() + ATTACH_TIMEOUT_MS; Date.now() < deadline; await sleep(100)) {
      const worker = await master.worker();
      if (worker === undefined) continue;
      await this.#restoreState();
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
      await this.#restoreState();
    }
    await this.#takeOver(worker);
    return true;
  }

  /** Reads the processes; ends the oldest workers above the limit. True when a master with a worker runs. */
  async refresh(): Promise<boolean> {
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
    if (this.#parts.trouble !== undefined) return this.#parts.trouble() === undefined;
    return this.#processes !== undefined && this.#parts.master.isOurs(this.#processes.master);
  }

  /** Starts the last good configuration again after HAProxy ended. */
  async restart(): Promise<void> {
    const { master, events } = this.#parts;
    if (this.#applied === undefined || this.#applied.config === '') return;
    if (Date.now() - this.#startedAtMs > STEADY_MS) this.#backoffMs = 0;
    if (this.#backoffMs > 0) await sleep(this.#backoffMs, undefined, { ref: false });
    const before = this.#processes;
    // What is left of it would hold the ports' share of the traffic: SO_REUSEPORT.
    if (before !== undefined) for (const pid of [before.master, before.worker]) if (pid !== undefined) master.end(pid);
    this.#processes = undefined;
    this.#restarts++;
    this.#backoffMs = Math.min(MAX_BACKOFF_MS, Math.max(200, this.#backoffMs * 2));
    const outcome = await this.#start(this.#applied);
    await this.refresh();
    if (outcome.ok) events.onFault('HAProxy had ended and was started again');
    else events.onFault(`HAProxy ended and does not start: ${lastAlert(outcome.messages)}`);
  }
}
