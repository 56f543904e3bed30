import { describe, expect, it } from 'vitest';
import type { Step } from '../../../src/controller/observed.ts';
import { planChanges } from '../../../src/controller/plan-changes.ts';
import { VIP_QUARANTINE_MS } from '../../../src/routing/allocate-vips.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { ControllerWorld, OPTIONS } from '../../support/controller-world.ts';

/** A step in a few words. */
const say = (step: Step): string => {
  switch (step.kind) {
    case 'write-ledger':
      return 'ledger';
    case 'write-status':
      return `status ${step.target.namespace}/${step.target.name}${step.isUrgent ? '' : ' (count)'}`;
    case 'create-access-point':
    case 'update-access-point':
      return `${step.kind.slice(0, 6)} ${step.point.namespace}/${step.point.name} -> ${step.point.externalName}`;
    case 'delete-access-point':
      return `delete ${step.target.namespace}/${step.target.name}`;
    case 'remove-taint':
      return `taint ${step.node.name}`;
  }
};
const settle = (world: ControllerWorld): readonly (readonly string[])[] => world.settle().map((steps) => steps.map(say));
const conditions = (world: ControllerWorld, key: string): Record<string, string> =>
  Object.fromEntries((world.routes.get(key)?.status.conditions ?? []).map(({ type, status, reason }) => [type, `${status} ${reason}`]));
const vipOf = (world: ControllerWorld, key: string): string => world.routes.get(key)?.status.vip ?? '';
const globalVipOf = (world: ControllerWorld, key: string): string | undefined => world.routes.get(key)?.status.globalVip;
const entry = (world: ControllerWorld, vip: string | undefined) => world.records.get(vip ?? '');

function worldWith(...routes: readonly (readonly [string, Parameters<ControllerWorld['setRoute']>[1]?])[]): ControllerWorld {
  const world = new ControllerWorld();
  for (const namespace of ['shop', 'bank']) world.setForeignService(`${namespace}/web`);
  for (const [key, over] of routes) world.setRoute(key, over);
  return world;
}

describe('the order of writes', () => {
  it('is ledger, status, access point, and then the count of nodes', () => {
    expect(settle(worldWith(['shop/cart']))).toEqual([['ledger'], ['status shop/cart'], ['status shop/cart (count)', 'create shop/cart -> cart.shop.route.internal']]);
  });

  it('of a public route is the same for its global name', () => {
    expect(settle(worldWith(['shop/pay', { global: true }]))).toEqual([
      ['ledger'],
      ['status shop/pay'],
      ['status shop/pay (count)', 'create shop/pay -> pay.shop.route.internal', 'create global/pay -> pay.global.route.internal'],
    ]);
  });

  it('of a deletion is access points first, then the ledger', () => {
    const world = worldWith(['shop/pay', { global: true }]);
    world.settle();
    world.deleteRoute('shop/pay');
    expect(settle(world)).toEqual([['delete shop/pay', 'delete global/pay'], ['ledger']]);
    expect([...world.records.values()].map(({ freed }) => freed?.version)).toEqual([world.version, world.version]);
  });

  it('of a route that becomes private is: its global name goes, then its global address counts as freed', () => {
    const world = worldWith(['shop/pay', { global: true }]);
    world.settle();
    const vip = globalVipOf(world, 'shop/pay');
    world.setRoute('shop/pay', { global: false });
    expect(settle(world).map((steps) => steps.filter((step) => !step.endsWith('(count)'))).filter((steps) => steps.length > 0)).toEqual([['status shop/pay', 'delete global/pay'], ['ledger']]);
    expect([globalVipOf(world, 'shop/pay'), entry(world, vip)?.freed !== undefined]).toEqual([undefined, true]);
  });

  it('starts again wherever it was cut off', () => {
    const world = worldWith(['shop/cart', { global: true }], ['bank/cart', { global: true }]);
    for (let steps = world.plan(); steps.length > 0; steps = world.plan()) {
      // One step of each plan, then the process ends.
      const [first] = steps;
      if (first !== undefined) world.apply(first);
    }
    expect([vipOf(world, 'shop/cart'), vipOf(world, 'bank/cart')]).toEqual([expect.stringMatching(/^169/), expect.stringMatching(/^169/)]);
    expect([...world.services.keys()].sort()).toEqual(['bank/cart', 'bank/web', 'global/cart', 'shop/cart', 'shop/web']);
  });
});

describe('addresses', () => {
  it('come back to a route that was deleted and made again, also while the controller was away', () => {
    const world = worldWith(['shop/cart']);
    world.settle();
    const vip = vipOf(world, 'shop/cart');
    world.deleteRoute('shop/cart');
    world.setRoute('shop/cart');
    expect(settle(world)[0]).toEqual(['status shop/cart']);
    expect(vipOf(world, 'shop/cart')).toBe(vip);
  });

  it('that somebody wrote into status by hand are put right', () => {
    const world = worldWith(['shop/cart']);
    world.settle();
    const [vip, state] = [vipOf(world, 'shop/cart'), world.routes.get('shop/cart')];
    if (state !== undefined) world.routes.set('shop/cart', { ...state, status: { ...state.status, vip: '169.254.195.9' } });
    world.settle();
    expect(vipOf(world, 'shop/cart')).toBe(vip);
  });

  it('are given again only after 2 hours, and only when every live node knows of the deletion', () => {
    const world = worldWith();
    const small = parseVipPool('169.254.192.0/22');
    for (let i = 0; i < small.size; i++) world.setRoute(`shop/r${i}`);
    world.report(['n1', 'n2']);
    world.settle();
    const vip = vipOf(world, 'shop/r7');
    world.deleteRoute('shop/r7');
    world.nowMs = 1_000;
    world.settle();
    world.setRoute('bank/new');
    world.settle();
    expect(conditions(world, 'bank/new')).toMatchObject({ Accepted: 'False NoAddress', Programmed: 'False NoAddress' });
    world.nowMs = 1_000 + VIP_QUARANTINE_MS - 1;
    world.report(['n1', 'n2']);
    expect(world.settle()).toHaveLength(1); // the count only
    expect(vipOf(world, 'bank/new')).toBe('');
    world.nowMs++;
    const [n1, n2] = world.reports;
    if (n1 === undefined || n2 === undefined) throw new Error('two reports');
    world.reports = [n1, { ...n2, version: '100' }];
    world.settle();
    expect(vipOf(world, 'bank/new')).toBe('');
    world.reports = [n1, { ...n2, version: '100', live: false }];
    world.settle();
    expect(vipOf(world, 'bank/new')).toBe(vip);
    expect(entry(world, vip)).toEqual({ key: 'bank/new' });
    expect(conditions(world, 'bank/new')).toMatchObject({ Accepted: 'True Accepted' });
  });

  it('in IPv6 follow those in IPv4', () => {
    const world = worldWith(['shop/pay', { global: true }]);
    world.options = { ...OPTIONS, pool: parseVipPool('169.254.192.0/19,fd00:1::/64') };
    world.settle();
    const { status } = world.routes.get('shop/pay') ?? {};
    expect([status?.vip6, status?.globalVip6]).toEqual([expect.stringMatching(/^fd00:1::/), expect.stringMatching(/^fd00:1::/)]);
  });
});

describe('access points', () => {
  it('never take the place of a foreign Service', () => {
    const world = worldWith(['shop/web', { global: true }]);
    world.setForeignService('global/web', { type: 'ExternalName' });
    const before = [world.services.get('shop/web'), world.services.get('global/web')];
    world.settle();
    expect([world.services.get('shop/web'), world.services.get('global/web')]).toEqual(before);
    expect(conditions(world, 'shop/web')).toMatchObject({ Accepted: 'True Accepted', Conflict: 'True ServiceExists' });
  });

  it('come once the foreign Service is gone, and the conflict with it', () => {
    const world = worldWith(['shop/cart', { to: [{ name: 'web' }] }]);
    world.setForeignService('shop/cart');
    world.settle();
    world.services.delete('shop/cart');
    const notes = world.settle().flatMap((steps) => steps.flatMap((step) => (step.kind === 'write-status' ? step.notes : [])));
    expect(world.services.get('shop/cart')?.externalName).toBe('cart.shop.route.internal');
    expect(conditions(world, 'shop/cart')).not.toHaveProperty('Conflict');
    expect(notes.map(({ reason }) => reason)).toEqual(['ConflictResolved']);
  });

  it('are corrected when they lead elsewhere, and made again when they are gone', () => {
    const world = worldWith(['shop/cart']);
    world.settle();
    const there = world.services.get('shop/cart');
    if (there !== undefined) world.services.set('shop/cart', { ...there, externalName: 'evil.example' });
    expect(settle(world)).toEqual([['update shop/cart -> cart.shop.route.internal']]);
    world.services.delete('shop/cart');
    expect(settle(world)).toEqual([['create shop/cart -> cart.shop.route.internal']]);
  });

  it('without a route go, also those of routes that were deleted while the controller was away', () => {
    const world = worldWith(['shop/cart'], ['shop/old']);
    world.settle();
    world.deleteRoute('shop/old');
    expect(settle(world)).toEqual([['delete shop/old'], ['ledger']]);
  });

  it('that the API server refuses are a conflict, and are left alone meanwhile', () => {
    const world = worldWith(['shop/cart']);
    world.refusedPoints.set('shop/cart', { message: 'exceeded quota', isDue: false });
    world.settle();
    expect(world.services.has('shop/cart')).toBe(false);
    expect(conditions(world, 'shop/cart')).toMatchObject({ Conflict: 'True ServiceRefused' });
    // Another attempt does not take the conflict back before it gets through.
    world.refusedPoints.set('shop/cart', { message: 'exceeded quota', isDue: true });
    expect(world.plan().map(say)).toEqual(['create shop/cart -> cart.shop.route.internal']);
  });

  it('of a global name change hands only through deletion', () => {
    const world = worldWith(['shop/pay', { global: true }], ['bank/pay', { global: true }]);
    world.settle();
    expect([globalVipOf(world, 'bank/pay') !== undefined, globalVipOf(world, 'shop/pay'), conditions(world, 'shop/pay')['Conflict']]).toEqual([true, undefined, 'True GlobalNameTaken']);
    world.deleteRoute('bank/pay');
    world.settle();
    expect([world.services.has('global/pay'), conditions(world, 'shop/pay')['Conflict']]).toEqual([false, 'True GlobalNameTaken']);
    world.nowMs += VIP_QUARANTINE_MS;
    world.settle();
    expect(world.services.get('global/pay')?.mark).toEqual({ kind: 'global', route: 'shop/pay' });
    expect(conditions(world, 'shop/pay')).not.toHaveProperty('Conflict');
  });
});

describe('conditions', () => {
  it('of a route that cannot be: it keeps its address, and says why', () => {
    const world = worldWith(['shop/cart']);
    world.settle();
    const vip = vipOf(world, 'shop/cart');
    world.setRoute('shop/cart', null);
    world.settle();
    expect([vipOf(world, 'shop/cart'), conditions(world, 'shop/cart')]).toEqual([vip, { Accepted: 'False Invalid', Programmed: 'Unknown NoReports' }]);
  });

  it.each([
    ['a Service that is missing', { to: [{ name: 'none' }] }, 'False ServiceNotFound'],
    ['a port that is missing', { port: { targetPort: 'admin' } }, 'False PortUnresolved'],
    ['everything there', {}, 'True ResolvedRefs'],
  ])('of references: %s', (_, over, expected) => {
    const world = worldWith(['shop/cart', over]);
    world.settle();
    expect(conditions(world, 'shop/cart')['ResolvedRefs']).toBe(expected);
  });

  it('of versions that speak different protocols', () => {
    const world = worldWith(['shop/cart', { to: [{ name: 'web' }, { name: 'db' }] }]);
    world.setForeignService('shop/db', { ports: [{ port: 80, targetPort: 80, protocol: 'TCP', appProtocol: 'mysql' }] });
    world.settle();
    expect(conditions(world, 'shop/cart')).toMatchObject({ Accepted: 'True Accepted', ResolvedRefs: 'False ProtocolMismatch' });
  });

  it('of a route in the global namespace: no address, no name', () => {
    const world = worldWith(['shop/cart']);
    world.settle();
    const state = world.routes.get('shop/cart');
    if (state === undefined) throw new Error('a route');
    const { route: _, ...misplaced } = state;
    world.routes.set('shop/cart', { ...misplaced, problems: [{ code: 'namespace-reserved', severity: 'error', object: { kind: 'ServiceRoute', name: 'cart' }, message: 'm', remedy: 'r' }] });
    world.settle();
    expect([vipOf(world, 'shop/cart'), conditions(world, 'shop/cart'), world.services.has('shop/cart')]).toEqual(['', { Accepted: 'False Invalid' }, false]);
  });

  it('keep the time of their last transition, and carry the generation', () => {
    const world = worldWith(['shop/cart']);
    world.settle();
    world.nowMs = 60_000;
    world.setRoute('shop/cart', { locality: 'Local' });
    world.settle();
    expect(world.routes.get('shop/cart')?.status.conditions[0]).toMatchObject({ type: 'Accepted', lastTransitionTime: '1970-01-01T00:00:00Z', observedGeneration: 2 });
  });
});

describe('programmed', () => {
  const programmed = (world: ControllerWorld): string => `${world.routes.get('shop/cart')?.status.programmed} ${conditions(world, 'shop/cart')['Programmed']}`;

  it('counts the live nodes that report the version at which addresses and generation were first seen', () => {
    const world = worldWith(['shop/cart']);
    world.report(['n1', 'n2']);
    world.settle();
    expect(programmed(world)).toBe('0/2 False Pending');
    const [n1, n2] = world.reports;
    world.report(['n1']);
    world.reports = [...world.reports, ...(n2 === undefined ? [] : [n2])];
    world.settle();
    expect([programmed(world), n1?.node]).toEqual(['1/2 False Pending', 'n1']);
    world.report(['n1', 'n2']);
    world.settle();
    expect(programmed(world)).toBe('2/2 True Programmed');
  });

  it('is not set back by writes of conditions: nodes do not report those', () => {
    const world = worldWith(['shop/cart']);
    world.report(['n1']);
    world.settle();
    world.report(['n1']);
    world.settle();
    world.services.delete('shop/web');
    world.settle();
    expect([programmed(world), conditions(world, 'shop/cart')['ResolvedRefs']]).toEqual(['1/1 True Programmed', 'False ServiceNotFound']);
  });

  it('begins anew with another generation', () => {
    const world = worldWith(['shop/cart']);
    world.settle();
    world.report(['n1']);
    world.settle();
    world.setRoute('shop/cart', { locality: 'Local' });
    world.settle();
    expect(programmed(world)).toBe('0/1 False Pending');
  });

  it('names nodes that refuse it, and does not count those that are gone', () => {
    const world = worldWith(['shop/cart']);
    world.settle();
    world.report(['n1', 'n2', 'n3'], { 'shop/cart': 'port-taken' });
    world.reports = world.reports.map((one) => (one.node === 'n1' ? { ...one, notInEffect: new Map() } : { ...one, live: one.node !== 'n3' }));
    world.settle();
    expect(programmed(world)).toBe('1/2 False Refused');
    expect(world.routes.get('shop/cart')?.status.conditions.find(({ type }) => type === 'Programmed')?.message).toBe("in effect on 1 of 2 nodes; n2: port-taken; 'onehop routes' on the node says more");
  });
});

describe('the startup taint', () => {
  it('goes once the node was heard of after it was seen, and other taints stay', () => {
    const node = { name: 'n1', resourceVersion: '5', seenAtMs: 10, taints: [{ key: 'onehop.paas.io/not-ready', effect: 'NoSchedule' }, { key: 'other', effect: 'NoSchedule' }] };
    const world = worldWith();
    world.options = { ...OPTIONS, startupTaint: 'onehop.paas.io/not-ready' };
    const plan = () => planChanges({ ...world.observe(), taintedNodes: [node] }, world.options, world.nowMs);
    world.nowMs = 9;
    world.report(['n1']);
    expect(plan()).toEqual([]);
    world.nowMs = 11;
    world.report(['n1']);
    expect(plan()).toEqual([{ kind: 'remove-taint', node, taints: [{ key: 'other', effect: 'NoSchedule' }] }]);
  });
});
