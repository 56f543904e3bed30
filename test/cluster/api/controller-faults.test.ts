import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ControllerBench } from '../../support/cluster/controller-bench.ts';
import type { ControllerProcess } from '../../support/cluster/controller-process.ts';
import { eventually } from '../../support/lab/run.ts';

/** Controllers that die, freeze, lose the API server or each other, in the middle of their writes. */
let bench: ControllerBench;

beforeAll(async () => {
  bench = await ControllerBench.open('ctl-faults', ['shop', 'bank', 'storm']);
});
afterEach(async ({ task }) => {
  await bench.endAll(task.result?.state === 'fail');
  bench.watch.check();
});
afterAll(() => bench.close());

const ROUNDS = 15;

/** Park and Miller's generator: the same rounds in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

const names = (count: number, prefix: string): readonly string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

/** All routes of a namespace have an address, their access points are there, and no others. */
const untilInStep = (namespace: string, limitMs = 60_000): Promise<true> =>
  eventually(
    `${namespace} is in step`,
    async () => {
      const [routes, points] = [await bench.listRoutes(namespace), await bench.accessPoints(namespace)];
      return routes.every(({ status }) => status?.vip !== undefined) && JSON.stringify(points) === JSON.stringify(routes.map(({ metadata }) => metadata.name).sort()) && (true as const);
    },
    limitMs,
  );

/** Every address in a status is in the ledger, under its route, and held. */
async function expectLedgerTrue(): Promise<void> {
  const ledger = await bench.ledger();
  for (const [vip, place] of bench.watch.holders) {
    const [key = '', field] = place.split(' ');
    const [namespace, name] = key.split('/');
    expect(ledger[vip]).toBe(field === 'vip' ? key : `*/${name} of ${namespace}`);
  }
}

test('of two controllers one writes, the other waits and takes over when the first is asked to stop', async () => {
  const one = await bench.start('a');
  await bench.untilLeads('a');
  const two = await bench.start('b');
  for (const name of names(20, 'two')) await bench.createRoute('shop', name);
  await untilInStep('shop');
  expect(two.proxy.writes()).toEqual([]);
  const before = performance.now();
  expect(await one.stop()).toBe(0);
  await bench.untilLeads('b');
  expect(performance.now() - before).toBeLessThan(10_000); // given back, not run out
  await bench.createRoute('shop', 'after');
  await bench.untilVip('shop', 'after');
});

test('asked to stop in the middle of many writes, it gives the Lease back at once', async () => {
  await Promise.all(names(150, 'many').map((name) => bench.createRoute('bank', name)));
  const one = await bench.start('a');
  await eventually('it writes', async () => one.proxy.writes().length > 20);
  const beforeMs = performance.now();
  expect(await one.stop()).toBe(0);
  expect(performance.now() - beforeMs).toBeLessThan(10_000);
  expect(one.log).not.toContain('not closed cleanly');
  expect(await bench.holder()).toBe('');
});

test('killed in the middle of its writes, again and again: no address twice, nothing lost, no Service flaps', { timeout: 400_000 }, async () => {
  const random = seeded(20_261_122);
  const events = (): number => [...bench.watch.accessPointEvents].filter(([place]) => place.startsWith('storm/')).flatMap(([, list]) => list).length;
  let made = 0;
  let deleted = 0;
  const alive: string[] = [];
  let controller: ControllerProcess = await bench.start('k0');
  await bench.untilLeads('k0');
  for (let round = 1; round <= ROUNDS; round++) {
    const doing = Promise.all([
      ...names(12, `r${round}-`).map(async (name) => {
        await bench.createRoute('storm', name, { global: random() < 0.3 });
        alive.push(name);
        made++;
      }),
      ...alive.splice(0, Math.floor(random() * 6)).map(async (name) => {
        await bench.deleteRoute('storm', name);
        deleted++;
      }),
    ]);
    await delay(random() * 400);
    await controller.stop('SIGKILL');
    await doing;
    await bench.freeLease();
    controller = await bench.start(`k${round}`);
    await bench.untilLeads(`k${round}`);
  }
  await untilInStep('storm');
  await expectLedgerTrue();
  expect((await bench.listRoutes('storm')).length).toBe(made - deleted);
  // Each access point is made once, and deleted once with its route; a route that went before the controller saw it has none.
  await eventually('the watch has seen it all', async () => events() >= made - deleted);
  const flapped = [...bench.watch.accessPointEvents].filter(([place, list]) => place.startsWith('storm/') && !['made', 'made deleted'].includes(list.join(' ')));
  expect(flapped).toEqual([]);
});

test('frozen while it writes: when it wakes up, another leads, and it writes nothing', async () => {
  const one = await bench.start('a');
  await bench.untilLeads('a');
  const creating = Promise.all(names(150, 'ice').map((name) => bench.createRoute('bank', name)));
  await eventually('it writes', async () => one.proxy.writes().length > 20);
  one.child.kill('SIGSTOP');
  const frozenAtMs = performance.now();
  await creating;
  const two = await bench.start('b');
  await bench.untilLeads('b', 40_000);
  expect(performance.now() - frozenAtMs).toBeGreaterThan(10_000);
  await untilInStep('bank');
  const settled = two.proxy.writes().length;
  const wokenAtMs = performance.now();
  one.child.kill('SIGCONT');
  await delay(4_000);
  expect(one.proxy.writes(wokenAtMs)).toEqual([]);
  expect(one.log).toContain('does not lead any more');
  expect(await bench.holder()).toBe('b');
  expect(two.proxy.writes().slice(settled).filter(({ path }) => path.includes('/services'))).toEqual([]);
  await expectLedgerTrue();
});

describe('cut off from the API server', () => {
  test.each(['refuse', 'deaf'] as const)('(%s) while it writes: it stops in time, another takes over, and it waits when it is back', async (mode) => {
    const prefix = mode === 'refuse' ? 'cut' : 'deaf';
    const one = await bench.start('a');
    await bench.untilLeads('a');
    const two = await bench.start('b');
    const creating = Promise.all(names(60, prefix).map((name) => bench.createRoute('shop', name)));
    await eventually('it writes', async () => one.proxy.writes().length > 10);
    one.proxy.cut(mode);
    await creating;
    await bench.untilLeads('b', 40_000);
    const takenAtMs = performance.now();
    await untilInStep('shop');
    await delay(2_000);
    expect(one.proxy.writes(takenAtMs)).toEqual([]);
    one.proxy.mode = 'pass';
    await delay(3_000);
    expect(one.proxy.writes(takenAtMs)).toEqual([]);
    expect(await bench.holder()).toBe('b');
    expect(two.log).toContain('this controller leads');
    await expectLedgerTrue();
  });

  test('all of them, for longer than the Lease lasts: they go on where they were', async () => {
    await bench.start('a');
    await bench.start('b');
    await eventually('one leads', async () => (await bench.holder()) !== '');
    await bench.createRoute('bank', 'before');
    const vip = await bench.untilVip('bank', 'before');
    await bench.cluster.apiServer.stop();
    await delay(18_000);
    await bench.cluster.apiServer.start();
    await bench.createRoute('bank', 'afterwards');
    await bench.untilVip('bank', 'afterwards');
    expect(await bench.untilVip('bank', 'before')).toBe(vip);
    await untilInStep('bank');
  });
});
