import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { eventually } from '../lab/run.ts';
import type { LabPaths } from './lab-paths.ts';

/** `{ 'secure-port': 0 }` is `--secure-port=0`. */
export type Flags = Readonly<Record<string, string | number | boolean>>;

export const renderFlags = (flags: Flags): readonly string[] => Object.entries(flags).map(([name, value]) => `--${name}=${String(value)}`);

/**
 * The lab's long-running programs. They outlive the process that starts them: `up` starts them, a later `down` ends them.
 *
 * A process belongs to a lab when it is one of the lab's kinds of programs and its command line names a path inside the lab's
 * folder. Every daemon is started so. A pid from a file is used only when that holds: the number may be somebody else's by now.
 * nsenter: what a daemon is for its first moment, and what waits for those inside a node.
 */
const PROGRAMS = new Set(['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'nsenter', 'unshare', 'onehop-lab-node']);
const STOP_LIMIT_MS = 5_000;

export const logFile = (lab: LabPaths, name: string): string => join(lab.folder, 'logs', `${name}.log`);
const pidFile = (lab: LabPaths, name: string): string => join(lab.folder, `${name}.pid`);

/** Kubernetes' own programs, written in Go, collect garbage at five times their live heap instead of twice: memory for processor time. */
export const daemonEnv = (): NodeJS.ProcessEnv => ({ ...process.env, GOGC: '400' });

/** @param name unique in the lab: names log and pid file */
export async function startDaemon(lab: LabPaths, name: string, [program = '', ...args]: readonly string[]): Promise<number> {
  await mkdir(join(lab.folder, 'logs'), { recursive: true });
  const log = openSync(logFile(lab, name), 'a');
  const child = spawn(program, args, { stdio: ['ignore', log, log], detached: true, cwd: lab.folder, env: daemonEnv() });
  closeSync(log);
  const failed = new Promise<never>((_resolve, reject) => void child.once('error', reject));
  const spawned = new Promise<number>((resolve) => void child.once('spawn', () => resolve(child.pid ?? 0)));
  const pid = await Promise.race([spawned, failed]);
  child.unref();
  await writeFile(pidFile(lab, name), String(pid));
  return pid;
}

/** Asks a daemon to end, kills it after 5 s; done when it is gone. No such daemon: nothing to do. */
export async function stopDaemon(lab: LabPaths, name: string): Promise<void> {
  const pid = await daemonPid(lab, name);
  if (pid !== undefined) await endProcesses(lab, [pid], ['SIGTERM', 'SIGKILL']);
  await rm(pidFile(lab, name), { force: true });
}

export async function daemonPid(lab: LabPaths, name: string): Promise<number | undefined> {
  const pid = Number(await readFile(pidFile(lab, name), 'utf8').catch(() => '0'));
  return pid > 0 && (await isOfLab(lab, pid)) ? pid : undefined;
}

/** Names of the daemons that were started and are not running. */
export async function deadDaemons(lab: LabPaths): Promise<readonly string[]> {
  const names = (await readdir(lab.folder).catch(() => [])).filter((file) => file.endsWith('.pid')).map((file) => file.slice(0, -'.pid'.length));
  const pids = await Promise.all(names.map((name) => daemonPid(lab, name)));
  return names.filter((_, i) => pids[i] === undefined);
}

/** All living processes of the lab, also those whose pid file is lost. */
export async function labProcesses(lab: LabPaths): Promise<readonly number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 1);
  const own = await Promise.all(pids.map((pid) => isOfLab(lab, pid)));
  return pids.filter((_, i) => own[i]);
}

/** Sends the first signal, and the next one to what is still there after 5 s; done when all are gone. */
export async function endProcesses(lab: LabPaths, pids: readonly number[], signals: readonly NodeJS.Signals[]): Promise<void> {
  const allGone = async (): Promise<boolean> => !(await Promise.all(pids.map((pid) => isOfLab(lab, pid)))).includes(true);
  for (const signal of signals) {
    for (const pid of pids) if (await isOfLab(lab, pid)) sendSignal(pid, signal);
    if (await eventually('end of processes', allGone, STOP_LIMIT_MS).catch(() => false)) return;
  }
  throw new Error(`processes ${pids.join(', ')} of lab ${lab.name} survive ${signals.join(' and ')}`);
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A zombie has an empty command line: ended, only not yet collected by its parent. */
async function isOfLab(lab: LabPaths, pid: number): Promise<boolean> {
  const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
  const isInside = (arg: string): boolean => `${arg}/`.includes(`${lab.folder}/`);
  return PROGRAMS.has(basename(argv[0] ?? '')) && argv.some(isInside);
}
