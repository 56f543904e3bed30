// Invariants:
// - Only folders named like a Kubernetes UID, directly beside the own one, are generations; nothing else is ever touched.
// - A folder is removed only when no socket in it is listened on and nothing in it changed for a long time.
// - `current` always is a whole symlink: it is renamed into place.
import { readdir, readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isListenedOn } from './is-listened-on.ts';

/** Longer than a container waits in CrashLoopBackOff (5 min): a pod that will start again keeps its folder. */
const FORGOTTEN_AFTER_MS = 10 * 60_000;
const UID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const CURRENT = 'current';
/** In each run folder. */
export const ADMIN_SOCKET = 'admin.sock';

/** The run folders of one pod's generations on this node: `<parent>/<pod uid>` each, and `<parent>/current` for the CLI. */
export interface Generations {
  /** The other generations' folders, living or not. */
  siblings(): Promise<readonly string[]>;
  /** Lets `current` name this generation: it is ready. */
  takeCurrent(): Promise<void>;
  /** Takes `current` when the agent that it names is gone, and removes what dead generations left; gives the removed folders. */
  tidy(nowMs: number): Promise<readonly string[]>;
}

/** Undefined when the run folder is not named by a pod's UID: then there are no generations. */
export function openGenerations(runDir: string): Generations | undefined {
  const own = basename(runDir);
  const parent = dirname(runDir);
  if (!UID.test(own)) return undefined;

  const siblings = async (): Promise<readonly string[]> => {
    const entries = await readdir(parent, { withFileTypes: true }).catch(() => []);
    return entries.filter((entry) => entry.isDirectory() && entry.name !== own && UID.test(entry.name)).map(({ name }) => join(parent, name));
  };
  const takeCurrent = async (): Promise<void> => {
    if ((await readlink(join(parent, CURRENT)).catch(() => '')) === own) return;
    const candidate = join(parent, `.${CURRENT}-${own}`);
    await rm(candidate, { force: true });
    await symlink(own, candidate);
    await rename(candidate, join(parent, CURRENT));
  };
  return {
    siblings,
    takeCurrent,
    tidy: async (nowMs) => {
      if (!(await isListenedOn(join(parent, CURRENT, ADMIN_SOCKET)))) await takeCurrent();
      const removed: string[] = [];
      for (const dir of await siblings()) {
        if (!(await isForgotten(dir, nowMs))) continue;
        await rm(dir, { recursive: true, force: true });
        removed.push(dir);
      }
      return removed;
    },
  };
}

async function isForgotten(dir: string, nowMs: number): Promise<boolean> {
  const changed = await stat(dir).catch(() => undefined);
  if (changed === undefined || nowMs - changed.mtimeMs < FORGOTTEN_AFTER_MS) return false;
  const sockets = (await readdir(dir, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isSocket());
  for (const { name } of sockets) if (await isListenedOn(join(dir, name))) return false;
  return true;
}
