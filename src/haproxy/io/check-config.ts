import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CONFIG_FILE, filesOf } from '../plan-change.ts';
import type { RenderedConfig } from '../render-config.ts';
import { writeFiles } from './config-files.ts';

const TIMEOUT_MS = 20_000;

/** What `haproxy -c` says: undefined is yes, else its messages. */
export type Rejection = string | undefined;

/**
 * Lets HAProxy judge a candidate, written beside the running files in `<runDir>/candidate`. It does not bind.
 * @throws Error when the binary cannot be run.
 */
export async function checkConfig(binary: string, runDir: string, candidate: RenderedConfig): Promise<Rejection> {
  const dir = join(runDir, 'candidate');
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await writeFiles(dir, filesOf(candidate));
  return runCheck(binary, dir);
}

/**
 * `haproxy -c` on a folder's haproxy.cfg, bounded in time and output. `-C`: file names in the configuration are relative
 * to it (`default-path` would not reach those in `use_backend %[...]`, which are read after the file).
 */
export function runCheck(binary: string, dir: string, timeoutMs = TIMEOUT_MS): Promise<Rejection> {
  return new Promise((resolve, reject) => {
    execFile(binary, ['-c', '-C', dir, '-f', CONFIG_FILE], { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) resolve(undefined);
      else if (error.killed === true) resolve(`haproxy -c gave no verdict within ${timeoutMs} ms`);
      else if (typeof error.code === 'number') resolve(`${stderr}${stdout}`);
      else reject(error);
    });
  });
}
