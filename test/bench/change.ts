import { fork, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { requireFree } from '../support/bench/bench-process.ts';
import { BenchNode } from '../support/bench/change/bench-node.ts';
import type { CallCounts, CallLoadOptions } from '../support/bench/change/call-load.ts';
import { describeFigures, describeVerdict, judge, PHASE_COLUMNS, tabulatePhases, type ChangeResult, type PhaseResult } from '../support/bench/change/change-result.ts';
import { DnsLoad } from '../support/bench/change/dns-load.ts';
import { EffectProbe } from '../support/bench/change/effect-probe.ts';
import type { ToldByServers, ToldToServers } from '../support/bench/change/pod-servers.ts';
import { rollPods, type RollingUpdateResult } from '../support/bench/change/rolling-update.ts';
import { must } from '../support/lab/run.ts';
import { fillPlace, renderColumns, renderTable } from '../support/bench/performance-page.ts';
import { churn, type Change } from '../support/synthetic/churn.ts';
import { isHeaderRoute, namespaceOf, routeName, SyntheticCluster, type ClusterShape } from '../support/synthetic/cluster.ts';
import { kubeconfigFor, serveCluster, type ServedCluster } from '../support/synthetic/serve-cluster.ts';
import { writeFolder, writeNamespace } from '../support/synthetic/write-folder.ts';

/**
 * `npm run bench:change`: one agent with its HAProxy on loopback while endpoints come and go under load, while versions are rolled, while a
 * second generation takes over, then from its snapshot. Exits 1 when a must is broken. docs/performance.md says what is measured and how.
 */
const HELP = `npm run bench:change -- [options]        (takes about 3 minutes)
  --routes N         of two versions each (default 1000)
  --endpoints N      in all (default 10000)
  --rate N           endpoint changes a second (default 20)
  --seconds N        of churn (default 60); the quiet part before it takes a quarter
  --calls N          a second (default 300)
  --dns N            queries a second (default 5000)
  --source KIND      kubernetes: events of an API server (default); dir: files of a folder
  --seed N           of the sequence of changes (default 1)
  --entry FILE       the program (default dist/onehop.mjs, which npm run build makes)
  --node-flags=TEXT  for the agents' Node: --cpu-prof --cpu-prof-dir=DIR, say
  --net A.B          first octets of the VIP pool (default 127.94)
  --write-docs       writes the result and the section of docs/performance.md`;

const ROOT = join(import.meta.dirname, '../..');
const HTTP_PORT = 8080;
const POD_PORT = 9000;
/** A cluster that has just been read is still being tidied up after. */
const SETTLE_MS = 3_000;
const EFFECT_LIMIT_MS = 15_000;

const { values } = parseArgs({
  options: {
    routes: { type: 'string', default: '1000' },
    endpoints: { type: 'string', default: '10000' },
    rate: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '60' },
    calls: { type: 'string', default: '300' },
    dns: { type: 'string', default: '5000' },
    source: { type: 'string', default: 'kubernetes' },
    seed: { type: 'string', default: '1' },
    entry: { type: 'string', default: join(ROOT, 'dist/onehop.mjs') },
    'node-flags': { type: 'string', default: '' },
    net: { type: 'string', default: '127.94' },
    'write-docs': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const [routes, endpoints, rate, seconds] = [values.routes, values.endpoints, values.rate, values.seconds].map(Number) as [number, number, number, number];
const { net } = values;
const vipOf = (route: number): string => `${net}.${1 + (route >> 8)}.${route & 255}`;
const shape: ClusterShape = { routes, slices: 1, endpoints: Math.round(endpoints / routes / 2), pods: 100, network: '127.88', port: POD_PORT, headers: true, vip: vipOf };

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const interrupted = new AbortController();
/** Ended in reverse, whatever happens. */
const opened: (() => unknown)[] = [];

async function main(): Promise<number> {
  if (values.help) {
    say(HELP);
    return 0;
  }
  const missing = [values.entry, ...['haproxy', 'dnsperf', 'curl'].map((program) => `/usr/bin/${program}`).map((path) => path.replace('bin/haproxy', 'sbin/haproxy'))].filter((path) => !existsSync(path));
  if (missing.length > 0) {
    say(`missing: ${missing.join(', ')}; npm run bench:change prepares them`);
    return 3;
  }
  if (process.getuid?.() === 0 && process.env['BENCH_NAMESPACE'] === undefined) return enterNamespaces();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.abort(new Error('interrupted')));
  try {
    const result = await bench();
    report(result);
    if (values['write-docs']) await writeDocs(result);
    return judge(result).some(({ kind, kept }) => kind === 'must' && !kept) ? 1 : 0;
  } catch (error) {
    say(`bench:change cannot go on: ${error instanceof Error ? error.message : String(error)}`);
    return interrupted.signal.aborted ? 130 : 3;
  } finally {
    for (const close of opened.toReversed()) await Promise.resolve(close()).catch(() => undefined);
  }
}

/** As root everything runs in a network and a pid namespace of its own: nothing that another run left can disturb it, and all ends with it. */
function enterNamespaces(): number {
  // A signal of the terminal reaches the run inside too; it ends itself, and this waits for it.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
  const script = 'ip link set lo up && exec "$@"';
  const argv = ['--net', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', script, 'sh', process.execPath, import.meta.filename, ...process.argv.slice(2)];
  const { status } = spawnSync('unshare', argv, { stdio: 'inherit', env: { ...process.env, BENCH_NAMESPACE: '1' } });
  return status ?? 1;
}

async function bench(): Promise<ChangeResult> {
  await requireFree([net, '127.88']);
  const folder = await mkdtemp(join(tmpdir(), 'onehop-change-'));
  opened.push(async () => {
    if (process.env['BENCH_NAMESPACE'] !== undefined) await must(['umount', '--lazy', join(folder, 'run')]); // logs are still open
    await rm(folder, { recursive: true });
  });
  // Where /run is, memory is the disk.
  await mkdir(join(folder, 'run'));
  if (process.env['BENCH_NAMESPACE'] !== undefined) await must(['mount', '-t', 'tmpfs', 'tmpfs', join(folder, 'run')]);
  const cluster = new SyntheticCluster(shape);
  const source = await openSource(cluster, folder);
  opened.push(() => source.close());
  const servers = await openChild('pod-servers.ts', [String(POD_PORT)]);
  const node = (): BenchNode => {
    const one = new BenchNode({ folder, entry: values.entry, net, httpPort: HTTP_PORT, nodeFlags: values['node-flags'].split(' ').filter((flag) => flag !== ''), ...source.flags });
    opened.push(() => one.stop());
    return one;
  };

  const first = node();
  const startMs = await first.start();
  say(`${routes} routes of 2 versions, ${routes * 2 * shape.endpoints} endpoints: ready after ${startMs.toFixed(0)} ms`);
  await pause(SETTLE_MS);
  const load = await openCallLoad();
  const names = Array.from({ length: routes }, (_, i) => (i * 7919) % routes).map((route) => `${routeName(route)}.${namespaceOf(route)}.route.internal`);
  const phase = async (name: string, during: () => Promise<void>): Promise<PhaseResult> => {
    const dns = await DnsLoad.begin(folder, { address: `${net}.0.10`, port: 5353 }, names, Number(values.dns));
    opened.push(() => dns.kill());
    load.begin();
    await during();
    const calls = await load.end();
    const result = { name, calls, dns: await dns.end() };
    say(`${name}: ${calls.calls} calls, ${calls.failed} failed; ${result.dns.sent} DNS queries, ${result.dns.lost + result.dns.wrong} without an answer${calls.failures.map((line) => `\n  ${line}`).join('')}`);
    return result;
  };

  const quiet = await phase('quiet', () => pause((seconds / 4) * 1000));
  const reloadsBefore = await first.reloads();
  const [agentBefore, haproxyBefore] = [await first.agentCpu(), (await first.haproxy()).cpu];
  const begunMs = performance.now();
  const changes = new ChangeStream(cluster, source, servers);
  const churning = await phase('churn', () => changes.run());
  const elapsed = (performance.now() - begunMs) / 1000;
  const [agent, haproxy, agentCpu] = [await first.agentMemory(), await first.haproxy(), await first.agentCpu()];

  let rollingUpdate: RollingUpdateResult = { calls: 0, failed: 0, lastCallsMs: [] };
  const rolling = await phase('rolling update', async () => {
    rollingUpdate = await rollPods({ cluster, tell: (change) => source.tell(change), servers, vipOf, port: HTTP_PORT, pause });
  });
  const reloads = (await first.reloads()) - reloadsBefore;

  const second = node();
  const handOver = await phase('hand-over', async () => {
    await second.start();
    await first.stop();
    await pause(1_000);
  });

  servers.send('count' satisfies ToldToServers);
  const [{ late }] = (await once(servers, 'message')) as [ToldByServers];
  await second.stop();
  await source.goAway();
  const third = node();
  const startFromSnapshotMs = await third.start();
  say(`from the snapshot: ready after ${startFromSnapshotMs.toFixed(0)} ms`);
  return {
    phases: [quiet, churning, rolling, handOver],
    reloads,
    changes: changes.count,
    effectsMs: changes.effectsMs.toSorted((a, b) => a - b),
    unseen: changes.unseen,
    late,
    rollingUpdate,
    cpu: { seconds: elapsed, agent: agentCpu - agentBefore, haproxy: haproxy.cpu - haproxyBefore },
    memory: { agent: agent.rss, agentOwn: agent.own, agentPeak: agent.peak, haproxy: haproxy.rss },
    startMs,
    startFromSnapshotMs,
  };
}

/** Where the agent has its objects from. */
interface BenchSource {
  readonly flags: { readonly source: string; readonly kubeconfig?: string };
  tell(change: Pick<Change, 'object'>): void;
  /** From now on it does not answer. */
  goAway(): Promise<void>;
  close(): Promise<void>;
}

async function openSource(cluster: SyntheticCluster, folder: string): Promise<BenchSource> {
  if (values.source === 'dir') {
    const objects = join(folder, 'objects');
    writeFolder(objects, cluster);
    return {
      flags: { source: `dir:${objects}` },
      tell: ({ object }) => writeNamespace(objects, cluster, object.metadata.namespace ?? ''),
      goAway: () => rm(objects, { recursive: true }),
      close: async () => undefined,
    };
  }
  const served: ServedCluster = await serveCluster(cluster);
  const kubeconfig = join(folder, 'kubeconfig');
  await writeFile(kubeconfig, kubeconfigFor(served.url));
  return { flags: { source: 'kubernetes', kubeconfig }, tell: (change) => served.tell(change), goAway: () => served.close(), close: () => served.close() };
}

/** Changes at a fixed rate, each watched until it is in effect. */
class ChangeStream {
  readonly effectsMs: number[] = [];
  count = 0;
  unseen = 0;
  readonly #cluster: SyntheticCluster;
  readonly #source: BenchSource;
  readonly #servers: ChildProcess;
  readonly #probe = new EffectProbe(HTTP_PORT, EFFECT_LIMIT_MS);
  readonly #lastOf = new Map<number, Change>();

  constructor(cluster: SyntheticCluster, source: BenchSource, servers: ChildProcess) {
    this.#cluster = cluster;
    this.#source = source;
    this.#servers = servers;
  }

  async run(): Promise<void> {
    const watched: Promise<void>[] = [];
    const beginMs = performance.now();
    const sequence = churn(this.#cluster, { seed: Number(values.seed) });
    const total = rate * seconds;
    for (; this.count < total; this.count++) {
      await pause(Math.max(0, beginMs + (this.count * 1000) / rate - performance.now()));
      const change = sequence.next().value;
      if (change.appeared !== undefined) this.#servers.send({ comes: change.appeared.address } satisfies ToldToServers);
      const sinceMs = performance.now();
      this.#source.tell(change);
      if (change.gone !== undefined) this.#servers.send({ goes: change.gone } satisfies ToldToServers);
      this.#lastOf.set(change.route * 2 + change.version, change);
      // A pod of this node takes calls at once; and by its header a call is sure to be for its version.
      if (change.appeared?.node === 0 && isHeaderRoute(shape, change.route)) watched.push(this.#watch(change, sinceMs));
      if (this.count > 0 && this.count % (rate * 10) === 0) say(`  ${this.count} of ${total} changes`);
    }
    await Promise.all(watched);
    this.#probe.close();
  }

  async #watch(change: Change, sinceMs: number): Promise<void> {
    const isOvertaken = (): boolean => this.#lastOf.get(change.route * 2 + change.version) !== change;
    const tookMs = await this.#probe.until(change, vipOf(change.route), sinceMs, isOvertaken);
    if (tookMs === undefined) this.unseen++;
    else if (tookMs !== 'overtaken') this.effectsMs.push(tookMs);
  }
}

async function openCallLoad(): Promise<{ begin(): void; end(): Promise<CallCounts> }> {
  const child = await openChild('call-load.ts', []);
  const { vip: _, ...plain } = shape;
  child.send({ shape: plain, vips: Array.from({ length: routes }, (_unused, route) => vipOf(route)), port: HTTP_PORT, rate: Number(values.calls) } satisfies CallLoadOptions);
  await once(child, 'message');
  return {
    begin: () => void child.send('begin'),
    end: async () => {
      child.send('end');
      const [counts] = (await once(child, 'message')) as [CallCounts];
      return counts;
    },
  };
}

/** A program of this benchmark in a process of its own; `pod-servers.ts` says when it is ready. */
async function openChild(file: string, args: readonly string[]): Promise<ChildProcess> {
  const child = fork(join(import.meta.dirname, '../support/bench/change', file), args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  opened.push(() => child.kill());
  if (args.length > 0) await once(child, 'message');
  return child;
}

const pause = (ms: number): Promise<void> => delay(ms, undefined, { signal: interrupted.signal });

function report(result: ChangeResult): void {
  say(`\n${renderColumns(PHASE_COLUMNS, tabulatePhases(result.phases))}\n`);
  for (const line of describeFigures(result)) say(line);
  say(`\n${judge(result).map(describeVerdict).join('\n')}`);
}

async function writeDocs(result: ChangeResult): Promise<void> {
  const summary = { ...result, effectsMs: result.effectsMs.map(Math.round), phases: tabulatePhases(result.phases) };
  await mkdir(join(ROOT, 'test/bench/results'), { recursive: true });
  await writeFile(join(ROOT, 'test/bench/results/change.json'), `${JSON.stringify(summary, undefined, 1)}\n`);
  const machine = `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), Linux ${release()}`;
  const method = `${routes} routes of 2 versions, ${routes * 2 * shape.endpoints} endpoints, ${rate} changes a second for ${seconds} s, ${values.calls} calls and ${values.dns} DNS queries a second, source ${values.source}; everything shares the machine`;
  const text = [
    `${machine}. ${method}.`,
    renderTable(PHASE_COLUMNS, tabulatePhases(result.phases)),
    describeFigures(result).map((line) => `- ${line}`).join('\n'),
    judge(result).map((verdict) => `- ${describeVerdict(verdict)}`).join('\n'),
  ];
  const page = join(ROOT, 'docs/performance.md');
  await writeFile(page, fillPlace(await readFile(page, 'utf8'), 'change', text.join('\n\n')));
  say(`written: ${page}`);
}

// Last: the classes above are there only from their line on.
process.exitCode = await main();
