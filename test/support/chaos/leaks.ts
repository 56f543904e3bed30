import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Generation } from './node-under-test.ts';

/** What a serving node holds: names are shown as they are. */
export interface Holdings {
  readonly agentDescriptors: number;
  readonly haproxyProcesses: number;
  readonly haproxyDescriptors: number;
  /** Established or half-closed TCP connections of the namespace, by state. */
  readonly connections: Readonly<Record<string, number>>;
  /** Servers that HAProxy has and should not have, or the other way round. */
  readonly strangeServers: readonly string[];
  /** Files of the run folder, maps aside, and maps that haproxy.cfg does not name. */
  readonly files: readonly string[];
  readonly straysInMaps: readonly string[];
}

export async function readHoldings(generation: Generation): Promise<Holdings> {
  const workers = generation.haproxyPids();
  return {
    agentDescriptors: descriptors(generation.agentPid ?? 0).length,
    haproxyProcesses: workers.length,
    haproxyDescriptors: Math.max(0, ...workers.map((pid) => descriptors(pid).length)),
    connections: tcpStates(),
    strangeServers: await strangeServers(generation),
    files: readdirSync(generation.runDir).filter((name) => name !== 'maps' && name !== 'candidate').sort(),
    straysInMaps: straysInMaps(generation.runDir),
  };
}

/** Reads until it is as it should be, at most `limitMs`; gives what is wrong with the last reading, nothing when all is well. */
export async function settle(generation: Generation, judge: (holdings: Holdings) => readonly string[], limitMs: number): Promise<readonly string[]> {
  for (const end = Date.now() + limitMs; ; await sleep(500)) {
    const wrong = await readHoldings(generation).then(judge, (error: unknown) => [String(error)]);
    if (wrong.length === 0 || Date.now() > end) return wrong;
  }
}

function descriptors(pid: number): readonly string[] {
  try {
    const dir = `/proc/${pid}/fd`;
    return readdirSync(dir).map((fd) => {
      try {
        return readlinkSync(join(dir, fd));
      } catch {
        return 'gone';
      }
    });
  } catch {
    return [];
  }
}

/** Routes and pods of this run, where the network is not its own. */
const OWN = / 127\.(?:95\.\d+|88\.(?:98|99|100|101))\.\d+:/;

function tcpStates(): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const line of execFileSync('ss', ['-tanH'], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 }).split('\n')) {
    const state = line.split(/\s+/)[0] ?? '';
    if (state === '' || state === 'LISTEN' || state === 'TIME-WAIT' || !OWN.test(line)) continue;
    counts[state] = (counts[state] ?? 0) + 1;
  }
  return counts;
}

/** `/routes` says which endpoints are in use; HAProxy must have these servers, serving, and no others. */
async function strangeServers(generation: Generation): Promise<readonly string[]> {
  const { routes } = await generation.routes();
  const wanted = new Set(routes.flatMap((route) => route.versions.flatMap((version) => version.endpoints.filter(({ use }) => use !== 'none').map(({ address, port }) => `${route.namespace}.${route.name}.${version.name} ${address}:${port}`))));
  const lines = (await generation.runtime('show servers state')).split('\n').filter((line) => /^\d+ /.test(line));
  const strange: string[] = [];
  for (const line of lines) {
    const [, backend = '', , server = '', , operational, admin] = line.split(' ');
    const key = `${backend} ${server.replace(/\.(?:plain|backup)$/, '')}`;
    if (!wanted.delete(key)) strange.push(`more: ${backend} ${server}`);
    else if (operational !== '2' || admin !== '0') strange.push(`${backend} ${server}: operational ${operational ?? ''}, admin ${admin ?? ''}`);
  }
  return [...strange, ...[...wanted].map((key) => `missing: ${key}`)];
}

function straysInMaps(runDir: string): readonly string[] {
  const config = readFileSync(join(runDir, 'haproxy.cfg'), 'utf8');
  const scripts = readdirSync(runDir).filter((name) => name.endsWith('.lua')).map((name) => readFileSync(join(runDir, name), 'utf8')).join('\n');
  const find = (dir: string): readonly string[] =>
    readdirSync(join(runDir, dir), { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? find(`${dir}/${entry.name}`) : [`${dir}/${entry.name}`]));
  return find('maps').filter((file) => !config.includes(file) && !scripts.includes(file));
}
