/** Processes as the master's `show proc` lists them (management guide, 9.4). */
export interface Processes {
  readonly master: number;
  /** The one that serves. Undefined while a reload has no worker yet, and where the master's start failed. */
  readonly worker: number | undefined;
  /** Old workers that still drain, oldest (most reloads) first. */
  readonly old: readonly number[];
  /** Reloads that failed since the last good one. */
  readonly failed: number;
}

/**
 * Reads `show proc`; undefined when the answer names no master. From 3.1 on a reload makes an old worker of the one that serves before the
 * new one is ready, and leaves it there when the new one fails: then the one with the fewest reloads behind it is it.
 */
export function parseProcesses(answer: string): Processes | undefined {
  let section = 'current';
  let master: number | undefined;
  const workers: number[] = [];
  const old: { pid: number; reloads: number }[] = [];
  for (const line of answer.split('\n')) {
    if (line.startsWith('# ')) section = line.slice(2).trim();
    const [, pid, type, reloads] = /^(\d+)\s+(\S+)\s+(\d+)/.exec(line) ?? [];
    if (pid === undefined || type === undefined) continue;
    if (type === 'master') master = Number(pid);
    else if (type === 'worker' && section === 'old workers') old.push({ pid: Number(pid), reloads: Number(reloads) });
    else if (type === 'worker') workers.push(Number(pid));
  }
  if (master === undefined) return undefined;
  const failed = Number(/\[failed: (\d+)\]/.exec(answer)?.[1] ?? 0);
  const pids = old.sort((a, b) => b.reloads - a.reloads).map(({ pid }) => pid);
  const worker = workers.at(-1) ?? (failed > 0 ? pids.pop() : undefined);
  return { master, worker, old: pids, failed };
}

/**
 * What HAProxy said when `reload` on the master's socket failed; undefined: it did not, or does not say. From 2.7 on the answer comes when
 * the reload is over, with what was said meanwhile (management guide, 9.4).
 */
export function parseFailedReload(answer: string): string | undefined {
  return /^Success=0(?:\n--)?\n?([^]*)$/.exec(answer)?.[1];
}

/** A worker as `show info` tells of it. Pids begin anew in a container that starts again: with the time of its start one is told from another. */
export interface Worker {
  readonly pid: number;
  /** Seconds since 1970. */
  readonly startedAt: number;
  /** Of the configuration it was loaded with. */
  readonly digest: string;
}

/** Reads `show info`; undefined when the answer is none of it. */
export function parseInfo(answer: string): Worker | undefined {
  const pid = /^Pid: (\d+)$/m.exec(answer)?.[1];
  const startedAt = /^Start_time_sec: (\d+)$/m.exec(answer)?.[1];
  const digest = /^description: (\S*)$/m.exec(answer)?.[1];
  return pid === undefined || digest === undefined ? undefined : { pid: Number(pid), startedAt: Number(startedAt ?? 0), digest };
}

export const isSameWorker = (a: Worker | undefined, b: Worker): boolean => a !== undefined && a.pid === b.pid && a.startedAt === b.startedAt && a.digest === b.digest;

/** Sessions of `show sess` that belong to clients: not the one that asks. */
export function parseClientSessions(answer: string): readonly string[] {
  return answer.split('\n').flatMap((line) => (line.includes(' fe=GLOBAL ') ? [] : (/^(0x[0-9a-f]+): /.exec(line)?.[1] ?? [])));
}

/** Lines of `show map FILE` (`0x55.. key value`) as they stand in the file. */
export function parseMap(answer: string): string {
  return answer
    .split('\n')
    .filter((line) => line.startsWith('0x'))
    .map((line) => `${line.slice(line.indexOf(' ') + 1)}\n`)
    .join('');
}

/** The `address:port` of every route listener in a rendered configuration. */
export function parseListeners(config: string): ReadonlySet<string> {
  return new Set([...config.matchAll(/^ {2}bind (\S+:\d+)(?: name global)?$/gm)].map(([, key]) => key ?? ''));
}
