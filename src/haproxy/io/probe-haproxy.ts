import { execFile } from 'node:child_process';
import { parseVersion } from '../features.ts';
import type { HaproxyFeatures } from '../features.ts';

/** Asks a binary what it is; undefined when there is none or it is no HAProxy. */
export function probeHaproxy(binary: string): Promise<HaproxyFeatures | undefined> {
  return new Promise((resolve) => {
    execFile(binary, ['-vv'], { timeout: 5000, killSignal: 'SIGKILL' }, (error, stdout) => {
      resolve(error === null ? parseVersion(stdout) : undefined);
    });
  });
}
