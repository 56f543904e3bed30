import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheFolder } from './lab-paths.ts';

const UNUSED_MS = 7 * 24 * 3_600_000;

/**
 * A file in the cache that is made once: its name holds a hash of what it is made of. `make` writes to the path that it is given;
 * only a whole file gets its name, so a killed run or two at once do no harm.
 * @param kind folder in the cache
 */
export async function cachedFile(kind: string, name: string, madeOf: readonly string[], make: (path: string) => Promise<void>): Promise<string> {
  const key = createHash('sha256').update(madeOf.join('\0')).digest('hex').slice(0, 16);
  const path = cacheFolder(kind, `${name}-${key}.tar`);
  if (existsSync(path)) {
    await markUsed(path);
    return path;
  }
  await mkdir(dirname(path), { recursive: true });
  await removeUnused(dirname(path), `${name}-`);
  const candidate = `${path}.${process.pid}.part`;
  await rm(candidate, { force: true });
  process.stderr.write(`cluster: making ${name}, once\n`);
  await make(candidate);
  await rename(candidate, path);
  return path;
}

/** The time of a thing in the cache is that of its last use. */
export async function markUsed(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now);
}

/** Removes what of that prefix was not used for a week: made of something that has changed since, or left half-made. */
export async function removeUnused(folder: string, prefix = ''): Promise<void> {
  const paths = (await readdir(folder)).filter((file) => file.startsWith(prefix)).map((file) => join(folder, file));
  for (const path of paths) {
    const usedAt = await stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => Number.NaN,
    );
    if (Date.now() - usedAt > UNUSED_MS) await rm(path, { recursive: true, force: true });
  }
}

/** A file as something that others are made of: its content. A checkout of its own has the same programs as the one before. */
export async function fileKey(path: string): Promise<string> {
  return createHash('sha256').update(await readFile(path)).digest('hex');
}
