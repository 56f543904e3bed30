import { describe, expect, test } from 'vitest';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { divertRuleWords, findDivertRules, isDivertTable, renderDivertTable } from '../../../src/node/divert.ts';
import { describeBridges } from '../../../src/node/find-shared-bridges.ts';
import { planNode, planRemoval } from '../../../src/node/plan-node.ts';
import type { FoundDivert, FoundNode, NodeStep } from '../../../src/node/plan-node.ts';

const pool = parseVipPool('169.254.192.0/19');
const NOTHING: FoundDivert = { table: 'absent', rules: [], route: false };
const WHOLE: FoundDivert = { table: 'as-wanted', rules: ['reverse', 'divert'], route: true };

/** A node whose pool is in place. */
const node = (ip: FoundDivert, ip6 = NOTHING): FoundNode => ({
  localRoutes: [pool.cidr, 'fd77::/64'],
  claim: { ip: 'as-wanted', ip6: 'as-wanted' },
  nonlocalBind6: 'on',
  loAddresses6: [],
  divert: { ip, ip6 },
});
const names = (steps: readonly NodeStep[]): readonly string[] => steps.map((step) => [step.kind, 'rule' in step ? step.rule : '', 'family' in step ? step.family : ''].filter((word) => word !== '').join(' '));
const wanted = { pool, vips6: [], divert: true };

describe('planNode with the divert', () => {
  test('a bare node gets the route, the rules, and last what marks', () => {
    expect(names(planNode(wanted, node(NOTHING)))).toEqual(['add-divert-route ip', 'add-divert-rule reverse ip', 'add-divert-rule divert ip', 'install-divert ip']);
  });

  test.each<[string, FoundDivert, readonly string[]]>([
    ['nothing', WHOLE, []],
    ['a rule', { ...WHOLE, rules: ['divert'] }, ['add-divert-rule reverse ip']],
    ['the route', { ...WHOLE, route: false }, ['add-divert-route ip']],
    ['the right table', { ...WHOLE, table: 'different' }, ['install-divert ip']],
  ])('%s is missing', (_what, found, steps) => {
    expect(names(planNode(wanted, node(found)))).toEqual(steps);
  });

  test('IPv6 where the pool has it', () => {
    const dual = parseVipPool('169.254.192.0/19,fd77::/64');
    expect(names(planNode({ ...wanted, pool: dual }, node(WHOLE)))).toEqual(['add-divert-route ip6', 'add-divert-rule reverse ip6', 'add-divert-rule divert ip6', 'install-divert ip6']);
  });

  test('nothing of it unless it is wanted', () => {
    expect(planNode({ pool, vips6: [] }, node(NOTHING))).toEqual([]);
  });

  test('removal takes away what is there, what marks first', () => {
    expect(names(planRemoval(pool, node(WHOLE), false))).toEqual(['remove-pool-route ip', 'remove-claim ip', 'remove-divert ip', 'remove-divert-rule reverse ip', 'remove-divert-rule divert ip', 'remove-divert-route ip']);
    expect(names(planRemoval(pool, node({ ...NOTHING, table: 'different' }), false))).toContain('remove-divert ip');
    expect(names(planRemoval(pool, node(NOTHING), false))).toEqual(['remove-pool-route ip', 'remove-claim ip']);
  });
});

test('the rules in the words of ip', () => {
  expect(divertRuleWords('reverse').join(' ')).toBe('priority 89 iif lo fwmark 0x1000/0xffff lookup main');
  expect(divertRuleWords('divert').join(' ')).toBe('priority 90 fwmark 0x1000/0xffff lookup 9810');
});

describe('findDivertRules', () => {
  const divert = { priority: 90, src: 'all', fwmark: '0x1000', fwmask: '0xffff', table: '9810' };
  const reverse = { priority: 89, src: 'all', iif: 'lo', fwmark: '0x1000', fwmask: '0xffff', table: 'main' };
  const local = { priority: 0, src: 'all', table: 'local' };

  test.each<[string, readonly unknown[], readonly string[]]>([
    ['both', [local, reverse, divert], ['reverse', 'divert']],
    ['one', [local, divert], ['divert']],
    ['another mark', [reverse, { ...divert, fwmark: '0x2000' }], ['reverse']],
    ['another mask', [{ ...divert, fwmask: '0xffffffff' }], []],
    ['another table', [{ ...divert, table: '100' }], []],
    ['only from one network', [{ ...divert, src: '10.0.0.0', srclen: 8 }], []],
    ['only for one device', [{ ...divert, iif: 'eth0' }], []],
    ['another place', [{ ...divert, priority: 32_000 }], []],
    ['none', [], []],
  ])('%s', (_what, rules, found) => {
    expect(findDivertRules(JSON.stringify(rules))).toEqual(found);
  });

  test('an empty answer has none', () => expect(findDivertRules('')).toEqual([]));
});

describe('the divert table', () => {
  const own = { family: 'ip', table: 'onehop_client_ip' };
  const tcp = { match: { op: '==', left: { meta: { key: 'l4proto' } }, right: 'tcp' } };
  const socket = (key: string) => ({ match: { op: '==', left: { socket: { key } }, right: 1 } });
  const mark = { meta: { key: 'mark' } };
  const chain = { chain: { ...own, name: 'prerouting', handle: 1, type: 'filter', hook: 'prerouting', prio: -150, policy: 'accept' } };
  const skip = { rule: { ...own, chain: 'prerouting', handle: 2, expr: [tcp, socket('wildcard'), { return: null }] } };
  const set = { rule: { ...own, chain: 'prerouting', handle: 3, expr: [tcp, socket('transparent'), { mangle: { key: mark, value: { '|': [{ '&': [mark, 0xffff1000] }, 0x1000] } } }] } };
  const listing = (...objects: readonly unknown[]): string => JSON.stringify({ nftables: [{ metainfo: {} }, { table: { family: 'ip', name: 'onehop_client_ip', handle: 4 } }, ...objects] });

  test('leaves the upper half of a mark as it is', () => {
    expect(renderDivertTable('ip6')).toContain('socket transparent 1 meta mark set meta mark & 0xffff0000 | 0x1000\n');
  });

  test('is recognized in what nft lists', () => {
    expect(isDivertTable(listing(chain, skip, set), 'ip')).toBe(true);
  });

  test.each([
    ['the other order', [chain, set, skip]],
    ['one rule', [chain, set]],
    ['one more rule', [chain, skip, set, set]],
    ['nothing', []],
  ])('%s is not it', (_what, objects) => {
    expect(isDivertTable(listing(...objects), 'ip')).toBe(false);
  });
});

test('bridges are described with their names and a remedy, none is none', () => {
  expect(describeBridges([])).toBeUndefined();
  expect(describeBridges(['cbr0', 'cni0'])).toMatchObject({ code: 'client-ip-bridge', exitCode: 3, message: expect.stringContaining('cbr0, cni0'), remedy: expect.stringContaining('a route for each pod') });
});
