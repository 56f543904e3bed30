// Invariants:
// - The worker that runs is told of here: what servers it has, and whether haproxy.cfg on disk says so.
// - A step that fails in the worker ends in a reload, so that after every method the worker has what was asked for, or what it had before.
// - One method at a time, as in `RunningHaproxy`, which says what is applied.
import { messageOf } from '../../model/coded-error.ts';
import { byCodeUnit } from '../../model/names.ts';
import { CONFIG_FILE, filesOf, planMaps } from '../plan-change.ts';
import type { ReloadCause, Step } from '../plan-change.ts';
import { FIRST_MAP } from '../plan-servers.ts';
import { reloadDueMs, type ReloadPace } from '../reload-pace.ts';
import type { RenderedConfig } from '../render-config.ts';
import { fittingServers, withLive } from '../with-live.ts';
import type { CheckConfig } from './check-config.ts';
import { replaceMap } from './cli-socket.ts';
import { readLiveMaps, writeFiles } from './config-files.ts';
import type { HaproxyEvents } from './haproxy-status.ts';
import { LiveServers } from './live-servers.ts';
import type { Master, Outcome } from './master.ts';

export interface RunningWorkerParts {
  readonly master: Master;
  readonly runDir: string;
  readonly check: CheckConfig;
  readonly events: HaproxyEvents;
  readonly pace: ReloadPace;
  /** Another worker serves than before. */
  readonly onWorker: () => void;
  /** Carries what a worker knows to the next one: `save` before it goes, `restore` when the new one serves. */
  readonly carry: { save(): Promise<void>; restore(): Promise<void> };
}

const RELOAD_TIMEOUT_MS = 30_000;

/** The worker of a run dir: changed by commands, or replaced by a reload. */
export class RunningWorker {
  readonly #parts: RunningWorkerParts;
  readonly #servers: LiveServers;
  /** What of the disk is behind the worker: haproxy.cfg, for servers changed, or one does not know what. */
  #unstored: 'servers' | 'all' | undefined;
  /** A command failed: what is applied, and what the servers are, may not be what the worker has. */
  #inDoubt = false;
  readonly #reloads: Record<ReloadCause, number> = { routes: 0, settings: 0, shared: 0, command: 0, unknown: 0 };
  /** When the last reload began. */
  #lastReloadMs: number | undefined;
  #repaired = 0;
  #lastReloadReason: string | undefined;

  constructor(parts: RunningWorkerParts) {
    this.#parts = parts;
    this.#servers = new LiveServers(parts.master.statsSocket);
  }

  get counts(): { readonly reloads: Readonly<Record<ReloadCause, number>>; readonly repaired: number; readonly lastReloadReason: string | undefined } {
    return { reloads: { ...this.#reloads }, repaired: this.#repaired, lastReloadReason: this.#lastReloadReason };
  }

  /** Meets a worker of somebody else, or of an agent before: asks it for its servers. @throws Error when it does not answer */
  async meet(): Promise<void> {
    await this.#servers.read();
    // That agent may have ended between a command and its write.
    this.#unstored = 'all';
  }

  /** A worker runs exactly what lies on disk. */
  loaded(desired: RenderedConfig): void {
    this.#servers.loaded(desired);
    this.#unstored = undefined;
    this.#inDoubt = false;
  }

  /**
   * What can be brought to the running worker of a configuration that it cannot be loaded with (yet): maps and servers of the routes that
   * it has. Whatever is with the rest, and with a backend whose commands are refused, pods come and go.
   * @returns what is applied then
   */
  async bringWhatLives(applied: RenderedConfig, desired: RenderedConfig): Promise<RenderedConfig> {
    const { master, runDir, events } = this.#parts;
    const doubt = (error: unknown): void => {
      this.#inDoubt = true;
      events.onFault(`changes could not be brought to the running HAProxy: ${messageOf(error)}`);
    };
    try {
      const maps = new Map<string, string>();
      for (const { file, content } of planMaps(applied, desired)) {
        await replaceMap(master.statsSocket, file, content);
        maps.set(file, content);
      }
      await writeFiles(runDir, maps);
      const servers = this.#servers.differing(fittingServers(applied, desired));
      if (maps.size === 0 && servers.length === 0) return applied;
      if (servers.length > 0) this.#unstored ??= 'servers';
      const refused = await this.#servers.bringMost(servers);
      for (const error of [...refused.values()].slice(0, 1)) doubt(error);
      return withLive(applied, desired, maps, refused);
    } catch (error) {
      doubt(error);
      return applied;
    }
  }

  /** After a command that failed: asks the worker what it has. @returns what is applied then. @throws Error when it does not answer */
  async settle(applied: RenderedConfig): Promise<RenderedConfig> {
    if (!this.#inDoubt) return applied;
    const files = await readLiveMaps(this.#parts.master.statsSocket, applied.files);
    await this.#servers.read();
    this.#inDoubt = false;
    this.#unstored = 'all';
    return { ...applied, files };
  }

  /** When a reload may start (performance.now), or is to be asked after again. */
  reloadDueMs(oldWorkers: number): number {
    return reloadDueMs(this.#lastReloadMs, performance.now(), this.#parts.pace, oldWorkers);
  }

  /** Brings the worker from `before` to `desired` by the steps of their plan. */
  async execute(steps: readonly Step[], before: RenderedConfig | undefined, desired: RenderedConfig): Promise<Outcome> {
    const { master, runDir } = this.#parts;
    for (const step of steps) {
      switch (step.kind) {
        case 'replace-map':
          try {
            await twice(() => replaceMap(master.statsSocket, step.file, step.content));
            await writeFiles(runDir, new Map([[step.file, step.content]]));
          } catch (error) {
            return this.#loadInstead(desired, before, step.file, error);
          }
          break;
        case 'write-files':
          await writeFiles(runDir, this.#unstored === undefined ? step.write : filesOf(desired), []);
          break;
        case 'servers':
          // All at once, below, and in any case.
          break;
        case 'reload': {
          const outcome = await this.#reload(desired, before, step);
          if (!outcome.ok) return outcome;
          for (const other of steps) if (other.kind === 'write-files') await writeFiles(runDir, new Map(), other.remove);
          return { ok: true };
        }
      }
    }
    // By what the worker has: the file that it was taken over with may be older.
    const differing = this.#servers.differing(desired.servers);
    if (differing.length === 0) return { ok: true };
    this.#unstored ??= 'servers';
    try {
      await this.#bringServers(differing, desired);
      return { ok: true };
    } catch (error) {
      return this.#loadInstead(desired, before, 'servers', error);
    }
  }

  /** A connection may break in between: then by what the worker says it has. */
  async #bringServers(differing: ReturnType<LiveServers['differing']>, desired: RenderedConfig): Promise<void> {
    try {
      await this.#servers.bring(differing);
    } catch {
      await this.#servers.read();
      await this.#servers.bring(this.#servers.differing(desired.servers));
    }
  }

  /** A command failed, and some before it may have changed something: a worker that is loaded with all of it is right. */
  async #loadInstead(desired: RenderedConfig, before: RenderedConfig | undefined, what: string, error: unknown): Promise<Outcome> {
    const { check, events, runDir } = this.#parts;
    this.#inDoubt = true;
    events.onFault(`${what} could not be changed at run time (${messageOf(error)}); reloading`);
    const rejection = await check(desired);
    if (rejection !== undefined) return { ok: false, messages: rejection };
    await writeFiles(runDir, filesOf(desired));
    return this.#reload(desired, before, { reason: `${what} could not be changed at run time`, cause: 'command' });
  }

  async #reload(desired: RenderedConfig, before: RenderedConfig | undefined, { reason, cause }: { readonly reason: string; readonly cause: ReloadCause }): Promise<Outcome> {
    const { master, runDir } = this.#parts;
    await this.#parts.carry.save();
    this.#lastReloadMs = performance.now();
    const outcome = await master.reload(desired.digest, RELOAD_TIMEOUT_MS);
    if (outcome.ok) {
      this.loaded(desired);
      this.#reloads[cause]++;
      this.#lastReloadReason = reason;
      this.#parts.onWorker();
      await this.restoreState();
    } else if (before !== undefined && before.config !== '') {
      await writeFiles(runDir, filesOf(before), [...desired.files.keys()].filter((file) => !before.files.has(file)));
      this.#parts.events.onFault(`a reload failed (${reason}); the configuration before it goes on`);
    }
    return outcome;
  }

  /** What cannot be restored is lost, and no reason to refuse the worker. */
  async restoreState(): Promise<void> {
    try {
      await this.#parts.carry.restore();
    } catch (error) {
      this.#parts.events.onFault(`breakers begin anew: ${messageOf(error)}`);
    }
  }

  /** What is left to be done when there is time: haproxy.cfg to be written, or only servers to be deleted; undefined: nothing. */
  get untidy(): 'file' | 'servers' | undefined {
    if (this.#unstored !== undefined) return 'file';
    return this.#servers.leaving > 0 ? 'servers' : undefined;
  }

  /** Does it. @throws Error when the disk is full or HAProxy does not answer */
  async tidy(applied: RenderedConfig): Promise<void> {
    const { runDir } = this.#parts;
    if (this.#unstored === 'all') await writeFiles(runDir, filesOf(applied));
    else if (this.#unstored === 'servers') await writeFiles(runDir, new Map([[FIRST_MAP, applied.files.get(FIRST_MAP) ?? ''], [CONFIG_FILE, applied.config]]));
    this.#unstored = undefined;
    if (this.#servers.leaving > 0) await this.#servers.sweep(applied.servers);
  }

  /** Backends have their pins by now; what is left are lines that nobody of ours wrote. True when there were any. */
  async #mendPins(wanted: string): Promise<boolean> {
    const { statsSocket } = this.#parts.master;
    const sorted = (map: string): string => map.split('\n').toSorted(byCodeUnit).join('\n');
    const live = (await readLiveMaps(statsSocket, new Map([[FIRST_MAP, wanted]]))).get(FIRST_MAP);
    if (live === undefined || sorted(live) === sorted(wanted)) return false;
    await replaceMap(statsSocket, FIRST_MAP, wanted);
    await this.#servers.read();
    return true;
  }

  /**
   * Compares what the worker has with what is applied, and mends what differs: somebody else's command, one of ours that was lost. No backend
   * waits for one whose commands are refused; that is told, and looked at again the next time.
   * @returns what was mended, one word each. @throws Error when HAProxy does not answer, or refuses a map
   */
  async repair(applied: RenderedConfig): Promise<readonly string[]> {
    const { master, events } = this.#parts;
    const live = await readLiveMaps(master.statsSocket, applied.files);
    const maps = [...applied.files].filter(([file, content]) => file !== FIRST_MAP && live.has(file) && live.get(file) !== content);
    for (const [file, content] of maps) await replaceMap(master.statsSocket, file, content);
    await this.#servers.read();
    const servers = this.#servers.differing(applied.servers);
    const refused = await this.#servers.bringMost(servers);
    for (const [backend, error] of [...refused].slice(0, 1)) events.onFault(`${backend}${refused.size > 1 ? ` and ${refused.size - 1} more` : ''} could not be mended: ${messageOf(error)}`);
    // A pin names a server: not while some could not be added.
    const pins = refused.size === 0 && (await this.#mendPins(applied.files.get(FIRST_MAP) ?? ''));
    const mended = [...maps.map(([file]) => file), ...servers.flatMap(([backend]) => (refused.has(backend) ? [] : backend)), ...(pins && servers.length === 0 ? [FIRST_MAP] : [])];
    this.#repaired += mended.length;
    return mended;
  }
}

/** The first time the connection may have broken. */
const twice = (task: () => Promise<void>): Promise<void> => task().catch(task);
