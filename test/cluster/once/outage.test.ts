import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import { CLUSTER_DNS_ADDRESS } from '../../support/cluster/coredns.ts';
import type { Onehop, PodObject, RouteObject } from '../../support/cluster/installed-onehop.ts';
import { installOnehop } from '../../support/cluster/onehop.ts';
import { Shop } from '../../support/cluster/shop.ts';
import { startLoads } from '../../support/cluster/test-pod.ts';
import type { Load, TestPod } from '../../support/cluster/test-pod.ts';
import { callers, percentage, server, service, serviceRoute } from '../../support/cluster/workloads.ts';
import { eventually } from '../../support/lab/run.ts';

/**
 * The API server is away, under load from every node; meanwhile one agent is killed and comes up with nobody to tell it anything, and a
 * server is killed. No call fails, and none after the API server is back; then everything changes at once, and every node follows without
 * having listed everything again. The tests of this file are one story, in this order.
 */
const NAMESPACE = 'outage';
const NODES = ['n1', 'n2', 'n3'];
/** Routes that stay; one more goes when the API server is back. */
const KEPT = ['cart', 'mail', 'stock'];
const ROUTE_NAMES = [...KEPT, 'pay'];
/** How long it is away at least. */
const AWAY_MS = 120_000;
/**
 * An agent tries a watch that failed for long again after 30 s at most, and lists within 5 s after its 410; but the way to the API server is
 * kube-proxy's, which has taken it away and looks again after up to 60 s (client-go). What is left is for a busy machine.
 */
const BACK_MS = 150_000;
/** What an agent reads: routes, Services, slices, nodes, pods, codes of callers; and a controller: routes, Services, reports, namespaces. */
const WATCHES = { agent: 6, controller: 4 };
let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;
let web: readonly TestPod[];
let load: Load;
/** The node of CoreDNS: its agent is the first that the cluster's DNS asks. */
let dnsNode: string;
let awayAtMs = 0;
/** Of the agents' pods, by node. */
let agentUids: Readonly<Record<string, string>>;
/** Of the servers' pods, by node. */
let serverUids: Readonly<Record<string, string>>;
let restartedAt: string;
let before: readonly NodeState[];
let keptBefore: readonly object[];
/** `node resource`. */
const relistsBefore: Record<string, number> = {};

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, NAMESPACE);
  await shop.run(
    ...NODES.map((node) => server({ namespace: NAMESPACE, name: `a-${node}`, app: 'a', node })),
    server({ namespace: NAMESPACE, name: 'b', replicas: 2 }),
    service(NAMESPACE, 'a'),
    service(NAMESPACE, 'b'),
    ...ROUTE_NAMES.map((name) => serviceRoute(NAMESPACE, name, weights(100, 0))),
    callers(NAMESPACE, 'web'),
  );
  web = await shop.pods(NAMESPACE, 'web');
  const routes = await Promise.all(ROUTE_NAMES.map((name) => onehop.untilProgrammed(NAMESPACE, name)));
  await Promise.all(web.flatMap((pod) => ROUTE_NAMES.map((name) => shop.untilCallable(pod, `http://${name}/`))));
  dnsNode = await cluster.kubectl(['-n', 'kube-system', 'get', 'pods', '-l', 'k8s-app=kube-dns', '-o', 'jsonpath={.items[0].spec.nodeName}']);
  before = await Promise.all(NODES.map(readNode));
  keptBefore = await readKept();
  for (const node of NODES) {
    const lists = ((await askAgent(node, '/metrics')) ?? '').matchAll(/^onehop_source_relists_total\{resource="(.+)"\} (\d+)$/gm);
    for (const [, resource = '', count] of lists) relistsBefore[`${node} ${resource}`] = Number(count);
  }
  agentUids = Object.fromEntries(await Promise.all(NODES.map(async (node) => [node, (await onehop.agentPod(node)).metadata.uid])));
  const servers = await cluster.get<{ items: readonly PodObject[] }>('-n', NAMESPACE, 'pods', '-l', 'app=a');
  serverUids = Object.fromEntries(servers.items.map(({ spec, metadata }) => [spec.nodeName, metadata.uid]));
  const vip = routes[0]?.status?.vip ?? '';
  load = await startLoads(
    ...web.flatMap((pod) => [
      pod.load('http://cart/', { intervalMs: 50, workers: 1 }),
      pod.load('http://stock/', { intervalMs: 50, workers: 1, connection: 'per-call' }),
      pod.load(`http://${vip}/`, { intervalMs: 50, workers: 1, connection: 'per-call' }),
    ]),
  );
});
afterAll(async () => {
  // Others use this cluster too.
  if ((await cluster.tryKubectl(['get', '--raw', '/readyz'])).code !== 0) await cluster.apiServer.start();
  await shop.close();
});

const weights = (a: number, b: number): ReturnType<typeof percentage> => percentage(['a', a], ['b', b]);

/** What of a node an agent must not touch when it starts again. */
interface NodeState {
  readonly node: string;
  /** HAProxy's processes: a reload brings another one. */
  readonly haproxy: string;
  readonly poolRoute: string;
  readonly claimTable: string;
}

async function readNode(node: string): Promise<NodeState> {
  const say = async (...argv: readonly string[]): Promise<string> => (await cluster.node(node).exec(...argv)).stdout;
  return {
    node,
    haproxy: await say('pgrep', '-x', 'haproxy'),
    poolRoute: await say('ip', 'route', 'show', 'table', 'local', '169.254.192.0/19'),
    claimTable: await say('nft', 'list', 'table', 'ip', 'onehop'),
  };
}

interface SliceObject {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly ports: readonly { readonly port: number }[];
  readonly endpoints?: readonly { readonly addresses: readonly string[]; readonly conditions?: { readonly ready?: boolean } }[];
}

interface RouteSpecObject extends RouteObject {
  readonly spec: { readonly to: readonly { readonly name: string; readonly balance: { readonly rule: number } }[] };
}

/** One line per route: address, and per version weight and ready servers. As the API server has them now, and in the simplest way. */
async function freshRoutes(): Promise<readonly string[]> {
  const [routes, slices] = await Promise.all([
    cluster.get<{ items: readonly RouteSpecObject[] }>('-n', NAMESPACE, 'serviceroutes'),
    cluster.get<{ items: readonly SliceObject[] }>('-n', NAMESPACE, 'endpointslices'),
  ]);
  const serversOf = (service: string): readonly string[] =>
    slices.items
      .filter(({ metadata }) => metadata.labels['kubernetes.io/service-name'] === service)
      .flatMap(({ ports, endpoints = [] }) => endpoints.filter(({ conditions }) => conditions?.ready !== false).map(({ addresses }) => `${addresses[0]}:${ports[0]?.port}`));
  return routes.items.map(({ metadata, status, spec }) => line(metadata.name, status?.vip, spec.to.map(({ name, balance }) => ({ name, weight: balance.rule, servers: serversOf(name) })))).sort();
}

/** The same, as an agent has it in effect. */
async function servedRoutes(node: string): Promise<readonly string[]> {
  const { routes } = await onehop.routes(node).catch(() => ({ routes: [] }));
  return routes
    .filter(({ namespace }) => namespace === NAMESPACE)
    .map(({ name, vip, versions }) => {
      const ready = versions.map(({ endpoints }) => endpoints.filter(({ state }) => state === 'ready').map(({ address, port }) => `${address}:${port}`));
      return line(name, vip, versions.map(({ name, weight }, i) => ({ name, weight, servers: ready[i] ?? [] })));
    })
    .sort();
}

const line = (name: string, vip: string | undefined, versions: readonly { readonly name: string; readonly weight?: number | undefined; readonly servers: readonly string[] }[]): string =>
  `${name} ${vip} ${versions.map(({ name, weight, servers }) => `${name} ${weight} % ${servers.toSorted().join(' ')}`).join(', ')}`;

/** Addresses, and the resourceVersions of access points: what a change of a route's weights must not touch. */
async function readKept(): Promise<readonly object[]> {
  return Promise.all(
    KEPT.map(async (name) => {
      const { metadata } = await cluster.get<{ metadata: { resourceVersion: string } }>('-n', NAMESPACE, 'service', name);
      return { name, vip: (await onehop.route(NAMESPACE, name)).status?.vip, accessPoint: metadata.resourceVersion };
    }),
  );
}

/** GET of a node's agent on its admin.sock; undefined: nobody answers. */
async function askAgent(node: string, path: string): Promise<string | undefined> {
  const { code, stdout } = await cluster.node(node).exec('curl', '-s', '-m', '5', '--unix-socket', '/run/onehop/current/admin.sock', `http://agent${path}`);
  return code === 0 ? stdout : undefined;
}

async function agentStartedAt(node: string): Promise<string | undefined> {
  return /^process_start_time_seconds (.+)$/m.exec((await askAgent(node, '/metrics')) ?? '')?.[1];
}

/** What nobody but this test asks: not in CoreDNS's cache the first time. */
const QUESTIONS = ROUTE_NAMES.flatMap((name) => [`${name}.${NAMESPACE}.route.internal TXT`, `_http._tcp.${name}.${NAMESPACE}.route.internal SRV`]);
const ANSWERED = QUESTIONS.map((question) => `${question}: NOERROR, 1`);

/** Status and count of the answers, through the cluster's DNS. */
async function askDns(node: string): Promise<readonly string[]> {
  return Promise.all(
    QUESTIONS.map(async (question) => {
      const { stdout } = await cluster.node(node).exec('dig', '+time=3', '+tries=2', `@${CLUSTER_DNS_ADDRESS}`, ...question.split(' '));
      return `${question}: ${/status: (\w+)/.exec(stdout)?.[1]}, ${/ANSWER: (\d+)/.exec(stdout)?.[1]}`;
    }),
  );
}

test('the API server goes away: calls go on, from every node', async () => {
  await cluster.apiServer.stop();
  awayAtMs = performance.now();
  const answers = await Promise.all(web.map((pod) => pod.call('http://cart/')));
  expect(answers.map(({ status, node }) => [status, node])).toEqual(web.map(({ node }) => [200, node]));
});

test('an agent is killed meanwhile: it comes up, serves what it knew, says what it waits for, and leaves all that serves as it is', async () => {
  const startedAt = await agentStartedAt(dnsNode);
  expect(startedAt).toBeDefined();
  await cluster.node(dnsNode).killContainer(agentUids[dnsNode] ?? '', 'agent');
  restartedAt = await eventually('it is started again', async () => {
    const now = await agentStartedAt(dnsNode);
    return now !== startedAt && now;
  }, 60_000);
  expect(await eventually('it says what it waits for', async () => {
    const why = await askAgent(dnsNode, '/readyz');
    return why?.startsWith('ready') === true && why.includes('cannot be reached') && why;
  })).toMatch(/^ready\nsource: serving the snapshot of .*see that https:\/\/10\.96\.0\.1 can be reached from this node\)$/m);
  expect(await readNode(dnsNode)).toEqual(before.find(({ node }) => node === dnsNode));
  expect(await askDns(dnsNode)).toEqual(ANSWERED);
});

test('a server is killed meanwhile, again and again: another replica serves its callers, until it is back', async () => {
  const caller = web.find(({ node }) => node !== dnsNode);
  if (caller === undefined) throw new Error('all callers are on one node');
  const servedBy = async (isOwn: boolean): Promise<boolean> => {
    const { status, failure, reason, node } = await caller.call('http://cart/');
    expect({ status, failure, reason }).toEqual({ status: 200, failure: '', reason: '' });
    return (node === caller.node) === isOwn;
  };
  // The first end of a container is mended at once; after the second the kubelet waits 10 s.
  for (let times = 0; times < 2; times++) {
    await eventually('its own replica serves', () => servedBy(true), 60_000);
    await cluster.node(caller.node).killContainer(serverUids[caller.node] ?? '', 'tools');
  }
  await eventually('another replica serves', () => servedBy(false), 30_000);
  await eventually('its own replica serves again', () => servedBy(true), 60_000);
});

test('the agent that came up alone was not started again, and HAProxy served all the time', async () => {
  await delay(Math.max(0, awayAtMs + AWAY_MS - performance.now()));
  expect(await agentStartedAt(dnsNode)).toBe(restartedAt);
  expect(await Promise.all(NODES.map(readNode))).toEqual(before);
  expect(await askDns(dnsNode)).toEqual(ANSWERED);
});

describe('it is back', () => {
  let backAt: Date;

  test('everything changes at once, and every node follows: it has what a fresh list says', { timeout: 3 * BACK_MS }, async () => {
    backAt = new Date();
    await cluster.apiServer.start();
    await cluster.apply(...KEPT.map((name) => serviceRoute(NAMESPACE, name, weights(50, 50))), serviceRoute(NAMESPACE, 'fresh', weights(0, 100)));
    await cluster.kubectl(['-n', NAMESPACE, 'delete', 'serviceroute', 'pay']);
    await cluster.kubectl(['-n', NAMESPACE, 'scale', 'deployment/b', '--replicas=3']);
    await cluster.kubectl(['-n', NAMESPACE, 'delete', 'deployment', 'a-n3']);
    for (const node of NODES) {
      let seen = '';
      const isSame = async (): Promise<boolean> => {
        const [wanted, served] = await Promise.all([freshRoutes(), servedRoutes(node)]);
        seen = `wanted\n${wanted.join('\n')}\nthere is\n${served.join('\n')}`;
        return wanted.join() === served.join();
      };
      await eventually(`${node} is in step`, isSame, BACK_MS).catch((error: unknown) => {
        throw new Error(`${String(error)}; ${seen}`, { cause: error });
      });
    }
    expect((await freshRoutes()).map((line) => line.split(' ')[0])).toEqual(['cart', 'fresh', 'mail', 'stock']);
    await Promise.all([...KEPT, 'fresh'].map((name) => onehop.untilProgrammed(NAMESPACE, name)));
    expect(await askAgent(dnsNode, '/readyz')).toBe('ready\n');
  });

  test('new names resolve: the cluster\'s DNS follows Services again', { timeout: 2 * BACK_MS }, async () => {
    // CoreDNS watches on its own; after a long absence of the API server it takes a while to come back.
    const isCallable = async (): Promise<boolean> => (await Promise.all(web.map((pod) => pod.call('http://fresh/')))).every(({ status }) => status === 200);
    expect(await eventually('all nodes call the new route by its name', isCallable, BACK_MS)).toBe(true);
  });

  test('no call failed, before, during and after; nothing that was not changed was written', async () => {
    const { calls, failures, pods } = await load.stop();
    expect(failures).toEqual([]);
    expect(calls).toBeGreaterThan((AWAY_MS / 1000) * 20);
    expect(Object.keys(pods).length).toBeGreaterThanOrEqual(NODES.length);
    expect(await readKept()).toEqual(keptBefore);
  });

  test('nobody listed everything again and again: each watch was listed once at most', async () => {
    for (const node of NODES.filter((name) => name !== dnsNode)) {
      const lists = [...((await askAgent(node, '/metrics')) ?? '').matchAll(/^onehop_source_relists_total\{resource="(.+)"\} (\d+)$/gm)];
      expect(lists.length).toBe(WATCHES.agent);
      for (const [, resource = '', count] of lists) expect(Number(count) - (relistsBefore[`${node} ${resource}`] ?? 0), `${node} ${resource}`).toBeLessThanOrEqual(1);
    }
    // What the API server itself says of it. A list may meet a server that does not know its roles yet.
    const since = (await cluster.auditedRequests()).filter(({ at, verb }) => at >= backAt && verb === 'list');
    const of = (account: string, isDone: boolean): number => since.filter(({ user, status }) => user.endsWith(`:${account}`) && (status < 300) === isDone).length;
    expect(of('onehop-agent', true)).toBeLessThanOrEqual(NODES.length * WATCHES.agent);
    expect(of('onehop-controller', true)).toBeLessThanOrEqual(2 * WATCHES.controller);
    expect(of('onehop-agent', false) + of('onehop-controller', false)).toBeLessThanOrEqual(NODES.length * WATCHES.agent + 2 * WATCHES.controller);
  });
});
