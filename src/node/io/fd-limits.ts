import { readFile } from 'node:fs/promises';
import { parseFdLimits } from '../parse-proc-net.ts';
import type { FdLimits } from '../parse-proc-net.ts';

/** This process's limits of open files, which its children inherit; undefined where /proc does not tell. */
export async function readFdLimits(): Promise<FdLimits | undefined> {
  return parseFdLimits(await readFile('/proc/self/limits', 'utf8').catch(() => ''));
}
