import { readdir, readFile } from 'node:fs/promises';

/**
 * Argv of a program in a running container, entered from the machine: its namespaces, files and environment, as root. Takes some ms, where
 * containerd's client takes a fifth of a second of the machine and now and then loses the output of a program that ends at once. The program
 * ends with the container; it does not count in its cgroup.
 */
export async function insideContainer(containerId: string, argv: readonly string[]): Promise<readonly string[]> {
  const pid = await firstProcess(containerId);
  const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').filter((variable) => variable.includes('='));
  return ['nsenter', `--target=${pid}`, '--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup', '--', 'env', '-i', ...environment, ...argv];
}

const known = new Map<string, number>();

/** The machine's pid of the container's process 1. */
async function firstProcess(containerId: string): Promise<number> {
  const before = known.get(containerId);
  if (before !== undefined && (await isFirstProcess(before, containerId))) return before;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(pids.map((pid) => isFirstProcess(pid, containerId)));
  const pid = pids.find((_, i) => found[i]);
  if (pid === undefined) throw new Error(`container ${containerId} does not run`);
  known.set(containerId, pid);
  return pid;
}

/** Its cgroup is named after the container (cgroups(7)); NSpid has the pid in each PID namespace, the innermost last (proc_pid_status(5)). */
async function isFirstProcess(pid: number, containerId: string): Promise<boolean> {
  const read = (file: string): Promise<string> => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
  return (await read('cgroup')).includes(containerId) && /^NSpid:.*\t1$/m.test(await read('status'));
}
