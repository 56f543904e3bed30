import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CONFIG_FILE, filesOf } from '../plan-change.ts';
import type { RenderedConfig } from '../render-config.ts';
import { writeFiles } from './config-files.ts';

const TIMEOUT_MS = 20_000;

/** What `haproxy -c` says: undefined is yes, else its messages. */
export type Rejection = string | undefined;

/** @throws Error when the binary cannot be run. */
export type CheckConfig = (candidate: RenderedConfig) => Promise<Rejection>;

/**
 * Lets HAProxy judge candidates, written beside the running files in `<runDir>/candidate`. It does not bind.
 * Only what differs from the candidate before is written: a node has thousands of map files. One call at a time.
 */
export function openConfigCheck(binary: string, runDir: string): CheckConfig {
  const dir = join(runDir, 'candidate');
  /** Digests of what lies there: the contents are megabytes. */
  let written: ReadonlyMap<string, string> | undefined;
  return async (candidate) => {
    const before = written ?? new Map<string, string>();
    if (written === undefined) await rm(dir, { recursive: true, force: true });
    written = undefined;
    const files = filesOf(candidate);
    const digests = new Map([...files].map(([file, content]) => [file, digestOf(content)]));
    const changed = new Map([...files].filter(([file]) => before.get(file) !== digests.get(file)));
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await writeFiles(dir, changed, [...before.keys()].filter((file) => !files.has(file)));
    written = digests;
    return runCheck(binary, dir);
  };
}

const digestOf = (content: string): string => createHash('sha256').update(content).digest('base64');

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
