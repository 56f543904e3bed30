import { readFile, readdir } from 'node:fs/promises';

const CLOCK_TICKS_PER_SECOND = 100;

/** User and system time of a process with all its threads, in seconds (proc(5), /proc/PID/stat fields 14 and 15). */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

/** Memory of a process in MB (of 1,048,576 bytes). */
export interface MemoryUse {
  /** Everything that is mapped and present: what the kernel's and Kubernetes' tools call RSS. */
  readonly rss: number;
  /** Of it the process's own; the rest is pages of programs and libraries, shared by all processes that run them. */
  readonly own: number;
  /** The highest RSS since the start. */
  readonly peak: number;
}

export async function memoryUse(pid: number): Promise<MemoryUse> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const read = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? Number.NaN) / 1024;
  return { rss: read('VmRSS'), own: read('RssAnon'), peak: read('VmHWM') };
}

/** Processes of a program with this text in their command line. */
export async function findProcesses(program: string, text: string): Promise<readonly number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 1);
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return pids.filter((_, i) => {
    const line = lines[i] ?? '';
    return line.includes(text) && (line.split('\0', 1)[0] ?? '').endsWith(program);
  });
}
