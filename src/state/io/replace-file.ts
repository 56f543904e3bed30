import { randomUUID } from 'node:crypto';
import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** What a crash left aside is removed when it is older. */
const LEFT_MS = 60_000;

/**
 * Replaces a file, mode 0600: written aside, synced, renamed, the folder synced. After a crash either the old or the new one is there, whole.
 * Two processes (the generations of a pod) may do it at once: the later one counts.
 * @throws Error of the system; the old file is there then
 */
export async function replaceFile(path: string, pieces: Iterable<string> | AsyncIterable<string>): Promise<void> {
  const aside = `${path}.new-${randomUUID()}`;
  try {
    const file = await open(aside, 'w', 0o600);
    try {
      for await (const piece of pieces) await file.write(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  await removeLeft(path);
}

async function removeLeft(path: string): Promise<void> {
  const prefix = `${basename(path)}.new-`;
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(prefix)) continue;
    const left = join(dirname(path), name);
    const found = await stat(left).catch(() => undefined);
    if (found !== undefined && found.mtimeMs < Date.now() - LEFT_MS) await rm(left, { force: true });
  }
}
