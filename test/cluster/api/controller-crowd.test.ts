import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { ControllerBench, conditionOf } from '../../support/cluster/controller-bench.ts';
import type { Recorded } from '../../support/cluster/recording-proxy.ts';
import { eventually } from '../../support/lab/run.ts';

/** Many routes: how long, how many calls, and a pool that is too small. */
let bench: ControllerBench;

beforeAll(async () => {
  bench = await ControllerBench.open('ctl-crowd', ['crowd', 'full']);
});
afterEach(async ({ task }) => {
  await bench.endAll(task.result?.state === 'fail');
  bench.watch.check();
});
afterAll(() => bench.close());

async function createRoutes(namespace: string, count: number): Promise<void> {
  const queue = Array.from({ length: count }, (_, i) => `r${i}`)[Symbol.iterator]();
  const work = async (): Promise<void> => {
    for (const name of queue) await bench.createRoute(namespace, name);
  };
  await Promise.all(Array.from({ length: 8 }, work));
}

/** Calls by method and resource. */
function count(requests: readonly Recorded[]): Readonly<Record<string, number>> {
  const kinds = requests.map(({ method, path }) => `${method} ${/\/(serviceroutes|services|events|configmaps|leases)/.exec(path)?.[1] ?? path}`);
  return Object.fromEntries([...Map.groupBy(kinds, (kind) => kind)].map(([kind, all]) => [kind, all.length]));
}

test('1,000 routes: addresses and access points in a moment, and no call more than it takes', { timeout: 400_000 }, async () => {
  await createRoutes('crowd', 1_000);
  await bench.report(['n1', 'n2', 'n3']);
  const startMs = performance.now();
  const controller = await bench.start('a');
  await eventually('all have an address', async () => bench.watch.holders.size >= 1_000, 90_000);
  const addressesMs = performance.now() - startMs;
  await eventually('all have an access point', async () => (await bench.accessPoints('crowd')).length === 1_000, 90_000);
  const pointsMs = performance.now() - startMs;
  await eventually(
    'all are programmed',
    async () => {
      await bench.report(['n1', 'n2', 'n3']);
      await delay(1_000);
      return (await bench.listRoutes('crowd')).every(({ status }) => status?.programmed === '3/3');
    },
    150_000,
  );
  const calls = count(controller.proxy.requests);
  process.stdout.write(`1,000 routes: addresses ${(addressesMs / 1000).toFixed(1)} s, access points ${(pointsMs / 1000).toFixed(1)} s, programmed ${((performance.now() - startMs) / 1000).toFixed(1)} s; ${JSON.stringify(calls)}\n`);
  expect(calls['POST services']).toBe(1_000);
  expect(calls['PATCH serviceroutes']).toBeLessThanOrEqual(3_000); // addresses; from which version on; 3/3
  expect((calls['PUT configmaps'] ?? 0) + (calls['POST configmaps'] ?? 0)).toBeLessThanOrEqual(3);
  const { length } = controller.proxy.writes();
  await delay(5_000);
  expect(controller.proxy.writes().length).toBe(length); // in step: nothing is written any more
});

test('a pool that is too small: the eldest have addresses, the others say why, and one that goes helps nobody for two hours', async () => {
  await bench.cluster.kubectl(['delete', 'namespace', 'crowd', '--wait=true']);
  await bench.client.request('DELETE', '/api/v1/namespaces/onehop-system/configmaps/onehop-vip-ledger');
  const SIZE = 767;
  await createRoutes('full', SIZE + 3);
  await bench.start('a', ['--vip-pool=169.254.192.0/22']);
  await eventually('the pool is given out', async () => bench.watch.holders.size === SIZE, 90_000);
  const [waiting] = await eventually('three say why', async () => {
    const refused = (await bench.listRoutes('full')).filter((route) => conditionOf(route, 'Accepted') === 'False NoAddress');
    return refused.length === 3 && refused;
  });
  const [holder] = [...bench.watch.holders.values()];
  await bench.deleteRoute('full', holder?.split(' ')[0]?.split('/')[1] ?? '');
  await eventually('it rests', async () => Object.values(await bench.ledger()).some((text) => text.includes(' freed ')));
  await delay(3_000);
  expect((await bench.readRoute('full', waiting?.metadata.name ?? '')).status?.vip).toBeUndefined();
});
