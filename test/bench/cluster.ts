import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, get, type RequestOptions } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openApiAccess } from '../../src/kube/io/open-api-access.ts';
import { openApiClient, type ApiClient } from '../../src/kube/io/open-api-client.ts';
import { openCluster, type Cluster } from '../support/cluster/cluster.ts';
import { loadObjects, moveSlice, routeName, sliceName, versionName, vipOf, type LoadPlan } from '../support/cluster/load-objects.ts';
import { eventually, must } from '../support/lab/run.ts';
import { cpuSeconds, findProcesses, memoryUse } from '../support/process-usage.ts';

/**
 * `npm run bench:cluster`: one compiled agent with its HAProxy against a real API server that holds the cluster of design section 8, once with few
 * large EndpointSlices and once with many small ones. Prints start to ready, memory, CPU and the time from a written change to the
 * first call that follows it. Root: everything runs in a network namespace of its own, with the pool and ports of a real node.
 */
const ROOT = join(import.meta.dirname, '../..');
const ENTRY = process.env['BENCH_ENTRY'] ?? join(ROOT, 'dist/onehop.mjs');
const PLANS: readonly LoadPlan[] = [
  { routes: 1000, slices: 1, endpoints: 5, pods: 100 },
  { routes: 1000, slices: 5, endpoints: 1, pods: 100 },
];
const SINGLE_CHANGES = 30;
const STREAM_CHANGES = 500;
const STREAM_PER_SECOND = 50;
const IDLE_SECONDS = 10;
const EFFECT_LIMIT_MS = 60_000;
const READY_LIMIT_MS = 120_000;
/** The route whose calls tell when a change is in effect; not among those that the stream changes. */
const WATCHED_ROUTE = 0;
/** Two servers that answer with their address. No interface has these addresses: a node's own ones are refused as endpoints. */
const SERVERS = ['10.127.1.1', '10.127.1.2'];
const LOCAL_NETWORK = '10.127.0.0/16';
const PATHS = ['/apis/paas.io/v1/serviceroutes', '/api/v1/services', '/apis/discovery.k8s.io/v1/endpointslices', '/api/v1/nodes'];

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const mb = (megabytes: number): string => `${megabytes.toFixed(0)} MB`;

if (process.env['BENCH_NETNS'] === undefined) process.exit(enterNamespace());
await must(['ip', 'link', 'set', 'lo', 'up']);
await must(['ip', 'route', 'add', 'local', LOCAL_NETWORK, 'dev', 'lo']);
const chosen = process.env['BENCH_PLAN'];
for (const [i, plan] of PLANS.entries()) if (chosen === undefined || chosen === String(i)) await bench(plan);

/** Runs this file again in a network namespace that ends with it. */
function enterNamespace(): number {
  if (process.getuid?.() !== 0) {
    say('bench:cluster needs root, for a network namespace of its own');
    return 3;
  }
  if (!existsSync(ENTRY)) {
    say(`${ENTRY} is missing: npm run build`);
    return 3;
  }
  const { status } = spawnSync('unshare', ['--net', process.execPath, import.meta.filename], { stdio: 'inherit', env: { ...process.env, BENCH_NETNS: '1' } });
  return status ?? 1;
}

async function bench(plan: LoadPlan): Promise<void> {
  const slices = plan.routes * 2 * plan.slices;
  say(`\n${plan.routes} routes of 2 versions, ${slices} EndpointSlices of ${plan.endpoints}, ${slices * plan.endpoints} endpoints, ${plan.pods} pods of this node`);
  const folder = await mkdtemp(join(tmpdir(), 'onehop-bench-cluster-'));
  const started: ChildProcess[] = [];
  const cluster = await openCluster({ name: process.env['BENCH_LAB'] ?? 'bench', nodes: 0 });
  const client = openApiClient(await openApiAccess({ kubeconfig: cluster.kubeconfig }), { userAgent: 'onehop-bench' });
  const servers = SERVERS.map((address) => createServer((_, response) => response.end(address)));
  try {
    await prepare(cluster, client, plan);
    const floor = await holdLists(cluster, started);
    const listening = servers.map(async (server, i) => once(server.listen(8080, SERVERS[i]), 'listening'));
    await Promise.all(listening);
    await measureAgent(cluster, client, plan, join(folder, 'run'), floor, started);
  } finally {
    for (const server of servers) server.close();
    for (const child of started) if (child.exitCode === null && child.kill()) await once(child, 'exit');
    client.close();
    await cluster.close();
    await rm(folder, { recursive: true });
  }
}

async function prepare(cluster: Cluster, client: ApiClient, plan: LoadPlan): Promise<void> {
  const startMs = performance.now();
  await cluster.kubectl(['apply', '-f', join(ROOT, 'daemonset/base/crd.yaml')]);
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd/serviceroutes.paas.io']);
  await loadObjects(client, plan);
  await prepareWatched(client, plan);
  say(`loaded into the API server in ${((performance.now() - startMs) / 1000).toFixed(0)} s`);
}

/** A bare Node process that lists the same objects once and holds them: what any client in this language would take, at least. */
async function holdLists(cluster: Cluster, started: ChildProcess[]): Promise<{ readonly rss: number; readonly cpu: number }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../support/cluster/hold-lists.ts'), cluster.kubeconfig, ...PATHS], { stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child);
  await once(child.stdout, 'data');
  const pid = child.pid ?? 0;
  const floor = { rss: (await memoryUse(pid)).rss, cpu: await cpuSeconds(pid) };
  child.kill();
  await once(child, 'exit');
  return floor;
}

async function measureAgent(cluster: Cluster, client: ApiClient, plan: LoadPlan, runDir: string, floor: { readonly rss: number; readonly cpu: number }, started: ChildProcess[]): Promise<void> {
  const startMs = performance.now();
  const agent = startAgent(cluster, runDir);
  started.push(agent);
  const pid = agent.pid ?? 0;
  await eventually('the agent is ready', async () => {
    if (agent.exitCode !== null) throw new Error(`the agent ended with code ${agent.exitCode}`);
    return (await ask(runDir, '/readyz')).status === 200;
  }, READY_LIMIT_MS);
  const readyMs = performance.now() - startMs;
  const startCpu = await cpuSeconds(pid);
  await delay(5_000);
  const use = await memoryUse(pid);
  const haproxy = async (): Promise<readonly number[]> => findProcesses('haproxy', runDir);
  const total = async (read: (pid: number) => Promise<number>): Promise<number> => (await Promise.all((await haproxy()).map((one) => read(one).catch(() => 0)))).reduce((sum, one) => sum + one, 0);
  say(`start to ready ${readyMs.toFixed(0)} ms; CPU until then ${startCpu.toFixed(2)} s (${(startCpu / floor.cpu).toFixed(1)} x a bare list)`);
  say(`agent RSS ${mb(use.rss)}, of it ${mb(use.own)} its own; peak ${mb(use.peak)}; bare Node with the same JSON ${mb(floor.rss)} (ratio ${(use.rss / floor.rss).toFixed(2)})`);
  say(`HAProxy RSS ${mb(await total(async (one) => (await memoryUse(one)).rss))} in ${(await haproxy()).length} processes`);

  const idleCpu = await spent(pid, () => delay(IDLE_SECONDS * 1000));
  say(`idle: ${((idleCpu / IDLE_SECONDS) * 100).toFixed(1)} % of a CPU`);

  const haproxyBefore = await total(cpuSeconds);
  const latencies: number[] = [];
  const singleCpu = await spent(pid, async () => {
    for (let i = 0; i < SINGLE_CHANGES; i++) {
      latencies.push(await latencyMs(client, i));
      await delay(200);
    }
  });
  latencies.sort((a, b) => a - b);
  const at = (share: number): string => (latencies[Math.ceil(latencies.length * share) - 1] ?? Number.NaN).toFixed(0);
  say(`one change at a time: written to in effect p50 ${at(0.5)} ms, p99 ${at(0.99)} ms; agent ${((singleCpu / SINGLE_CHANGES) * 1000).toFixed(0)} ms, HAProxy ${(((await total(cpuSeconds)) - haproxyBefore) / SINGLE_CHANGES * 1000).toFixed(0)} ms of CPU per change`);

  const streamCpu = await spent(pid, () => changeSteadily(client, plan));
  const after = await memoryUse(pid);
  say(`${STREAM_CHANGES} changes, ${STREAM_PER_SECOND} a second: agent ${((streamCpu / STREAM_CHANGES) * 1000).toFixed(1)} ms of CPU per change; RSS after ${mb(after.rss)}, own ${mb(after.own)}, peak ${mb(after.peak)}`);
  // The first scrape reads every counter of HAProxy.
  const metrics = (await ask(runDir, '/metrics')).body.split('\n').filter((line) => /^onehop_(api|kube|source|watch)/.test(line));
  for (const line of metrics) say(line);
}

function startAgent(cluster: Cluster, runDir: string): ChildProcess {
  const flags = ['--source=kubernetes', `--kubeconfig=${cluster.kubeconfig}`, '--node-name=n1', `--run-dir=${runDir}`, `--state-dir=${runDir}-state`, '--log-level=warn', '--log-format=json'];
  const node = (process.env['BENCH_NODE_FLAGS'] ?? '').split(' ').filter((flag) => flag !== '');
  // As the image and the systemd unit start it. A machine's own certificates are read into every Node process; a pod has none.
  const env = { ...process.env, MALLOC_ARENA_MAX: '2', NODE_EXTRA_CA_CERTS: undefined };
  return spawn(process.execPath, [...node, ENTRY, 'agent', ...flags], { stdio: ['ignore', 'inherit', 'inherit'], env });
}

/** All calls of the watched route go to one slice. */
async function prepareWatched(client: ApiClient, plan: LoadPlan): Promise<void> {
  const { namespace } = sliceName(WATCHED_ROUTE, 0, 0);
  const to = [100, 0].map((rule, version) => ({ kind: 'Service', name: versionName(WATCHED_ROUTE, version), balance: { rule } }));
  const path = `/apis/paas.io/v1/namespaces/${namespace}/serviceroutes/${routeName(WATCHED_ROUTE)}`;
  await client.request('PATCH', path, { body: { spec: { to } }, contentType: 'application/merge-patch+json' });
  for (let slice = 1; slice < plan.slices; slice++) await moveSlice(client, sliceName(WATCHED_ROUTE, 0, slice), []);
  await moveSlice(client, sliceName(WATCHED_ROUTE, 0, 0), [SERVERS[1] ?? '']);
}

/** Moves the watched route to the other server and calls it until that one answers; from the write's answer on. */
async function latencyMs(client: ApiClient, turn: number): Promise<number> {
  const server = SERVERS[turn % 2] ?? '';
  await moveSlice(client, sliceName(WATCHED_ROUTE, 0, 0), [server]);
  const startMs = performance.now();
  while ((await call(vipOf(WATCHED_ROUTE))) !== server) {
    if (performance.now() - startMs > EFFECT_LIMIT_MS) throw new Error(`the change is not in effect after ${EFFECT_LIMIT_MS} ms`);
    await delay(2);
  }
  return performance.now() - startMs;
}

/** Slices of other routes, each moved to addresses of its own. */
async function changeSteadily(client: ApiClient, plan: LoadPlan): Promise<void> {
  const startMs = performance.now();
  for (let i = 0; i < STREAM_CHANGES; i++) {
    const route = 1 + ((i * 7) % (plan.routes - 1));
    await moveSlice(client, sliceName(route, i % 2, i % plan.slices), Array.from({ length: plan.endpoints }, (_, n) => `10.120.${i & 255}.${n + (i >> 8) * 100}`));
    await delay(Math.max(0, startMs + ((i + 1) * 1000) / STREAM_PER_SECOND - performance.now()));
  }
  await delay(2_000);
}

/** CPU seconds that a process spends meanwhile. */
async function spent(pid: number, work: () => Promise<unknown>): Promise<number> {
  const before = await cpuSeconds(pid);
  await work();
  return (await cpuSeconds(pid)) - before;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The body of one call on a connection of its own; empty when it failed. */
async function call(address: string): Promise<string> {
  return (await read({ host: address, port: 80, agent: false, timeout: 1_000 })).body;
}

function ask(runDir: string, path: string): Promise<Answer> {
  return read({ socketPath: join(runDir, 'admin.sock'), path, agent: false });
}

function read(options: RequestOptions): Promise<Answer> {
  return new Promise((resolve) => {
    const failed = (): void => resolve({ status: 0, body: '' });
    const request = get(options, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => (body += text));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', failed);
    });
    request.on('error', failed);
    request.on('timeout', () => request.destroy());
  });
}
