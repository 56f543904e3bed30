import { describe, expect, test } from 'vitest';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { isClaimTable, renderClaimTable } from '../../../src/node/claim-table.ts';
import { findPoolConflicts } from '../../../src/node/find-pool-conflicts.ts';
import { planNode, planRemoval } from '../../../src/node/plan-node.ts';
import type { FoundNode } from '../../../src/node/plan-node.ts';

const pool = parseVipPool('169.254.192.0/19');
const dual = parseVipPool('169.254.192.0/19,fd77::/64');
const NOTHING: FoundNode = { localRoutes: [], claim: { ip: 'absent', ip6: 'absent' }, nonlocalBind6: 'writable', loAddresses6: [] };

describe('planNode', () => {
  test('a bare node gets the claim, then the route', () => {
    expect(planNode({ pool, vips6: [] }, NOTHING)).toEqual([
      { kind: 'install-claim', family: 'ip', cidr: '169.254.192.0/19' },
      { kind: 'add-pool-route', family: 'ip', cidr: '169.254.192.0/19' },
    ]);
  });

  test('a prepared node needs nothing', () => {
    const found: FoundNode = { ...NOTHING, localRoutes: ['127.0.0.0/8', '169.254.192.0/19'], claim: { ip: 'as-wanted', ip6: 'absent' } };
    expect(planNode({ pool, vips6: [] }, found)).toEqual([]);
  });

  test('a claim for another pool is replaced, a missing route comes back', () => {
    expect(planNode({ pool, vips6: [] }, { ...NOTHING, claim: { ip: 'different', ip6: 'absent' } }).map((step) => step.kind)).toEqual(['install-claim', 'add-pool-route']);
  });

  test('a 127/8 pool needs nothing, and nothing is removed', () => {
    const wanted = { pool: parseVipPool('127.77.0.0/16'), vips6: [] };
    expect(planNode(wanted, NOTHING)).toEqual([]);
    expect(planRemoval(wanted.pool, { ...NOTHING, claim: { ip: 'different', ip6: 'absent' } }, false)).toEqual([]);
  });

  describe('with an IPv6 pool', () => {
    const ready: FoundNode = { ...NOTHING, localRoutes: [dual.cidr, 'fd77::/64'], claim: { ip: 'as-wanted', ip6: 'as-wanted' } };
    const vips6 = ['fd77::100', 'fd77::101'];

    test('both families are prepared', () => {
      expect(planNode({ pool: dual, vips6 }, NOTHING).map((step) => ('family' in step ? `${step.kind} ${step.family}` : step.kind))).toEqual([
        'install-claim ip',
        'add-pool-route ip',
        'install-claim ip6',
        'add-pool-route ip6',
        'set-nonlocal-bind6',
      ]);
    });

    test('the sysctl where it is writable, else an address per VIP', () => {
      expect(planNode({ pool: dual, vips6 }, ready)).toEqual([{ kind: 'set-nonlocal-bind6', on: true }]);
      expect(planNode({ pool: dual, vips6 }, { ...ready, nonlocalBind6: 'on' })).toEqual([]);
      expect(planNode({ pool: dual, vips6 }, { ...ready, nonlocalBind6: 'read-only', loAddresses6: ['::1', 'fd77::100'] })).toEqual([
        { kind: 'add-address6', address: 'fd77::101' },
      ]);
    });

    test('the address of a route that is gone is taken away, others stay', () => {
      expect(planNode({ pool: dual, vips6: ['fd77::100'] }, { ...ready, nonlocalBind6: 'read-only', loAddresses6: ['::1', 'fd77::100', 'fd77::101', 'fd99::1'] })).toEqual([
        { kind: 'remove-address6', address: 'fd77::101' },
      ]);
    });

    test('removal undoes all of it, and leaves a sysctl and addresses of others', () => {
      const found: FoundNode = { ...ready, nonlocalBind6: 'on', loAddresses6: ['::1', 'fd77::100', 'fd99::1'] };
      const kinds = (wasSet: boolean) => planRemoval(dual, found, wasSet).map((step) => step.kind);
      expect(kinds(false)).toEqual(['remove-address6', 'remove-pool-route', 'remove-claim', 'remove-pool-route', 'remove-claim']);
      expect(kinds(true)).toContain('set-nonlocal-bind6');
      expect(planRemoval(dual, NOTHING, false)).toEqual([]);
    });
  });
});

describe('the claim table', () => {
  const rule = (chain: string, addr = '169.254.192.0', len = 19) => ({
    rule: {
      family: 'ip',
      table: 'onehop',
      chain,
      handle: 3,
      expr: [
        { match: { op: '==', left: { payload: { protocol: 'ip', field: 'daddr' } }, right: { prefix: { addr, len } } } },
        { dnat: { addr: { payload: { protocol: 'ip', field: 'daddr' } } } },
      ],
    },
  });
  const chain = (hook: string, prio = -110) => ({ chain: { family: 'ip', table: 'onehop', name: hook, handle: 1, type: 'nat', hook, prio, policy: 'accept' } });
  const listing = (...objects: readonly unknown[]) =>
    JSON.stringify({ nftables: [{ metainfo: { version: '1.0.6' } }, { table: { family: 'ip', name: 'onehop', handle: 2 } }, ...objects] });
  const complete = [chain('prerouting'), chain('output'), rule('prerouting'), rule('output')];

  test('replaces in one transaction whatever bears its name', () => {
    expect(renderClaimTable('ip', '169.254.192.0/19')).toBe(`table ip onehop
delete table ip onehop
table ip onehop {
  chain prerouting {
    type nat hook prerouting priority -110; policy accept;
    ip daddr 169.254.192.0/19 dnat to ip daddr
  }
  chain output {
    type nat hook output priority -110; policy accept;
    ip daddr 169.254.192.0/19 dnat to ip daddr
  }
}
`);
  });

  test('is recognized in what nft lists, in any order', () => {
    expect(isClaimTable(listing(...complete), 'ip', '169.254.192.0/19')).toBe(true);
    expect(isClaimTable(listing(...complete.toReversed()), 'ip', '169.254.192.0/19')).toBe(true);
  });

  test.each([
    ['another pool', complete, '169.254.224.0/19'],
    ['a missing rule', complete.slice(0, 3), '169.254.192.0/19'],
    ['one more rule', [...complete, rule('output')], '169.254.192.0/19'],
    ['another priority', [chain('prerouting', -100), ...complete.slice(1)], '169.254.192.0/19'],
    ['an empty table', [], '169.254.192.0/19'],
  ])('%s is not it', (_what, objects, cidr) => {
    expect(isClaimTable(listing(...objects), 'ip', cidr)).toBe(false);
  });
});

describe('findPoolConflicts', () => {
  const local = (dst: string, dev = 'lo') => ({ dst, type: 'local', dev, table: 'local' });

  test('its own routes and unrelated ones are no conflict', () => {
    const routes = [local('169.254.192.0/19'), local('127.0.0.0/8'), local('fd77::/64'), local('fd77::100'), { dst: 'default', type: 'unicast', dev: 'eth0' }, { dst: '::/0', type: 'unicast' }, { dst: '0.0.0.0/1', type: 'unicast' }, { dst: '169.254.169.254', type: 'unicast', dev: 'eth0' }];
    expect(findPoolConflicts(dual, routes)).toEqual([]);
  });

  test.each([
    [local('169.254.200.10', 'nodelocaldns'), "the pool 169.254.192.0/19 overlaps the node's route 169.254.200.10 on nodelocaldns (table local)"],
    [{ dst: '169.254.0.0/16', type: 'unicast', dev: 'eth0' }, "the pool 169.254.192.0/19 overlaps the node's route 169.254.0.0/16 on eth0"],
    [{ dst: 'fd77::/56', type: 'unicast', dev: 'eth1' }, "the pool fd77::/64 overlaps the node's route fd77::/56 on eth1"],
  ])('%j', (route, message) => {
    expect(findPoolConflicts(dual, [route]).map((conflict) => conflict.message)).toEqual([message]);
  });
});
