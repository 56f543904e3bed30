import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../support/cluster/cluster.ts';
import type { Cluster } from '../support/cluster/cluster.ts';
import { FabricMeter } from '../support/cluster/fabric-meter.ts';
import type { Onehop } from '../support/cluster/installed-onehop.ts';
import { installOnehop } from '../support/cluster/onehop.ts';
import { Shop } from '../support/cluster/shop.ts';
import { startLoads } from '../support/cluster/test-pod.ts';
import type { Answer, LoadResult, TestPod } from '../support/cluster/test-pod.ts';
import { caller, leadsTo, server, service, serviceRoute } from '../support/cluster/workloads.ts';
import { eventually } from '../support/lab/run.ts';

/** A call stays on its node while a ready replica runs there, leaves it without a failed GET when none does, and comes back. */
let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;
/** Calls from n1, where a replica runs, and from n3, where none does. */
let web: TestPod;
let far: TestPod;
let meter: FabricMeter;
let url: string;

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, 'near');
  meter = await FabricMeter.open(cluster, 'n1');
  await shop.run(
    server({ namespace: 'near', name: 'cart-n1', app: 'cart-pods', node: 'n1' }),
    server({ namespace: 'near', name: 'cart-n2', app: 'cart-pods', node: 'n2' }),
    service('near', 'cart-pods'),
    serviceRoute('near', 'cart', leadsTo('cart-pods')),
    caller({ namespace: 'near', name: 'web', node: 'n1' }),
    caller({ namespace: 'near', name: 'far', node: 'n3' }),
  );
  [web, far] = await Promise.all([shop.pod('near', 'web'), shop.pod('near', 'far')]);
  await onehop.untilProgrammed('near', 'cart');
  await shop.untilCallable(web, 'http://cart/');
  // By its address: looking up the name would ask CoreDNS, which may run on another node.
  url = `http://${(await onehop.route('near', 'cart')).status?.vip}/`;
});
afterAll(async () => {
  await cluster.kubectl(['uncordon', 'n1']);
  await meter.close();
  await shop.close();
});

const nodesOf = (answers: readonly Answer[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { status, reason, failure, node } of answers) {
    const key = status === 200 ? node : `${status} ${reason} ${failure}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
};

/** Waits until ten calls in a row are answered by one node. */
async function untilServedBy(from: TestPod, node: string): Promise<void> {
  let last: unknown;
  await eventually(`${from.name} is served by ${node}`, async () => {
    last = nodesOf(await from.calls(url, 10));
    return (last as Record<string, number>)[node] === 10;
  }, 45_000).catch((error: unknown) => {
    throw new Error(`${String(error)}; last: ${JSON.stringify(last)}`, { cause: error });
  });
}

/**
 * 200 calls are answered on the caller's node, and meanwhile no packet to or from a server crosses its border. Asked again for a while:
 * the proxy's first checks of far servers, and the end of connections that it kept to them, may fall into the same moment.
 */
async function stays(): Promise<void> {
  await eventually('no packet of 200 calls leaves the node', async () => {
    const before = await meter.packets();
    expect(nodesOf(await web.calls(url, 200))).toEqual({ n1: 200 });
    return (await meter.packets()) === before;
  });
}

/** Calls from n1 on kept connections and on new ones, while `change` happens. */
async function failuresDuring(change: () => Promise<void>): Promise<LoadResult['failures']> {
  const load = await startLoads(web.load(url, { workers: 4 }), web.load(url, { workers: 4, connection: 'per-call' }));
  await change().catch(async (error: unknown) => {
    throw new Error(`${String(error)}; the load: ${JSON.stringify(await load.stop())}`, { cause: error });
  });
  // A late failure is seen, too.
  await delay(2_000);
  const { calls, failures } = await load.stop();
  expect(calls).toBeGreaterThan(100);
  return failures;
}

test('with a ready replica on the node of the caller, no packet of 200 calls leaves it', () => expect(stays()).resolves.toBeUndefined());

test('from a node without a replica calls go to the nodes that have one: the meter counts them', async () => {
  const remote = await FabricMeter.open(cluster, 'n3');
  const before = await remote.packets();
  const answers = nodesOf(await far.calls(url, 100));
  expect((answers['n1'] ?? 0) + (answers['n2'] ?? 0)).toBe(100);
  expect(await remote.packets()).toBeGreaterThanOrEqual(before + 200);
  await remote.close();
});

describe('no GET fails', () => {
  test('when the local replica is deleted: calls go to the other node, and come back with the next replica', async () => {
    const failures = await failuresDuring(async () => {
      await cluster.kubectl(['-n', 'near', 'scale', 'deployment/cart-n1', '--replicas=0']);
      await untilServedBy(web, 'n2');
      await cluster.kubectl(['-n', 'near', 'scale', 'deployment/cart-n1', '--replicas=1']);
      await untilServedBy(web, 'n1');
    });
    expect(failures).toEqual([]);
    await stays();
  });

  test('when the node is cordoned and its replica deleted: calls come back once the node takes pods again', async () => {
    const failures = await failuresDuring(async () => {
      await cluster.kubectl(['cordon', 'n1']);
      await cluster.kubectl(['-n', 'near', 'delete', 'pods', '-l', 'deployment=cart-n1', '--wait=false']);
      await untilServedBy(web, 'n2');
      await cluster.kubectl(['uncordon', 'n1']);
      await untilServedBy(web, 'n1');
    });
    expect(failures).toEqual([]);
    await stays();
  });

  test('when the local replica fails its probe: calls come back once it is ready again', async () => {
    const replica = await shop.podOn('n1', 'near', 'cart-pods');
    const failures = await failuresDuring(async () => {
      await replica.exec('touch', '/tmp/not-ready');
      await untilServedBy(web, 'n2');
      await replica.exec('rm', '/tmp/not-ready');
      await untilServedBy(web, 'n1');
    });
    expect(failures).toEqual([]);
    await stays();
  });
});
