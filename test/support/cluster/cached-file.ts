import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import { cacheFolder } from './lab-paths.ts';

/**
 * A file in the cache that is made once: its name holds a hash of what it is made of. `make` writes to the path that it is given;
 * only a whole file gets its name, so a killed run or two at once do no harm.
 * @param kind folder in the cache
 */
export async function cachedFile(kind: string, name: string, madeOf: readonly string[], make: (path: string) => Promise<void>): Promise<string> {
  const key = createHash('sha256').update(madeOf.join('\0')).digest('hex').slice(0, 16);
  const path = cacheFolder(kind, `${name}-${key}.tar`);
  if (existsSync(path)) {
    const now = new Date();
    await utimes(path, now, now);
    return path;
  }
  await mkdir(dirname(path), { recursive: true });
  const candidate = `${path}.${process.pid}.part`;
  await rm(candidate, { force: true });
  process.stderr.write(`cluster: making ${name}, once\n`);
  await make(candidate);
  await rename(candidate, path);
  return path;
}

/** A file's content as something that others are made of. */
export async function contentHash(path: string): Promise<string> {
  return createHash('sha256').update(await readFile(path)).digest('hex');
}
