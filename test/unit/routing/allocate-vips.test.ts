import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseVipPool, isRouteVip } from '../../../src/model/vip-pool.ts';
import type { VipLedger } from '../../../src/model/vip-ledger.ts';
import { allocateVips, VIP_QUARANTINE_MS } from '../../../src/routing/allocate-vips.ts';
import { serviceRoute } from '../../support/objects.ts';

const pool = parseVipPool('127.77.0.0/16');
const small = parseVipPool('127.77.0.0/22');
const allocate = (routes: Parameters<typeof allocateVips>[0], ledger: VipLedger = {}, nowMs = 0, severalNodes = false) =>
  allocateVips(routes, pool, ledger, nowMs, severalNodes);
const codes = (result: ReturnType<typeof allocate>) => result.problems.map((one) => `${one.object.namespace}/${one.object.name} ${one.code}`);
const globalRoute = (key: string, createdAtMs = 0) => serviceRoute(key, { global: true }, { createdAtMs });

describe('VIPs of routes', () => {
  it('that the pool has not are not looked for again and again: this took 15 s', () => {
    const crowd = Array.from({ length: 20_000 }, (_, i) => serviceRoute(`a/r${i}`));
    const clusterPool = parseVipPool('169.254.192.0/19');
    const { vips, problems } = allocateVips(crowd, clusterPool, {}, 0, false);
    expect([vips.size, problems.length]).toEqual([clusterPool.size, crowd.length - clusterPool.size]);
  });

  it('do not depend on the order of objects', () => {
    const routes = Array.from({ length: 50 }, (_, i) => serviceRoute(`ns${i % 5}/r${i}`));
    expect(allocate(routes).vips).toEqual(allocate(routes.toReversed()).vips);
  });

  it('stay when other routes come and go', () => {
    const all = Array.from({ length: 400 }, (_, i) => serviceRoute(`a/r${i}`));
    const first = allocateVips(all, small, {}, 0, false);
    const half = allocateVips(all.filter((_, i) => i % 2 === 0), small, first.ledger, 1, false);
    const again = allocateVips(all, small, half.ledger, 2, false);
    for (const [key, vip] of half.vips) expect(vip).toBe(first.vips.get(key));
    expect(again.vips).toEqual(first.vips);
  });

  it('are the hash slot of a route alone, so a single route has the same VIP on every machine', () => {
    expect(allocate([serviceRoute('shop/cart')]).vips.get('shop/cart')).toBe(allocate([serviceRoute('a/x'), serviceRoute('shop/cart')]).vips.get('shop/cart'));
  });

  it('of a deleted route rest for two hours, then are free', () => {
    const full = Array.from({ length: small.size }, (_, i) => serviceRoute(`a/r${i}`));
    const first = allocateVips(full, small, {}, 0, false);
    const others = full.slice(1);
    const newcomer = serviceRoute('b/new');
    const resting = allocateVips([...others, newcomer], small, first.ledger, 1_000, false);
    expect(codes(resting)).toEqual(['b/new vip-exhausted']);
    const rested = allocateVips([...others, newcomer], small, resting.ledger, 1_000 + VIP_QUARANTINE_MS, false);
    expect(rested.vips.get('b/new')).toBe(first.vips.get('a/r0'));
  });

  it('honour status.vip', () => {
    expect(allocate([serviceRoute('a/x', {}, { status: { vip: '127.77.9.9' } })]).vips.get('a/x')).toBe('127.77.9.9');
  });

  it.each(['127.77.0.12', '10.0.0.1', 'nonsense', '127.77.255.255', '::1'])('refuse status.vip %s with a Problem and choose another', (vip) => {
    const result = allocate([serviceRoute('a/x', {}, { status: { vip } })]);
    expect(codes(result)).toEqual(['a/x vip-refused']);
    expect(isRouteVip(pool, result.vips.get('a/x') ?? '')).toBe(true);
  });

  it('claimed twice stay with the eldest', () => {
    const status = { vip: '127.77.9.9' };
    const result = allocate([serviceRoute('a/young', {}, { status, createdAtMs: 2 }), serviceRoute('b/old', {}, { status, createdAtMs: 1 })]);
    expect(result.vips.get('b/old')).toBe('127.77.9.9');
    expect(codes(result)).toEqual(['a/young vip-refused']);
  });

  it('do not move from a live holder to a newcomer that pins them', () => {
    const first = allocate([serviceRoute('a/x')]);
    const vip = first.vips.get('a/x') ?? '';
    const second = allocate([serviceRoute('a/x'), serviceRoute('b/y', {}, { status: { vip } })], first.ledger);
    expect(second.vips.get('a/x')).toBe(vip);
    expect(codes(second)).toEqual(['b/y vip-refused']);
  });

  it('resolved around a collision are a Problem when several nodes read the files', () => {
    const routes = Array.from({ length: 300 }, (_, i) => serviceRoute(`a/r${i}`));
    const result = allocateVips(routes, small, {}, 0, true);
    expect(result.problems.length).toBeGreaterThan(0);
    expect(new Set(result.problems.map((one) => one.code))).toEqual(new Set(['vip-unpinned']));
  });

  it('are unique, in the pool and stable under any history', () => {
    const history = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 40 }), { maxLength: 30 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(history, (steps) => {
        let ledger: VipLedger = {};
        let before = new Map<string, string>();
        for (const [now, ids] of steps.entries()) {
          const result = allocateVips(ids.map((id) => serviceRoute(`a/r${id}`, { global: id % 3 === 0 })), small, ledger, now, false);
          const all = [...result.vips.values(), ...result.globalVips.values()];
          expect(new Set(all).size).toBe(all.length);
          expect(all.every((vip) => isRouteVip(small, vip))).toBe(true);
          for (const [key, vip] of result.vips) expect(before.get(key) ?? vip).toBe(vip);
          before = new Map([...before, ...result.vips]);
          ledger = result.ledger;
        }
      }),
    );
  });
});

describe('global names', () => {
  it('belong to the eldest, others get a conflict and no global VIP', () => {
    const result = allocate([globalRoute('a/pay', 2), globalRoute('b/pay', 1)]);
    expect([...result.globalVips.keys()]).toEqual(['b/pay']);
    expect(codes(result)).toEqual(['a/pay global-name-conflict']);
  });

  it('with equal times go by namespace', () => {
    expect([...allocate([globalRoute('b/pay'), globalRoute('a/pay')]).globalVips.keys()]).toEqual(['a/pay']);
  });

  it('stay with the first holder when an elder claimant comes', () => {
    const first = allocate([globalRoute('b/pay', 5)]);
    expect([...allocate([globalRoute('a/pay', 1), globalRoute('b/pay', 5)], first.ledger).globalVips.keys()]).toEqual(['b/pay']);
  });

  it('are inherited by nobody for two hours after the holder went', () => {
    const first = allocate([globalRoute('b/pay')]);
    const gone = allocate([globalRoute('a/pay')], first.ledger, 10);
    expect(gone.globalVips.size).toBe(0);
    expect(codes(gone)).toEqual(['a/pay global-name-conflict']);
    const later = allocate([globalRoute('a/pay')], gone.ledger, 10 + VIP_QUARANTINE_MS);
    expect([...later.globalVips.keys()]).toEqual(['a/pay']);
  });

  it('return to the namespace that held them', () => {
    const first = allocate([globalRoute('b/pay')]);
    const gone = allocate([globalRoute('a/pay')], first.ledger, 10);
    const back = allocate([globalRoute('a/pay'), globalRoute('b/pay')], gone.ledger, 20);
    expect(back.globalVips.get('b/pay')).toBe(first.globalVips.get('b/pay'));
  });

  it('are kept by a holder whose spec became invalid', () => {
    const first = allocate([globalRoute('b/pay')]);
    expect([...allocate([serviceRoute('b/pay', null)], first.ledger).globalVips.keys()]).toEqual(['b/pay']);
  });
});
