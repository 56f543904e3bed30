import { describe, expect, it } from 'vitest';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { buildTable } from '../../../src/routing/build-table.ts';
import { readStatusVips } from '../../../src/routing/read-status-vips.ts';
import { serviceRoute, snapshot } from '../../support/objects.ts';

const pool = parseVipPool('169.254.192.0/19');
const read = (...routes: Parameters<typeof readStatusVips>[0]) => {
  const { vips, globalVips, problems } = readStatusVips(routes, pool);
  return { vips: Object.fromEntries(vips), globalVips: Object.fromEntries(globalVips), problems: problems.map((one) => `${one.object.namespace}/${one.object.name} ${one.code}`) };
};
const route = (key: string, status: { vip?: string; globalVip?: string }, createdAtMs = 0, global: boolean | null = false) =>
  serviceRoute(key, global === null ? null : { global }, { status, createdAtMs });
const [A, B, G] = ['169.254.193.1', '169.254.193.2', '169.254.200.1'];

describe('addresses that the controller gave', () => {
  it('are used as they are', () => {
    expect(read(route('a/x', { vip: A }), route('a/y', { vip: B, globalVip: G }, 0, true))).toEqual({ vips: { 'a/x': A, 'a/y': B }, globalVips: { 'a/y': G }, problems: [] });
  });

  it('that are missing are waited for, never invented', () => {
    expect(read(route('a/x', {}))).toEqual({ vips: {}, globalVips: {}, problems: ['a/x vip-pending'] });
  });

  it.each(['169.254.192.10', '169.254.223.255', '10.0.0.1', 'fd00::1', 'nonsense'])('are refused where the pool has none: %s', (vip) => {
    expect(read(route('a/x', { vip }))).toEqual({ vips: {}, globalVips: {}, problems: ['a/x vip-refused'] });
  });

  it('stay with the eldest when two have the same', () => {
    expect(read(route('a/young', { vip: A }, 2), route('b/old', { vip: A }, 1))).toEqual({ vips: { 'b/old': A }, globalVips: {}, problems: ['a/young vip-refused'] });
  });

  it('are one space for own and global ones; what a route calls by its own name comes first', () => {
    expect(read(route('a/x', { vip: B, globalVip: A }, 1, true), route('b/y', { vip: A }, 2))).toEqual({ vips: { 'a/x': B, 'b/y': A }, globalVips: {}, problems: ['a/x vip-refused'] });
  });
});

describe('a global VIP', () => {
  it('is not served once the spec says that the route is private', () => {
    expect(read(route('a/x', { vip: A, globalVip: G }, 0, false)).globalVips).toEqual({});
  });

  it('stays while the spec is invalid', () => {
    expect(read(route('a/x', { vip: A, globalVip: G }, 0, null)).globalVips).toEqual({ 'a/x': G });
  });

  it('is not served for a route without an address of its own', () => {
    expect(read(route('a/x', { globalVip: G }, 0, true))).toEqual({ vips: {}, globalVips: {}, problems: ['a/x vip-pending'] });
  });

  it('of one name on two routes stays with the eldest', () => {
    const found = read(route('b/pay', { vip: B, globalVip: '169.254.200.2' }, 2, true), route('a/pay', { vip: A, globalVip: G }, 1, true));
    expect([found.globalVips, found.problems]).toEqual([{ 'a/pay': G }, ['b/pay global-name-conflict']]);
  });
});

it('a table in this mode leaves out what has no address, says so, and does not touch the ledger', () => {
  const ledger = { 'a/gone': { vip: '169.254.193.9' } };
  const options = { nodeName: 'n1', ownAddresses: [], pool, vips: 'status' as const, globalNamespace: 'global', trustedCallers: [], httpPort: 80 };
  const built = buildTable(snapshot({ serviceRoutes: [route('a/x', { vip: A }), route('a/y', {})] }), options, ledger, 0);
  expect(built.table.routes.map(({ name, vip }) => [name, vip])).toEqual([['x', A]]);
  expect(built.table.problems.map(({ object, code }) => [object.name, code])).toEqual(expect.arrayContaining([['y', 'vip-pending']]));
  expect(built.ledger).toBe(ledger);
});
