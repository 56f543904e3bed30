import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import { SYSTEM_NAMESPACE } from '../../support/cluster/installed-onehop.ts';
import type { Onehop } from '../../support/cluster/installed-onehop.ts';
import { startMixedLoad } from '../../support/cluster/mixed-load.ts';
import type { Target } from '../../support/cluster/mixed-load.ts';
import { installOnehop, untilRolledOut } from '../../support/cluster/onehop.ts';
import { watchReadiness } from '../../support/cluster/readiness-watch.ts';
import { Shop } from '../../support/cluster/shop.ts';
import { startLoads } from '../../support/cluster/test-pod.ts';
import type { LoadResult, TestPod } from '../../support/cluster/test-pod.ts';
import { callers, leadsTo, server, service, serviceRoute } from '../../support/cluster/workloads.ts';
import { eventually } from '../../support/lab/run.ts';

/**
 * What is rolled and scaled while pods of every node call, on kept connections and on new ones with a lookup of the name for each: no call
 * fails, and no lookup. The servers go on serving for 2 s after SIGTERM, as pods behind kube-proxy must too. More of it: faults.test.ts.
 */
const NAMESPACE = 'rollouts';
const CART = 'deployment/cart-pods';
let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;
let web: readonly TestPod[];

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, NAMESPACE);
  await shop.run(
    server({ namespace: NAMESPACE, name: 'cart-pods', replicas: 3 }),
    service(NAMESPACE, 'cart-pods'),
    serviceRoute(NAMESPACE, 'cart', leadsTo('cart-pods')),
    callers(NAMESPACE, 'web'),
  );
  web = await shop.pods(NAMESPACE, 'web');
  await onehop.untilProgrammed(NAMESPACE, 'cart');
  await Promise.all(web.map((pod) => shop.untilCallable(pod, 'http://cart/')));
});
afterAll(() => shop.close());

const kubectl = (...args: readonly string[]): Promise<string> => cluster.kubectl(['-n', NAMESPACE, ...args]);

/** Calls from every node while `change` happens. */
async function whileCalling(change: () => Promise<void>): Promise<LoadResult> {
  const load = await startLoads(...web.flatMap((pod) => [pod.load('http://cart/', { intervalMs: 40 }), pod.load('http://cart/', { intervalMs: 40, connection: 'per-call' })]));
  await change().catch(async (error: unknown) => {
    throw new Error(`${String(error)}; the load: ${JSON.stringify(await load.stop())}`, { cause: error });
  });
  const result = await load.stop();
  expect(result.calls).toBeGreaterThan(100);
  return result;
}

/** Waits until a call of every caller is answered by one of the pods that there are now. */
async function untilAllAreServed(): Promise<void> {
  await Promise.all(web.map((pod) => shop.untilCallable(pod, 'http://cart/')));
}

/** Of the main threads of all agents: time on a processor, and time in which they could have run but had none (proc(5), schedstat). */
async function processorTimes(): Promise<{ readonly ranMs: number; readonly waitedMs: number }> {
  const lines = await Promise.all(cluster.nodes.map(async (node) => (await node.exec('sh', '-c', 'cat /proc/$(pgrep -of "[o]nehop.mjs agent")/schedstat')).stdout.split(' ').map(Number)));
  const sum = (place: number): number => Math.round(lines.reduce((total, numbers) => total + (numbers[place] ?? 0), 0) / 1e6);
  return { ranMs: sum(0), waitedMs: sum(1) };
}

describe('the workload', () => {
  test('it is scaled to 0 and back: 503 no-endpoints while there is none', async () => {
    let goneAt = '';
    let noneAt = '';
    let backAt = '';
    const { failures } = await whileCalling(async () => {
      goneAt = new Date().toISOString();
      await kubectl('scale', CART, '--replicas=0');
      const reasons = await eventually('503', async () => {
        const answers = await Promise.all(web.map((pod) => pod.call('http://cart/')));
        return answers.every(({ status }) => status === 503) && answers.map(({ reason }) => reason);
      }, 30_000);
      expect(reasons).toEqual(web.map(() => 'no-endpoints'));
      noneAt = new Date().toISOString();
      await kubectl('scale', CART, '--replicas=3');
      await untilRolledOut(cluster, CART, NAMESPACE);
      await onehop.untilServed(NAMESPACE, 'cart', (route) => route?.versions[0]?.endpoints.length === 3);
      await untilAllAreServed();
      backAt = new Date().toISOString();
      // Long enough for a late failure to be seen.
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    });
    const begunAt = ({ at, afterMs }: LoadResult['failures'][number]): number => Date.parse(at) - afterMs;
    expect(failures.filter(({ at }) => at < goneAt || at > backAt)).toEqual([]);
    expect([...new Set(failures.filter((one) => begunAt(one) > Date.parse(noneAt)).map(({ message }) => message))]).toEqual(['503 no-endpoints']);
    // The last pod has stopped and this node does not know it yet: there is no other server to try.
    const earlier = new Set(failures.filter((one) => begunAt(one) <= Date.parse(noneAt)).map(({ message }) => message));
    expect([...earlier].filter((message) => message !== '503 no-endpoints' && message !== '502 connect-failed')).toEqual([]);
  });
});

describe('a version of ten pods', () => {
  /**
   * Aim: news of a pod reach every HAProxy within this, measured from the EndpointSlice as a watch beside the agents' gets it. It is printed, and
   * a far looser bound asserted: three nodes on the few cores of one machine that starts ten containers meanwhile wait for a processor, and not for news.
   * So of each last call it is also printed when its caller began it: between that and the pod lie three processes that want a processor.
   */
  const NEWS_MS = 100;
  /** Slower than this is no want of processors. */
  const LATEST_MS = 3_000;
  const CALL_LOG = '/var/lib/rollouts-calls';

  test('is rolled as Kubernetes does by default: no call failed, and it is said how long old pods were called', async () => {
    await Promise.all(cluster.nodes.map((node) => node.exec('rm', '-rf', CALL_LOG)));
    await shop.run(
      server({ namespace: NAMESPACE, name: 'ten-pods', replicas: 10, callLog: CALL_LOG, rollingUpdate: { maxSurge: '25%', maxUnavailable: '25%' } }),
      service(NAMESPACE, 'ten-pods'),
      serviceRoute(NAMESPACE, 'ten', leadsTo('ten-pods')),
    );
    await onehop.untilProgrammed(NAMESPACE, 'ten');
    await Promise.all(web.map((pod) => shop.untilCallable(pod, 'http://ten/')));
    const old = await shop.pods(NAMESPACE, 'ten-pods');
    expect(old).toHaveLength(10);

    const watch = await watchReadiness(cluster, NAMESPACE, 'ten-pods');
    const timesBefore = await processorTimes();
    const target: Target = { name: 'ten', url: 'http://ten/', keepAlive: true, intervalMs: 10, timeoutMs: 10_000, namespace: NAMESPACE, versions: ['ten-pods'] };
    // By the Service's own name: without Onehop, through kube-proxy.
    const direct: Target = { ...target, name: 'ten-pods', url: 'http://ten-pods/', keepAlive: false };
    const loads = await Promise.all(web.map((pod) => startMixedLoad(pod, { targets: [target, { ...target, keepAlive: false }, direct] })));
    await kubectl('rollout', 'restart', 'deployment/ten-pods');
    await untilRolledOut(cluster, 'deployment/ten-pods', NAMESPACE);
    await eventually('the old pods are gone', async () => (await kubectl('get', 'pods', '-l', 'app=ten-pods', '--no-headers')).trim().split('\n').length === 10, 60_000);
    const results = await Promise.all(loads.map((load) => load.stop()));
    const endedAtMs = watch.stop();
    const timesAfter = await processorTimes();

    const calls = await Promise.all(old.map(async ({ name, node }) => ({ name, lines: (await cluster.node(node).exec('cat', `${CALL_LOG}/${name}`)).stdout.split('\n') })));
    /** ms from the end of each pod to its last call of this kind, as it came or as it was sent; a pod that nobody called so has none. */
    const lastCalls = (kind: 'proxied' | 'direct', when: 'came' | 'sent'): readonly number[] =>
      calls
        .flatMap(({ name, lines }) => {
          const times = lines.filter((line) => line.endsWith(kind)).map((line) => Number(line.split(' ')[when === 'came' ? 0 : 1]) - (endedAtMs.get(name) ?? 0));
          return times.length === 0 ? [] : [Math.max(...times)];
        })
        .sort((x, y) => x - y);
    const [last, lastSent, lastDirect] = [lastCalls('proxied', 'came'), lastCalls('proxied', 'sent'), lastCalls('direct', 'came')];
    const failures = results.flatMap((result) => result.failures);
    const [failed, failedDirect] = [failures.filter(({ name }) => name === target.name), failures.filter(({ name }) => name === direct.name)];
    process.stdout.write(
      `rollouts: ${cluster.fabric}, 10 pods rolled under load: ${results.reduce((sum, { calls: count }) => sum + count, 0)} calls, ${failed.length} failed; the last call of each old pod, after it had stopped being ready: ` +
        `${last.join(' ')} ms (aim ${NEWS_MS}: met by ${last.filter((afterMs) => afterMs <= NEWS_MS).length}; the slowest call took ${Math.max(...results.map(({ maxMs }) => maxMs))} ms), sent at ${lastSent.join(' ')} ms; ` +
        `through kube-proxy at the same time: ${lastDirect.join(' ')} ms, ${failedDirect.length} failed; ` +
        `the agents' main threads ran for ${timesAfter.ranMs - timesBefore.ranMs} ms and waited for a processor for ${timesAfter.waitedMs - timesBefore.waitedMs} ms\n`,
    );
    expect({ failed, wrong: results.flatMap(({ wrong }) => wrong) }).toEqual({ failed: [], wrong: [] });
    expect([...endedAtMs.keys()].sort()).toEqual(old.map(({ name }) => name).sort());
    expect(last.length).toBeGreaterThan(old.length / 2);
    expect(last.filter((afterMs) => !(afterMs < LATEST_MS))).toEqual([]);
    const after = await shop.pods(NAMESPACE, 'ten-pods');
    expect(after.filter(({ name }) => !results.some(({ pods }) => (pods[name] ?? 0) > 0) || old.some((pod) => pod.name === name))).toEqual([]);
  });
});

describe('Onehop itself', () => {
  test('its controller is restarted: no call failed, nothing was made anew, and changes take effect', async () => {
    const before = await onehop.route(NAMESPACE, 'cart');
    const { failures } = await whileCalling(async () => {
      await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'rollout', 'restart', 'deployment/onehop-controller']);
      await untilRolledOut(cluster, 'deployment/onehop-controller');
      await cluster.apply(serviceRoute(NAMESPACE, 'cart', { ...leadsTo('cart-pods'), global: true }));
      await onehop.untilProgrammed(NAMESPACE, 'cart');
    });
    expect(failures).toEqual([]);
    expect((await onehop.route(NAMESPACE, 'cart')).status?.vip).toBe(before.status?.vip);
  });
});
