import { afterAll, beforeAll, expect, test } from 'vitest';
import { attachCluster } from '../support/cluster/cluster.ts';
import type { Cluster } from '../support/cluster/cluster.ts';
import type { Onehop } from '../support/cluster/installed-onehop.ts';
import { installOnehop } from '../support/cluster/onehop.ts';
import { Shop } from '../support/cluster/shop.ts';
import { startLoads } from '../support/cluster/test-pod.ts';
import type { Load, TestPod } from '../support/cluster/test-pod.ts';
import { callers, leadsTo, percentage, server, service, serviceRoute } from '../support/cluster/workloads.ts';
import { eventually } from '../support/lab/run.ts';

/** What people change with kubectl while others call from every node, on kept connections and on new ones. */
const NAMESPACE = 'changes';
/** A change is in effect on all nodes within this, also on a machine that does much else. */
const IN_EFFECT_MS = 10_000;
const SAMPLE = 600;
let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;
let web: readonly TestPod[];
/** Calls to a route that nobody changes: they go on through all tests. */
let bystanders: Load;

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, NAMESPACE);
  await shop.run(
    ...['n1', 'n2', 'n3'].map((node) => server({ namespace: NAMESPACE, name: `v1-${node}`, app: 'v1', node })),
    ...['n1', 'n3'].map((node) => server({ namespace: NAMESPACE, name: `v2-${node}`, app: 'v2', node })),
    service(NAMESPACE, 'v1'),
    service(NAMESPACE, 'v2'),
    serviceRoute(NAMESPACE, 'shop', percentage(['v1', 100], ['v2', 0])),
    serviceRoute(NAMESPACE, 'other', leadsTo('v1')),
    serviceRoute(NAMESPACE, 'leaving', leadsTo('v1')),
    callers(NAMESPACE, 'web'),
  );
  web = await shop.pods(NAMESPACE, 'web');
  await Promise.all(['shop', 'other', 'leaving'].map((name) => onehop.untilProgrammed(NAMESPACE, name)));
  await Promise.all(web.flatMap((pod) => ['shop', 'other', 'leaving'].map((name) => shop.untilCallable(pod, `http://${name}/`))));
  bystanders = await callEverywhere('http://other/', { intervalMs: 100 });
});
afterAll(() => shop.close());

/** Calls from all three nodes. */
const callEverywhere = (url: string, { intervalMs = 20 } = {}): Promise<Load> =>
  startLoads(...web.flatMap((pod) => [pod.load(url, { intervalMs }), pod.load(url, { intervalMs, connection: 'per-call' })]));

/** Sets the weights and waits until they are in effect on all nodes. Resolves with how long that took. */
async function setWeights(v1: number, v2: number): Promise<number> {
  const startedAt = performance.now();
  await cluster.apply(serviceRoute(NAMESPACE, 'shop', percentage(['v1', v1], ['v2', v2])));
  await onehop.untilServed(NAMESPACE, 'shop', (route) => route?.versions.map(({ weight }) => weight).join(' ') === `${v1} ${v2}`);
  return performance.now() - startedAt;
}

/** 600 calls from now on, from all nodes: how many each version answered, and what the others got. */
async function sample(): Promise<Readonly<Record<string, number>>> {
  const answers = (await Promise.all(web.map((pod) => pod.calls('http://shop/', SAMPLE / web.length)))).flat();
  const counts: Record<string, number> = {};
  for (const { status, version, reason, failure } of answers) {
    const key = status === 200 ? version : `${status} ${reason} ${failure}`.trim();
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

/** Whether a part of SAMPLE calls lies within 4 sigma of a share. */
function expectShare(count: number | undefined, share: number): void {
  expect(Math.abs((count ?? 0) - SAMPLE * share), `${count} of ${SAMPLE} for a share of ${share}`).toBeLessThanOrEqual(4 * Math.sqrt(SAMPLE * share * (1 - share)));
}

test('three nodes call', () => expect(web.map(({ node }) => node).sort()).toEqual(['n1', 'n2', 'n3']));

test('a canary goes from 0 to 10, 50 and 100 percent: no call fails, and each step is met within 4 sigma', async () => {
  const during = await callEverywhere('http://shop/');
  for (const share of [0, 10, 50, 100]) {
    expect(await setWeights(100 - share, share)).toBeLessThan(IN_EFFECT_MS);
    const counts = await sample();
    expect(Object.keys(counts).filter((key) => key !== 'v1' && key !== 'v2')).toEqual([]);
    expectShare(counts['v2'], share / 100);
  }
  expect((await during.stop()).failures).toEqual([]);
});

test("a version's Service is deleted and made again: only that version's calls get 503, and none after it is back", async () => {
  await setWeights(50, 50);
  const during = await callEverywhere('http://shop/');
  await cluster.kubectl(['-n', NAMESPACE, 'delete', 'service', 'v2']);
  await onehop.untilServed(NAMESPACE, 'shop', (route) => route?.versions[1]?.endpoints.length === 0);
  const without = await sample();
  await cluster.apply(service(NAMESPACE, 'v2'));
  await onehop.untilServed(NAMESPACE, 'shop', (route) => route?.versions[1]?.endpoints.length === 2);
  const after = await sample();
  const whole = await during.stop();

  expect(Object.keys(without).sort()).toEqual(['503 no-endpoints', 'v1']);
  expectShare(without['v1'], 0.5);
  expect(Object.keys(after).sort()).toEqual(['v1', 'v2']);
  expect([...new Set(whole.failures.map(({ message }) => message))]).toEqual(['503 no-endpoints']);
});

test('a deleted route is NXDOMAIN on every node, its access point goes, and its address is not given to the next routes', async () => {
  const vip = (await onehop.route(NAMESPACE, 'leaving')).status?.vip;
  expect((await cluster.get<{ spec: object }>('-n', NAMESPACE, 'service', 'leaving')).spec).toMatchObject({ type: 'ExternalName', externalName: `leaving.${NAMESPACE}.route.internal` });
  await cluster.kubectl(['-n', NAMESPACE, 'delete', 'serviceroute', 'leaving']);
  await onehop.untilServed(NAMESPACE, 'leaving', (route) => route === undefined);
  for (const node of cluster.nodes) {
    expect((await node.exec('dig', '@169.254.192.10', `leaving.${NAMESPACE}.route.internal`)).stdout).toContain('status: NXDOMAIN');
  }
  await eventually('the access point is gone', async () => (await cluster.tryKubectl(['-n', NAMESPACE, 'get', 'service', 'leaving'])).stderr.includes('NotFound'));
  await eventually('the name is gone in pods', async () => (await web[0]?.lookUp('leaving'))?.length === 0, 60_000);
  expect((await web[0]?.call(`http://${vip}/`))?.status).toBe(0);

  await cluster.apply(...['next-1', 'next-2', 'next-3'].map((name) => serviceRoute(NAMESPACE, name, leadsTo('v1'))));
  const next = await Promise.all(['next-1', 'next-2', 'next-3'].map((name) => onehop.untilProgrammed(NAMESPACE, name)));
  expect(next.map(({ status }) => status?.vip)).not.toContain(vip);
});

test('a Service of the same name that is not ours stays untouched: the route says Conflict and is served by its own name', async () => {
  await cluster.apply({ ...service(NAMESPACE, 'taken'), spec: { selector: { app: 'v2' }, ports: [{ port: 80, targetPort: 8080 }] } });
  const before = await cluster.get('-n', NAMESPACE, 'service', 'taken');
  await cluster.apply(serviceRoute(NAMESPACE, 'taken', leadsTo('v1')));
  const { status } = await onehop.untilProgrammed(NAMESPACE, 'taken');
  expect(status?.conditions?.find(({ type }) => type === 'Conflict')).toMatchObject({ status: 'True', reason: 'ServiceExists', message: expect.stringContaining(`${NAMESPACE}/taken`) });
  expect(await web[0]?.call(`http://taken.${NAMESPACE}.route.internal/`)).toMatchObject({ status: 200, version: 'v1' });
  expect(await web[0]?.call('http://taken/')).toMatchObject({ status: 200, version: 'v2' });
  await cluster.kubectl(['-n', NAMESPACE, 'delete', 'serviceroute', 'taken']);
  await onehop.untilServed(NAMESPACE, 'taken', (route) => route === undefined);
  expect(await cluster.get('-n', NAMESPACE, 'service', 'taken')).toEqual(before);
});

test('no call to a route that nobody changed failed meanwhile', async () => {
  const { calls, failures } = await bystanders.stop();
  expect(calls).toBeGreaterThan(1_000);
  expect(failures).toEqual([]);
});
