import { join } from 'node:path';
import { mkdir, writeFile } from 'node:fs/promises';
import { parseVersion } from '../../../src/haproxy/features.ts';
import { renderConfig, type RenderedConfig } from '../../../src/haproxy/render-config.ts';
import { must } from '../lab/run.ts';
import { openBenchHaproxy, openBenchProcess, type BenchProcess } from './bench-process.ts';
import { benchTable, FULL, LISTEN, type RouteParts } from './bench-table.ts';
import { renderEnvoy } from './envoy-config.ts';
import { renderMinimal } from './minimal-haproxy.ts';
import { ENVOY_FULL, ENVOY_MINIMAL, FULL_ROUTE, MINIMAL } from './overhead-result.ts';

/** Everything that these benchmarks listen on. */
export const BENCH_ADDRESSES = ['127.72.7', '127.88.8'] as const;
const MINIMAL_VIP = '127.72.78.1';
const ENVOY_MINIMAL_VIP = '127.72.78.2';

/** A proxy under load: its addresses are called by turns. */
export interface BenchProxy {
  readonly name: string;
  readonly url: string;
  readonly process: BenchProcess;
  /** Runtime socket of ours. */
  readonly socket?: string;
}

/** Up to 1,024 VIPs from 127.72.NET.0 on. */
const vipIn = (net: number) => (route: number): string => `127.72.${net + (route >> 8)}.${route & 255}`;
export const urlOf = (address: string): string => `http://${address}:${LISTEN}/`;

/** The route that is called: not the first one, so that a search through a list would show. */
const calledRoute = (routes: number): number => Math.floor(routes * 0.7);

/** What the agent would give HAProxy for such a node. */
export async function renderNode(folder: string, routes: number, parts: RouteParts, threads: number, net: number): Promise<RenderedConfig & { readonly url: string }> {
  const haproxy = parseVersion(await must(['haproxy', '-vv']));
  if (haproxy === undefined) throw new Error('haproxy says no version');
  const vipOf = vipIn(net);
  const rendered = renderConfig(benchTable(routes, vipOf, parts), { runDir: folder, drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads, haproxy });
  return { ...rendered, url: urlOf(vipOf(calledRoute(routes))) };
}

/** The proxies of one case, in the order of the rounds. Without `envoy` (its program): ours alone. */
export async function openProxies(folder: string, routes: number, threads: number, envoy: string | undefined): Promise<readonly BenchProxy[]> {
  const opened: BenchProxy[] = [];
  const open = async (name: string, url: string, start: (folder: string) => Promise<BenchProcess>, socket?: string): Promise<void> => {
    const own = join(folder, `p${opened.length}`);
    await mkdir(own, { recursive: true });
    opened.push({ name, url, process: await start(own), ...(socket === undefined ? {} : { socket }) });
  };
  try {
    await open(MINIMAL, urlOf(MINIMAL_VIP), (own) => openBenchHaproxy(own, renderMinimal(MINIMAL_VIP, threads), urlOf(MINIMAL_VIP)));
    const ours = join(folder, `p${opened.length}`);
    const { config, files, url } = await renderNode(ours, routes, FULL, threads, 70);
    await open(FULL_ROUTE, url, (own) => openBenchHaproxy(own, config, url, { files }), join(ours, 'haproxy.sock'));
    if (envoy !== undefined) {
      const vips = Array.from({ length: routes }, (_, route) => vipIn(74)(route));
      const called = urlOf(vips[calledRoute(routes)] ?? '');
      await open(ENVOY_FULL, called, (own) => openEnvoy(envoy, own, renderEnvoy(vips, true), called, threads));
      const minimal = urlOf(ENVOY_MINIMAL_VIP);
      await open(ENVOY_MINIMAL, minimal, (own) => openEnvoy(envoy, own, renderEnvoy([ENVOY_MINIMAL_VIP], false), minimal, threads));
    }
    return opened;
  } catch (error) {
    await closeProxies(opened);
    throw error;
  }
}

export const closeProxies = async (proxies: readonly BenchProxy[]): Promise<void> => void (await Promise.all(proxies.map(({ process }) => process.close())));

async function openEnvoy(program: string, folder: string, bootstrap: string, url: string, threads: number): Promise<BenchProcess> {
  const file = join(folder, 'envoy.json');
  await writeFile(file, bootstrap);
  return openBenchProcess([program, '-c', file, '--concurrency', String(threads), '--disable-hot-restart', '--log-level', 'error'], join(folder, 'log'), url);
}
