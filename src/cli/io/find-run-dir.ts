import { lstat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The run folder of the agent to ask. In a cluster each generation of the pod has a folder of its own below the run folder, and
 * `current` names the newest that is ready.
 */
export async function findRunDir(runDir: string): Promise<string> {
  const exists = (path: string): Promise<boolean> => lstat(path).then(() => true, () => false);
  const current = join(runDir, 'current');
  return !(await exists(join(runDir, 'admin.sock'))) && (await exists(current)) ? current : runDir;
}
