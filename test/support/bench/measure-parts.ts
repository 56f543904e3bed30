import { join } from 'node:path';
import { cpuSeconds } from '../process-usage.ts';
import { openBenchHaproxy } from './bench-process.ts';
import { countInstructions } from './count-instructions.ts';
import { renderMinimal } from './minimal-haproxy.ts';
import { renderNode, urlOf } from './overhead-proxies.ts';
import { MINIMAL } from './overhead-result.ts';
import { applyEdit, PART_VARIANTS } from './part-variants.ts';
import { median, pairedRatio, spread } from './statistics.ts';
import { wrk } from './wrk.ts';

export interface PartsOptions {
  readonly rounds: number;
  readonly seconds: number;
  /** Count instructions instead of measuring time. */
  readonly instructions: boolean;
  /** Only the variants whose name contains this, and the minimal one. */
  readonly only: string;
  readonly say: (line: string) => void;
}

interface Candidate {
  readonly name: string;
  readonly folder: string;
  readonly config: string;
  readonly files: ReadonlyMap<string, string>;
  readonly url: string;
}

const CONNECTIONS = 32;
const MINIMAL_VIP = '127.72.78.1';

/** A table: what each part costs HAProxy, beside the minimal configuration. One route, one thread. */
export async function measureParts(folder: string, options: PartsOptions): Promise<{ readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] }> {
  const candidates: Candidate[] = [{ name: MINIMAL, folder: join(folder, 'minimal'), config: renderMinimal(MINIMAL_VIP, 1), files: new Map(), url: urlOf(MINIMAL_VIP) }];
  for (const [index, variant] of PART_VARIANTS.filter(({ name }) => name.includes(options.only)).entries()) {
    const own = join(folder, `v${index}`);
    const { config, files, url } = await renderNode(own, 1, variant.parts, 1, 70);
    candidates.push({ name: variant.name, folder: own, config: applyEdit(config, variant), files, url });
  }
  return options.instructions ? await byInstructions(candidates, options) : await byTime(candidates, options);
}

async function byInstructions(candidates: readonly Candidate[], { say }: PartsOptions): Promise<Awaited<ReturnType<typeof measureParts>>> {
  const rows: (readonly string[])[] = [];
  let base: number | undefined;
  for (const { name, folder, config, files, url } of candidates) {
    const count = await countInstructions(folder, config, files, url);
    base ??= count;
    rows.push([name, (count / 1000).toFixed(1), ((count - base) / 1000).toFixed(1), (count / base).toFixed(2)]);
    say(`${name}: ${(count / 1000).toFixed(1)} thousand instructions per request`);
  }
  return { head: ['', 'thousand instructions per request', 'more than minimal', 'to minimal'], rows };
}

/** Each is started anew in every round: 20 idle proxies would disturb, and all have the same address. */
async function byTime(candidates: readonly Candidate[], { rounds, seconds, say }: PartsOptions): Promise<Awaited<ReturnType<typeof measureParts>>> {
  const figures = candidates.map((): number[] => []);
  for (let round = 1; round <= rounds; round++) {
    say(`round ${round} of ${rounds}`);
    for (const [index, { folder, config, files, url }] of candidates.entries()) {
      const haproxy = await openBenchHaproxy(folder, config, url, { files });
      try {
        await wrk(url, { connections: CONNECTIONS, seconds: 1 });
        const before = await cpuSeconds(haproxy.pid);
        const { requests } = await wrk(url, { connections: CONNECTIONS, seconds });
        figures[index]?.push((((await cpuSeconds(haproxy.pid)) - before) * 1e6) / requests);
      } finally {
        await haproxy.close();
      }
    }
  }
  const base = figures[0] ?? [];
  const rows = candidates.map(({ name }, index) => {
    const cpu = figures[index] ?? [];
    return [name, `${median(cpu).toFixed(1)} µs (±${(spread(cpu) * 100).toFixed(0)} %)`, (median(cpu) - median(base)).toFixed(1), pairedRatio(cpu, base).toFixed(2)];
  });
  return { head: ['', 'CPU per request', 'more than minimal, µs', 'to minimal'], rows };
}
