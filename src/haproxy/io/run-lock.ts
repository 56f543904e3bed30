import { createServer } from 'node:net';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, systemCode } from '../../model/coded-error.ts';
import { askCli } from './cli-socket.ts';

/** Answered while an agent owns the run dir. */
export const OWNER_SOCKET = 'owner.sock';

/** Held while one agent owns a run dir. */
export interface RunLock {
  release(): Promise<void>;
}

/**
 * Takes the run dir for this process: a unix socket that dies with it, so no stale lock can be left behind.
 * @throws CodedError `run-dir-busy` when another live process holds it.
 */
export async function lockRunDir(runDir: string): Promise<RunLock> {
  const path = join(runDir, OWNER_SOCKET);
  const server = createServer((socket) => socket.on('error', () => socket.destroy()).resume().end(`${process.pid}\n`));
  server.unref();
  const listen = (): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => resolve());
    });
  try {
    await listen();
  } catch (error) {
    if (systemCode(error) !== 'EADDRINUSE') throw error;
    const owner = await askCli(path, '').catch(() => undefined);
    if (owner !== undefined) {
      throw new CodedError({
        code: 'run-dir-busy',
        message: `the run dir ${runDir} belongs to a running agent (pid ${owner})`,
        remedy: 'stop that agent, or give this one another --run-dir',
      });
    }
    await rm(path, { force: true });
    await listen();
  }
  return { release: () => new Promise((resolve) => server.close(() => resolve())) };
}
