import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../lab/run.ts';
import { openBenchHaproxy } from './bench-process.ts';
import { wrk } from './wrk.ts';

const CONNECTIONS = 8;
const SECONDS = 3;

/**
 * User-space instructions of HAProxy per request, by valgrind's callgrind: nearly the same on a loaded machine. What the kernel does for
 * it is not in them. The configuration should have one thread.
 */
export async function countInstructions(folder: string, config: string, files: ReadonlyMap<string, string>, url: string): Promise<number> {
  const dump = join(folder, 'callgrind.out');
  // One `rep movsb` would count as 32,000 instructions for a buffer of 16 kB: a copy in loops is nearer to what it costs.
  const copies = ['env', 'GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=100000000'];
  const valgrind = [...copies, 'valgrind', '--quiet', '--tool=callgrind', `--callgrind-out-file=${dump}`, '--combine-dumps=no'];
  const haproxy = await openBenchHaproxy(folder, config, url, { files, within: valgrind });
  try {
    await wrk(url, { connections: CONNECTIONS, seconds: 1 });
    await must(['vgdb', `--pid=${haproxy.pid}`, 'zero']);
    const { requests } = await wrk(url, { connections: CONNECTIONS, seconds: SECONDS });
    await must(['vgdb', `--pid=${haproxy.pid}`, 'dump']);
    const file = (await readdir(folder)).find((name) => name.startsWith('callgrind.out.'));
    const totals = /^(?:totals|summary): (\d+)/m.exec(await readFile(join(folder, file ?? ''), 'utf8'))?.[1];
    return Number(totals ?? Number.NaN) / requests;
  } finally {
    await haproxy.close();
  }
}
