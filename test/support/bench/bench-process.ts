import type { ChildProcess } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { dirname, join } from 'node:path';
import { parseListeningSockets } from '../../../src/node/parse-proc-net.ts';
import { eventually, start, stop } from '../lab/run.ts';

const READY_LIMIT_MS = 120_000;

/** A program that serves for the time of a benchmark. */
export interface BenchProcess {
  readonly pid: number;
  close(): Promise<void>;
}

/** Starts a program (its output goes to `logFile`) and waits until `url` is answered with 200. */
export async function openBenchProcess(argv: readonly string[], logFile: string, url: string): Promise<BenchProcess> {
  const child: ChildProcess = start(argv, logFile);
  const { pid } = child;
  if (pid === undefined) throw new Error(`${argv[0] ?? ''} cannot be started`);
  const close = async (): Promise<void> => void (await stop(child, 'SIGTERM', 3000));
  try {
    await eventually(`${argv[0] ?? ''} at ${url}`, async () => {
      if (child.exitCode !== null) throw new Error(`${argv.join(' ')} ended with code ${child.exitCode}:\n${(await readFile(logFile, 'utf8')).slice(-2000)}`);
      return (await statusOf(url)) === 200;
    }, READY_LIMIT_MS);
  } catch (error) {
    await close();
    throw error;
  }
  return { pid, close };
}

/** Starts HAProxy in the foreground, as one process: what /proc tells about it is the proxy alone. `files`: beside haproxy.cfg. */
export async function openBenchHaproxy(
  folder: string,
  config: string,
  url: string,
  { files = new Map(), within = [] }: { readonly files?: ReadonlyMap<string, string>; readonly within?: readonly string[] } = {},
): Promise<BenchProcess> {
  for (const [name, content] of [...files, ['haproxy.cfg', config] as const]) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return openBenchProcess([...within, 'haproxy', '-db', '-C', folder, '-f', join(folder, 'haproxy.cfg')], join(folder, 'log'), url);
}

/**
 * @throws Error when somebody listens on an address that begins with one of these prefixes. A HAProxy that another run left behind
 *   would silently take a share of the connections (SO_REUSEPORT) and spoil every figure.
 */
export async function requireFree(prefixes: readonly string[]): Promise<void> {
  const taken = parseListeningSockets(await readFile('/proc/net/tcp', 'utf8')).filter(({ address }) => prefixes.some((prefix) => address.startsWith(prefix)));
  const [first] = taken;
  if (first !== undefined) throw new Error(`${taken.length} sockets already listen on the addresses of this benchmark (${first.address}:${first.port}): end their program first (ss -ltnp)`);
}

const statusOf = (url: string): Promise<number | undefined> =>
  new Promise((resolve) => {
    const request = get(url, { agent: false, timeout: 5000 }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined));
  });
