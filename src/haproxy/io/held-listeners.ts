import { lstat, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { parseListeners } from '../parse-answers.ts';
import { CONFIG_FILE } from '../plan-change.ts';
import { STATS_SOCKET } from '../render-global.ts';
import { OWNER_SOCKET } from './run-lock.ts';

/**
 * Listeners (`address:port`) that the proxies of these run dirs may hold: what their haproxy.cfg binds. Siblings count while
 * their HAProxy answers, or their agent, which may stand in for it; the own one always, also while it is slow to answer: whether the kernel shows the port under its uid decides.
 */
export async function readHeldListeners(own: string, siblings: readonly string[]): Promise<ReadonlySet<string>> {
  const held = new Set<string>();
  for (const dir of [own, ...siblings]) {
    if (dir !== own && !(await answers(join(dir, STATS_SOCKET))) && !(await answers(join(dir, OWNER_SOCKET)))) continue;
    const config = await readFile(join(dir, CONFIG_FILE), 'utf8').catch(() => '');
    for (const key of parseListeners(config)) held.add(key);
  }
  return held;
}

/** The uid of the HAProxy of a run dir, which owns its socket there; undefined before its first start. */
export async function readHaproxyUid(runDir: string): Promise<number | undefined> {
  return (await lstat(join(runDir, STATS_SOCKET)).catch(() => undefined))?.uid;
}

/** True when a process listens on a Unix socket: one that hangs counts. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
