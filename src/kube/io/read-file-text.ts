import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { MAX_FILE_BYTES } from './list-files.ts';

/**
 * Reads a regular file of at most {@link MAX_FILE_BYTES} as UTF-8. What was listed may have been replaced since: no link is
 * followed, and a fifo put in its place neither blocks nor is read.
 * @throws Error of the system, or one that says why the file is refused
 */
export async function readFileText(path: string): Promise<string> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new Error('it is not a regular file');
    if (found.size > MAX_FILE_BYTES) throw new Error(`it has ${found.size} bytes, more than ${MAX_FILE_BYTES}`);
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}
