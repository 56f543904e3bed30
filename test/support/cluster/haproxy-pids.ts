import { readdir, readFile } from 'node:fs/promises';

export interface HaproxyPids {
  readonly master: number;
  readonly worker: number;
  /** The first process of the container, the launcher: with it all others in there end. */
  readonly container: number;
}

/**
 * The machine's pids of the HAProxy of an agent's pod, found by its run dir. With old workers that drain, the newest counts.
 * @throws Error when it does not run whole
 */
export async function readHaproxyPids(podUid: string): Promise<HaproxyPids> {
  const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const isOurs = await Promise.all(all.map(async (pid) => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(`/${podUid}/master.sock,`)));
  const pids = all.filter((_, i) => isOurs[i]).map(Number);
  const parents = new Map(await Promise.all(pids.map(async (pid) => [pid, await parentOf(pid)] as const)));
  const master = pids.find((pid) => !pids.includes(parents.get(pid) ?? 0));
  const worker = pids.filter((pid) => master !== undefined && parents.get(pid) === master).sort((a, b) => b - a)[0];
  const container = master === undefined ? 0 : (parents.get(master) ?? 0);
  if (master === undefined || worker === undefined || container <= 1) throw new Error(`the HAProxy of pod ${podUid} does not run: ${pids.join(' ')}`);
  return { master, worker, container };
}

async function parentOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return Number(/\) \S (\d+) /.exec(stat)?.[1] ?? 0);
}
