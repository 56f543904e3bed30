import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../support/cluster/cluster.ts';
import type { Cluster } from '../support/cluster/cluster.ts';
import { SYSTEM_NAMESPACE } from '../support/cluster/installed-onehop.ts';
import type { Onehop } from '../support/cluster/installed-onehop.ts';
import { installOnehop, untilRolledOut } from '../support/cluster/onehop.ts';
import { Shop } from '../support/cluster/shop.ts';
import { startLoads } from '../support/cluster/test-pod.ts';
import type { LoadResult, TestPod } from '../support/cluster/test-pod.ts';
import { callers, leadsTo, server, service, serviceRoute } from '../support/cluster/workloads.ts';
import { eventually } from '../support/lab/run.ts';

/**
 * What is rolled, scaled, drained and restarted while pods of every node call, on kept connections and on new ones with a lookup of the
 * name for each: no call fails, and no lookup. The servers go on serving for 2 s after SIGTERM, as pods behind kube-proxy must too.
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
afterAll(async () => {
  await cluster.kubectl(['uncordon', ...cluster.nodes.map(({ name }) => name)]);
  await shop.close();
});

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

describe('the workload', () => {
  test('a Deployment is rolled: all pods are new, and no call failed', async () => {
    const before = await shop.pods(NAMESPACE, 'cart-pods');
    const { failures, pods } = await whileCalling(async () => {
      await kubectl('rollout', 'restart', CART);
      await untilRolledOut(cluster, CART, NAMESPACE);
      await eventually('the old pods are gone', async () => (await kubectl('get', 'pods', '-l', 'app=cart-pods', '--no-headers')).trim().split('\n').length === 3, 60_000);
    });
    expect(failures).toEqual([]);
    const after = await shop.pods(NAMESPACE, 'cart-pods');
    expect(after.map(({ name }) => name).filter((name) => before.some((pod) => pod.name === name))).toEqual([]);
    expect(after.every(({ name }) => (pods[name] ?? 0) > 0)).toBe(true);
  });

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

  test('a node is drained and takes pods again: no call failed', async () => {
    // The lab has one CoreDNS: another node, so that this is about Onehop.
    const dnsNode = await cluster.kubectl(['-n', 'kube-system', 'get', 'pods', '-l', 'k8s-app=kube-dns', '-o', 'jsonpath={.items[0].spec.nodeName}']);
    const node = (await shop.pods(NAMESPACE, 'cart-pods')).map((pod) => pod.node).find((name) => name !== dnsNode) ?? '';
    const { failures } = await whileCalling(async () => {
      await cluster.kubectl(['drain', node, '--ignore-daemonsets', '--delete-emptydir-data', '--force', '--timeout=90s']);
      await untilRolledOut(cluster, CART, NAMESPACE);
      expect((await shop.pods(NAMESPACE, 'cart-pods')).map((pod) => pod.node)).not.toContain(node);
      await cluster.kubectl(['uncordon', node]);
    });
    expect(failures).toEqual([]);
  });
});

describe('Onehop itself', () => {
  test('its DaemonSet is restarted: every agent is new, no call and no lookup failed', async () => {
    const before = await Promise.all(cluster.nodes.map(({ name }) => onehop.agentPod(name)));
    const { failures } = await whileCalling(async () => {
      await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'rollout', 'restart', 'daemonset/onehop']);
      await untilRolledOut(cluster, 'daemonset/onehop');
      // The old generations drain.
      await eventually('one generation per node', async () => {
        const pods = await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'get', 'pods', '-l', 'app.kubernetes.io/component=agent', '--no-headers']);
        return pods.trim().split('\n').length === cluster.nodes.length;
      }, 90_000);
    });
    expect(failures).toEqual([]);
    const after = await Promise.all(cluster.nodes.map(({ name }) => onehop.agentPod(name)));
    expect(after.filter(({ metadata }) => before.some((pod) => pod.metadata.uid === metadata.uid))).toEqual([]);
  });

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
