import { describe, expect, it } from 'vitest';
import type { ServiceRoute } from '../../../src/model/service-route.ts';
import { numberToIpv4, parseVipPool } from '../../../src/model/vip-pool.ts';
import { assignVips, maxLeftBehind, type AssignInput, type VipRecords } from '../../../src/routing/assign-vips.ts';
import { renderLedger } from '../../../src/routing/ledger-text.ts';
import { serviceRoute } from '../../support/objects.ts';

const pool = parseVipPool('127.77.0.0/22');
const NEVER = (): boolean => false;
const ALWAYS = (): boolean => true;
const address = (slot: number): string => numberToIpv4(pool.first + slot);
const MAX_LEFT_BEHIND = maxLeftBehind(pool);
const [A, B, C] = [address(0), address(1), address(2)];

const assign = (routes: readonly ServiceRoute[], records: Record<string, VipRecords extends ReadonlyMap<string, infer R> ? R : never> = {}, over: Partial<AssignInput> = {}) => {
  const result = assignVips({ routes, pool, records: new Map(Object.entries(records)), nowMs: 0, version: '7', mayReuse: NEVER, canFree: ALWAYS, ...over });
  return {
    vips: Object.fromEntries(result.vips),
    globalVips: Object.fromEntries(result.globalVips),
    records: Object.fromEntries(result.records),
    problems: result.problems.map(({ object, code }) => `${object.namespace}/${object.name} ${code}`),
  };
};
const globalRoute = (key: string, createdAtMs = 0, status = {}) => serviceRoute(key, { global: true }, { createdAtMs, status });
const rest = (atMs: number) => ({ atMs, version: '5' });

describe('addresses', () => {
  describe('of a namespace that leaves many behind', () => {
    const left = (count: number, namespace?: string) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [address(i), { key: namespace === undefined ? `a/old-${i}` : `*/old-${i}`, ...(namespace === undefined ? {} : { namespace }), freed: rest(100 - i) }]));

    it('are all that it gets, once they have rested, the longest-free first, and nobody else\'s', () => {
      const many = left(MAX_LEFT_BEHIND + 1);
      const routes = [serviceRoute('a/x'), serviceRoute('a/y'), serviceRoute('b/z')];
      expect(assign(routes, many)).toMatchObject({ vips: { 'b/z': expect.any(String) }, problems: ['a/x vip-exhausted', 'a/y vip-exhausted'] });
      const { vips, problems } = assign(routes, many, { mayReuse: ALWAYS });
      expect([vips['a/x'], vips['a/y'], problems]).toEqual([address(MAX_LEFT_BEHIND), address(MAX_LEFT_BEHIND - 1), []]);
      expect(Object.keys(many)).not.toContain(vips['b/z']);
    });

    it('rest as any other while they are few', () => {
      expect(Object.keys(left(MAX_LEFT_BEHIND - 1))).not.toContain(assign([serviceRoute('a/x')], left(MAX_LEFT_BEHIND - 1)).vips['a/x']);
    });

    it('as global names rest all the same: their names are reserved as long', () => {
      const many = left(MAX_LEFT_BEHIND, 'a');
      expect(assign([globalRoute('a/x')], many)).toMatchObject({ globalVips: {}, problems: ['a/x vip-exhausted'] });
      expect(assign([globalRoute('a/x')], many, { mayReuse: ({ atMs }) => atMs <= 101 - MAX_LEFT_BEHIND }).globalVips['a/x']).toBe(address(MAX_LEFT_BEHIND - 1));
      expect(assign([globalRoute('b/x')], many)).toMatchObject({ problems: [] });
    });

    it('keep the pool from being used up by routes that come and go', () => {
      let records: Parameters<typeof assign>[1] = {};
      const used = new Set<string | undefined>();
      for (let i = 0; i < 500; i++) {
        const created = assign([serviceRoute(`a/r-${i}`)], records);
        const vip = created.vips[`a/r-${i}`];
        if (vip !== undefined) used.add(vip);
        records = assign([], created.records, { nowMs: i }).records;
      }
      expect(used.size).toBe(MAX_LEFT_BEHIND);
    });
  });

  it('of holders stay, whatever their status says', () => {
    expect(assign([serviceRoute('a/x', {}, { status: { vip: B } })], { [A]: { key: 'a/x' } })).toMatchObject({ vips: { 'a/x': A }, records: { [A]: { key: 'a/x' } } });
  });

  it('come back to who had them, also after a long rest', () => {
    expect(assign([serviceRoute('a/x')], { [A]: { key: 'a/x', freed: rest(0) } }, { mayReuse: ALWAYS })).toEqual({ vips: { 'a/x': A }, globalVips: {}, records: { [A]: { key: 'a/x' } }, problems: [] });
  });

  it('of several that a route had: the one it holds, else the one freed last', () => {
    expect(assign([serviceRoute('a/x')], { [A]: { key: 'a/x', freed: rest(9) }, [B]: { key: 'a/x' } }).vips).toEqual({ 'a/x': B });
    expect(assign([serviceRoute('a/x')], { [A]: { key: 'a/x', freed: rest(9) }, [B]: { key: 'a/x', freed: rest(3) } }).vips).toEqual({ 'a/x': A });
  });

  it('in status are taken over when the ledger was lost, by the eldest', () => {
    const routes = [serviceRoute('a/young', {}, { createdAtMs: 2, status: { vip: A } }), serviceRoute('b/old', {}, { createdAtMs: 1, status: { vip: A } })];
    const { vips } = assign(routes);
    expect(vips['b/old']).toBe(A);
    expect(vips['a/young']).not.toBe(A);
  });

  it('in status are not taken over from somebody else, not even while they rest', () => {
    const route = serviceRoute('a/x', {}, { status: { vip: A } });
    expect(assign([route], { [A]: { key: 'b/y', freed: rest(0) } }, { mayReuse: ALWAYS }).vips['a/x']).not.toBe(A);
  });

  it('that were never given come before those that were', () => {
    const { vips } = assign([serviceRoute('a/x')], { [A]: { key: 'b/y', freed: rest(0) } }, { mayReuse: ALWAYS });
    expect(vips['a/x']).not.toBe(A);
  });

  it('are marked as freed with the version that is known, once nothing leads there', () => {
    expect(assign([], { [A]: { key: 'a/x' } }, { canFree: NEVER }).records).toEqual({ [A]: { key: 'a/x' } });
    expect(assign([], { [A]: { key: 'a/x' } }, { nowMs: 3 }).records).toEqual({ [A]: { key: 'a/x', freed: { atMs: 3, version: '7' } } });
    expect(assign([], { [A]: { key: 'a/x', freed: rest(1) } }, { nowMs: 3 }).records).toEqual({ [A]: { key: 'a/x', freed: rest(1) } });
  });

  it('of a former pool are replaced, and forgotten once they have rested', () => {
    const moved = assign([serviceRoute('a/x')], { '10.0.0.1': { key: 'a/x' }, '10.0.0.2': { key: 'b/y', freed: rest(0) } }, { mayReuse: ALWAYS });
    expect(moved.vips['a/x']).toMatch(/^127\.77\./);
    expect(moved.records['10.0.0.1']).toMatchObject({ key: 'a/x', freed: { atMs: 0 } });
    expect(moved.records['10.0.0.2']).toBeUndefined();
  });

  it('that are freed come back longest-free first, and only when they may', () => {
    const full = Object.fromEntries(Array.from({ length: pool.size }, (_, slot) => [address(slot), { key: `a/r${slot}` }]));
    const held = Array.from({ length: pool.size - 3 }, (_, i) => serviceRoute(`a/r${i + 3}`));
    const records = { ...full, [A]: { key: 'a/r0', freed: rest(30) }, [B]: { key: 'a/r1', freed: rest(10) }, [C]: { key: 'a/r2', freed: rest(20) } };
    const late = [serviceRoute('z/n1', {}, { createdAtMs: 1 }), serviceRoute('z/n2', {}, { createdAtMs: 2 }), serviceRoute('z/n3', {}, { createdAtMs: 3 })];
    const none = assign([...held, ...late], records);
    expect([none.vips['z/n1'], none.problems]).toEqual([undefined, ['z/n1 vip-exhausted', 'z/n2 vip-exhausted', 'z/n3 vip-exhausted']]);
    const some = assign([...held, ...late], records, { mayReuse: ({ atMs }) => atMs <= 20 });
    expect([some.vips['z/n1'], some.vips['z/n2'], some.vips['z/n3'], some.problems]).toEqual([B, C, undefined, ['z/n3 vip-exhausted']]);
  });
});

it('a crowd of long names never makes a ledger that a ConfigMap does not take', () => {
  const crowd = Array.from({ length: 7_900 }, (_, i) => serviceRoute(`${'n'.repeat(63)}/${`r${i}`.padEnd(63, 'x')}`, {}, { createdAtMs: i }));
  const result = assignVips({ routes: crowd, pool: parseVipPool('169.254.192.0/19'), records: new Map(), nowMs: 0, version: '1', mayReuse: ALWAYS, canFree: ALWAYS });
  const entries = Object.entries(renderLedger(new Map([...result.records].map(([vip, record]) => [vip, { ...record, freed: { atMs: 0, version: '18446744073709551615' } }]))));
  expect(entries.length).toBeGreaterThan(4_000);
  expect(entries.reduce((sum, [vip, text]) => sum + vip.length + text.length, 0)).toBeLessThan(1024 * 1024);
  expect(result.problems).toHaveLength(crowd.length - entries.length);
});

describe('a global name', () => {
  it('belongs to the eldest, then to its namespace, also against elder ones', () => {
    expect(assign([globalRoute('b/pay', 1), globalRoute('a/pay', 2)])).toMatchObject({ globalVips: { 'b/pay': expect.any(String) }, problems: ['a/pay global-name-conflict'] });
    expect(Object.keys(assign([globalRoute('b/pay', 1), globalRoute('a/pay', 2)], { [A]: { key: '*/pay', namespace: 'a' } }).globalVips)).toEqual(['a/pay']);
  });

  it('whose holder went is nobody else\'s while it rests', () => {
    const gone = assign([globalRoute('b/pay')], { [A]: { key: '*/pay', namespace: 'a', freed: rest(0) } });
    expect([gone.globalVips, gone.problems]).toEqual([{}, ['b/pay global-name-conflict']]);
  });

  it('whose holder went can be held again by its namespace, at the same address', () => {
    expect(assign([globalRoute('a/pay')], { [A]: { key: '*/pay', namespace: 'a', freed: rest(0) } }).globalVips).toEqual({ 'a/pay': A });
  });

  it('whose holder went goes to another namespace after its rest, at another address', () => {
    const after = assign([globalRoute('b/pay')], { [A]: { key: '*/pay', namespace: 'a', freed: rest(0) } }, { mayReuse: ALWAYS });
    expect(after.globalVips['b/pay']).not.toBe(A);
    expect(after.records[A]).toEqual({ key: '*/pay', namespace: 'a', freed: rest(0) });
  });

  it('that an administrator released (its entry is gone) is free at once', () => {
    expect(assign([globalRoute('b/pay')], {}).globalVips['b/pay']).toBeDefined();
  });

  it('is kept by a route whose spec became invalid', () => {
    expect(assign([serviceRoute('a/pay', null)], { [A]: { key: '*/pay', namespace: 'a' } }).globalVips).toEqual({ 'a/pay': A });
  });

  it('stays with who has it in status when the ledger was lost', () => {
    expect(assign([globalRoute('a/pay', 1), globalRoute('b/pay', 2, { globalVip: A })]).globalVips).toEqual({ 'b/pay': A });
  });
});

it('a ledger that says all there is to say is given back as it is', () => {
  const records: VipRecords = new Map([[A, { key: 'a/x' }], [B, { key: '*/x', namespace: 'a' }], [C, { key: 'b/gone', freed: rest(1) }]]);
  const next = assignVips({ routes: [globalRoute('a/x')], pool, records, nowMs: 5, version: '9', mayReuse: NEVER, canFree: ALWAYS }).records;
  expect([...next].every(([vip, record]) => records.get(vip) === record) && next.size === records.size).toBe(true);
});
