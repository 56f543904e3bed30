import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ControllerBench, conditionOf } from '../../support/cluster/controller-bench.ts';
import { eventually, run } from '../../support/lab/run.ts';

/** The controller with its shipped rights against a real API server; nodes are played by their reports. */
let bench: ControllerBench;

beforeAll(async () => {
  bench = await ControllerBench.open('ctl', ['shop', 'bank']);
});
afterEach(async ({ task }) => {
  await bench.endAll(task.result?.state === 'fail');
  bench.watch.check();
});
afterAll(() => bench.close());

describe('one controller', () => {
  test('gives addresses, makes access points and says how the route is doing, as kubectl shows it', async () => {
    const one = await bench.start('a');
    await bench.createService('shop', 'svc21-a');
    await bench.createRoute('shop', 'svc21', { rule: { type: 'Percentage' }, global: true, to: [{ kind: 'Service', name: 'svc21-a', balance: { rule: 50 } }, { kind: 'Service', name: 'svc21-b', balance: { rule: '50%' } }] });
    const vip = await bench.untilVip('shop', 'svc21');
    await eventually('its access points', async () => (await bench.readService('global', 'svc21')) !== undefined && (await bench.readService('shop', 'svc21')) !== undefined);
    expect([(await bench.readService('shop', 'svc21'))?.spec, (await bench.readService('global', 'svc21'))?.spec.externalName]).toMatchObject([{ type: 'ExternalName', externalName: 'svc21.shop.route.internal' }, 'svc21.global.route.internal']);
    const route = await bench.readRoute('shop', 'svc21');
    expect([conditionOf(route, 'Accepted'), conditionOf(route, 'ResolvedRefs')]).toEqual(['True Accepted', 'False ServiceNotFound']);
    const events = await eventually('an Event', async () => {
      const { items } = await bench.cluster.get<{ items: readonly { reason: string; note?: string; message?: string }[] }>('events.events.k8s.io', '-n', 'shop');
      return items.length > 0 && items;
    });
    expect(events.map(({ reason }) => reason)).toEqual(['ServiceNotFound']);
    await bench.report(['n1', 'n2', 'n3']);
    await bench.createService('shop', 'svc21-b');
    await eventually('programmed everywhere', async () => {
      await bench.report(['n1', 'n2', 'n3']);
      return (await bench.readRoute('shop', 'svc21')).status?.programmed === '3/3';
    });
    const shown = await bench.cluster.kubectl(['get', 'serviceroutes', '-n', 'shop']);
    expect(shown.split('\n')[1]?.split(/\s{2,}/).slice(0, 7)).toEqual(['svc21', vip, expect.stringMatching(/^169\.254\./), 'Percentage', 'svc21-a 50%, svc21-b 50%', 'True', '3/3']);
    await bench.report(['n3'], 'shop/svc21: port-taken');
    await eventually('a node that refuses it', async () => conditionOf(await bench.readRoute('shop', 'svc21'), 'Programmed') === 'False Refused');
    expect((await bench.readRoute('shop', 'svc21')).status?.programmed).toBe('2/3');
    await bench.report(['n3']);
    await eventually('all in step again', async () => (await bench.readRoute('shop', 'svc21')).status?.programmed === '3/3');
    expect(await one.stop()).toBe(0);
  });

  test('stops in order, and the next one finds everything in step: nothing is written', async () => {
    expect(await bench.holder()).toBe('');
    const two = await bench.start('b');
    await bench.untilLeads('b');
    await delay(5_000);
    expect(two.proxy.writes()).toEqual([]);
  });

  test('finds what happened while it was away: deleted, renamed, made again', async () => {
    const one = await bench.start('a');
    for (const name of ['old', 'moved', 'again']) await bench.createRoute('shop', name);
    const vips = await Promise.all(['old', 'moved', 'again'].map((name) => bench.untilVip('shop', name)));
    await eventually('access points', async () => (await bench.readService('shop', 'again')) !== undefined && (await bench.readService('shop', 'moved')) !== undefined && (await bench.readService('shop', 'old')) !== undefined);
    await one.stop('SIGKILL');
    await bench.freeLease();
    for (const name of ['old', 'moved', 'again']) await bench.deleteRoute('shop', name);
    await bench.createRoute('shop', 'renamed');
    await bench.createRoute('shop', 'again');
    await bench.start('b');
    const renamed = await bench.untilVip('shop', 'renamed');
    expect([vips.includes(renamed), await bench.untilVip('shop', 'again')]).toEqual([false, vips[2]]);
    await eventually('access points of deleted routes are gone', async () => (await bench.readService('shop', 'old')) === undefined && (await bench.readService('shop', 'moved')) === undefined);
    await eventually('their addresses rest', async () => {
      const entries = await bench.ledger();
      return / freed /.test(entries[vips[0] ?? ''] ?? '') && / freed /.test(entries[vips[1] ?? ''] ?? '');
    });
    expect(bench.watch.accessPointEvents.get('shop/again')).toEqual(['made']);
    for (const name of ['renamed', 'again']) await bench.deleteRoute('shop', name);
  });

  test('never touches a foreign Service: it is a conflict, said in a condition and an Event', async () => {
    await bench.createService('shop', 'legacy');
    const before = await bench.readService('shop', 'legacy');
    await bench.start('a');
    await bench.createRoute('shop', 'legacy', { to: [{ kind: 'Service', name: 'legacy' }] });
    await bench.untilVip('shop', 'legacy');
    await eventually('a conflict', async () => conditionOf(await bench.readRoute('shop', 'legacy'), 'Conflict') === 'True ServiceExists');
    const { items } = await bench.cluster.get<{ items: readonly { reason: string; regarding?: { name: string } }[] }>('events.events.k8s.io', '-n', 'shop');
    expect(items.some(({ reason, regarding }) => reason === 'ServiceExists' && regarding?.name === 'legacy')).toBe(true);
    await bench.deleteRoute('shop', 'legacy');
    await delay(1_000);
    expect(await bench.readService('shop', 'legacy')).toEqual(before);
  });

  test('gives a global name to the namespace that had it first, and to nobody else when it goes, until it is released', async () => {
    await bench.start('a');
    await bench.createRoute('shop', 'pay', { global: true });
    await eventually('a global address', async () => (await bench.readRoute('shop', 'pay')).status?.globalVip);
    await bench.createRoute('bank', 'pay', { global: true });
    await eventually('a conflict', async () => conditionOf(await bench.readRoute('bank', 'pay'), 'Conflict') === 'True GlobalNameTaken');
    await bench.changeRoute('shop', 'pay', { global: false });
    await eventually('the name is gone', async () => (await bench.readService('global', 'pay')) === undefined);
    const [address] = await eventually('its address rests', async () => Object.entries(await bench.ledger()).find(([, text]) => text.startsWith('*/pay of shop freed')));
    await delay(3_000);
    expect((await bench.readRoute('bank', 'pay')).status?.globalVip).toBeUndefined();
    const release = (...args: readonly string[]) => run([process.execPath, 'src/main.ts', 'release', ...args, '--kubeconfig', bench.cluster.kubeconfig]);
    expect(await release('svc21')).toMatchObject({ code: 1, stderr: 'onehop release: svc21 is held by shop/svc21; delete that route, or set its spec.global to false, first\n' });
    expect(await release('pay')).toMatchObject({ code: 0, stdout: expect.stringContaining(`released ${address} (*/pay of shop freed `) });
    await eventually('the other namespace has it', async () => (await bench.readService('global', 'pay'))?.spec.externalName);
    expect((await bench.readRoute('bank', 'pay')).status?.globalVip).toBeDefined();
    for (const namespace of ['shop', 'bank']) await bench.deleteRoute(namespace, 'pay');
  });
});
