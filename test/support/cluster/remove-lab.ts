import { readdir, rm } from 'node:fs/promises';
import { run } from '../lab/run.ts';
import { removeCgroups } from './cgroups.ts';
import { endProcesses, labProcesses } from './daemons.ts';
import type { LabPaths } from './lab-paths.ts';

/**
 * Removes whatever there is of a lab, also what a killed run left half-made. Nothing there: nothing to do.
 *
 * What runs on a node, pods too, ends with the node's first process (pid_namespaces(7)), and with the last process of its mount
 * namespace its mounts go. So little is left to do: processes, network namespaces, cgroups, folders, in this order.
 */
export async function removeLab(lab: LabPaths): Promise<void> {
  await endProcesses(lab, await labProcesses(lab), ['SIGKILL']);
  // `a` must not take what is `a-n1`'s.
  const ownName = new RegExp(`^${lab.prefix}-(cp|n\\d+)$`);
  const isOwn = (name: string): boolean => ownName.test(name);
  await removeNamespaces(isOwn);
  await removeCgroups(isOwn);
  for (const folder of [lab.folder, lab.data]) await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

async function removeNamespaces(isOwn: (name: string) => boolean): Promise<void> {
  const own = (await readdir('/run/netns').catch(() => [])).filter(isOwn);
  await Promise.all(own.map((name) => run(['ip', 'netns', 'del', name])));
}
