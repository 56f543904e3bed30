import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../lab/run.ts';

const ROOT = '/sys/fs/cgroup';

/** Makes a cgroup below the root: with cgroup v1 one in each controller's tree, with v2 one in all. */
export async function createCgroup(name: string): Promise<void> {
  for (const tree of await trees()) {
    await mkdir(join(tree, name), { recursive: true });
    // With cgroup v1 a new group has no processor and no memory node, and takes no process (cpuset(7)).
    for (const file of ['cpuset.cpus', 'cpuset.mems'].filter((each) => tree.endsWith('cpuset') && existsSync(join(tree, each)))) {
      await writeFile(join(tree, name, file), await readFile(join(tree, file)));
    }
  }
}

/** Removes the cgroups that `isOwn` chooses, with all in them. Each is free once the last of its processes is gone: waits for that. */
export async function removeCgroups(isOwn: (name: string) => boolean): Promise<void> {
  for (const tree of await trees()) {
    for (const name of (await readdir(tree)).filter(isOwn)) {
      await eventually(`cgroup ${join(tree, name)} is empty`, () => removeTree(join(tree, name)));
    }
  }
}

async function trees(): Promise<readonly string[]> {
  if (existsSync(join(ROOT, 'cgroup.controllers'))) return [ROOT];
  const names = await readdir(ROOT).catch(() => []);
  return names.map((name) => join(ROOT, name)).filter((tree) => existsSync(join(tree, 'cgroup.procs')));
}

/** @returns whether it is gone; false: a process is still in it */
async function removeTree(folder: string): Promise<boolean> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(folder, entry.name));
  return rmdir(folder).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
}
