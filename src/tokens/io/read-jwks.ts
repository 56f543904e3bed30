import { constants, open } from 'node:fs/promises';
import { messageOf, systemCode } from '../../model/coded-error.ts';
import { MAX_JWKS_BYTES } from '../parse-jwks.ts';
import type { KeySourceOptions, ReadKeys } from './open-key-source.ts';

/** A file is read every few seconds: it costs less than it takes to watch one behind the symlinks of a mounted Secret. */
const FILE = { periodMs: 2_000, minGapMs: 250 };
const URL_PERIOD = { periodMs: 5 * 60_000, minGapMs: 10_000 };

/** How to keep in step with the JWKS at a path (absolute) or an http(s) URL. */
export function readJwks(place: string): Pick<KeySourceOptions, 'name' | 'read' | 'periodMs' | 'minGapMs'> {
  return /^https?:\/\//i.test(place) ? { name: place, read: (signal) => readUrl(place, signal), ...URL_PERIOD } : { name: place, read: () => readFile(place), ...FILE };
}

async function readFile(path: string): Promise<ReadKeys> {
  let file;
  try {
    // Not to wait for a writer, should it be a pipe.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await file.stat()).isFile()) throw new Error('it is no regular file');
    const buffer = Buffer.alloc(MAX_JWKS_BYTES + 1);
    let bytes = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, bytes, buffer.length - bytes);
      bytes += bytesRead;
      if (bytesRead === 0 || bytes === buffer.length) break;
    }
    // One byte too many is refused by the parser, with the bound that it has.
    return { jwks: buffer.toString('utf8', 0, bytes) };
  } catch (error) {
    throw new Error(systemCode(error) === 'ENOENT' ? 'the file is not there' : messageOf(error), { cause: error });
  } finally {
    await file?.close();
  }
}

/** Redirects are not followed: the keys come from where the administrator said. */
async function readUrl(url: string, signal: AbortSignal): Promise<ReadKeys> {
  let response;
  try {
    response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/jwk-set+json, application/json' } });
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw new Error(`it could not be fetched: ${messageOf(cause)}`, { cause: error });
  }
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`the server answers ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_JWKS_BYTES) throw new Error(`it is larger than ${MAX_JWKS_BYTES / 1024} KiB`);
    chunks.push(chunk);
  }
  return { jwks: Buffer.concat(chunks).toString('utf8') };
}
