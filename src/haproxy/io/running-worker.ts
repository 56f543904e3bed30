// Invariants:
// - The worker that runs is told of here: what servers it has, and whether haproxy.cfg on disk says so.
// - A step that fails in the worker ends in a reload, so that after every method the worker has what was asked for, or what it had before.
// - One method at a time, as in `RunningHaproxy`, which says what is applied.
import { messageOf } from '../../model/coded-error.ts';
import { CONFIG_FILE, filesOf, planChange } from '../plan-change.ts';
import type { Step } from '../plan-change.ts';
import { FIRST_MAP } from '../plan-servers.ts';
import type { RenderedConfig } from '../render-config.ts';
import { replaceMap } from './cli-socket.ts';
import { readLiveMaps, writeFiles } from './config-files.ts';
import type { HaproxyEvents } from './haproxy-status.ts';
import { LiveServers } from './live-servers.ts';
import type { Master, Outcome } from './master.ts';

export interface RunningWorkerParts {
  readonly master: Master;
  readonly runDir: string;
  readonly events: HaproxyEvents;
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
  /** Servers changed since haproxy.cfg was written. */
  #unstored = false;
  #reloads = 0;
  #repaired = 0;
  #lastReloadReason: string | undefined;

  constructor(parts: RunningWorkerParts) {
    this.#parts = parts;
    this.#servers = new LiveServers(parts.master.statsSocket);
  }

  get counts(): { readonly reloads: number; readonly repaired: number; readonly lastReloadReason: string | undefined } {
    return { reloads: this.#reloads, repaired: this.#repaired, lastReloadReason: this.#lastReloadReason };
  }

  /** Asks the worker for its servers. @throws Error when it does not answer */
  readServers(): Promise<void> {
    return this.#servers.read();
  }

  /** A worker runs exactly what lies on disk. */
  loaded(desired: RenderedConfig): void {
    this.#servers.loaded(desired);
    this.#unstored = false;
  }

  /**
   * What can be brought to the running worker of a configuration that it cannot be loaded with: identities, ACLs and servers of the
   * routes that it has. Whatever is wrong with the rest, pods come and go.
   * @returns what is applied then
   */
  async bringWhatLives(applied: RenderedConfig, desired: RenderedConfig): Promise<RenderedConfig> {
    const { master, runDir, events } = this.#parts;
    try {
      const maps = new Map<string, string>();
      for (const step of planChange(applied, desired)) {
        if (step.kind !== 'replace-map') continue;
        await replaceMap(master.statsSocket, step.file, step.content);
        maps.set(step.file, step.content);
      }
      await writeFiles(runDir, maps);
      const servers = new Map([...desired.servers].filter(([backend]) => applied.servers.has(backend)));
      await this.#servers.bring(this.#servers.differing(servers));
      return { ...applied, files: new Map([...applied.files, ...maps]), servers: new Map([...applied.servers, ...servers]) };
    } catch (error) {
      events.onFault(`changes could not be brought to the running HAProxy: ${messageOf(error)}`);
      return applied;
    }
  }

  /** Brings the worker from `before` to `desired` by the steps of their plan. */
  async execute(steps: readonly Step[], before: RenderedConfig | undefined, desired: RenderedConfig): Promise<Outcome> {
    const { master, runDir } = this.#parts;
    for (const step of steps) {
      switch (step.kind) {
        case 'replace-map':
          try {
            await replaceMap(master.statsSocket, step.file, step.content);
            await writeFiles(runDir, new Map([[step.file, step.content]]));
          } catch (error) {
            this.#parts.events.onFault(`${step.file} was not changed at run time (${messageOf(error)}); reloading`);
            await writeFiles(runDir, filesOf(desired));
            return this.#reload(desired, before, `${step.file} could not be changed at run time`);
          }
          break;
        case 'write-files':
          await writeFiles(runDir, this.#unstored ? filesOf(desired) : step.write, []);
          break;
        case 'servers':
          // All at once, below, and in any case.
          break;
        case 'reload': {
          const outcome = await this.#reload(desired, before, step.reason);
          if (!outcome.ok) return outcome;
          for (const other of steps) if (other.kind === 'write-files') await writeFiles(runDir, new Map(), other.remove);
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
      await writeFiles(runDir, filesOf(desired));
      return this.#reload(desired, before, 'servers could not be changed at run time');
    }
  }

  async #reload(desired: RenderedConfig, before: RenderedConfig | undefined, reason: string): Promise<Outcome> {
    const { master, runDir } = this.#parts;
    await this.#parts.carry.save();
    const outcome = await master.reload(desired.digest, RELOAD_TIMEOUT_MS);
    if (outcome.ok) {
      this.loaded(desired);
      this.#reloads++;
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
    if (this.#unstored) return 'file';
    return this.#servers.leaving > 0 ? 'servers' : undefined;
  }

  /** Does it. @throws Error when the disk is full or HAProxy does not answer */
  async tidy(applied: RenderedConfig): Promise<void> {
    if (this.#unstored) await writeFiles(this.#parts.runDir, new Map([[FIRST_MAP, applied.files.get(FIRST_MAP) ?? ''], [CONFIG_FILE, applied.config]]));
    this.#unstored = false;
    if (this.#servers.leaving > 0) await this.#servers.sweep();
  }

  /**
   * Compares what the worker has with what is applied, and mends what differs: somebody else's command, one of ours that was lost.
   * @returns what was mended, one word each. @throws Error when HAProxy does not answer or refuses
   */
  async repair(applied: RenderedConfig): Promise<readonly string[]> {
    const { master } = this.#parts;
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
}
