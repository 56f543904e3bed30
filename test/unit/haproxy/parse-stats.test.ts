import { describe, expect, it } from 'vitest';
import { parseStats } from '../../../src/haproxy/parse-stats.ts';
import { anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const COLUMNS = ['pxname', 'svname', 'stot', 'lbtot', 'hrsp_2xx', 'hrsp_5xx', 'req_tot'];
const csv = (...rows: (string | number)[][]) => [`# ${COLUMNS.join(',')},`, ...rows.map((row) => `${row.join(',')},`), ''].join('\n');

describe('show stat', () => {
  const near = anEndpoint('127.88.72.1', 80);
  const far = anEndpoint('127.88.72.2', 80, { tier: 'any' });
  const table = aTable([aRoute('cart', { vip: '127.72.9.1', listen: 80, versions: [aVersion('cart-a', [near], { backup: [far] })] })], []);

  it('gives calls by route, refusals by code and answers by tier', () => {
    const counts = parseStats(
      csv(
        ['shop.cart', 'FRONTEND', 4, '', 8, 3, 20],
        ['shop.cart.cart-a', '127.88.72.1:80', 9, 9, 7, 1, 0],
        ['shop.cart.cart-a', '127.88.72.2:80', 2, 2, 1, 0, 0],
        ['shop.cart.cart-a', 'BACKEND', 11, 11, 8, 3, 11],
        ['acl-denied', 'BACKEND', 6, 0, 0, 0, 6],
      ),
      table,
    );
    expect(counts.routes).toEqual([{ namespace: 'shop', route: 'cart', calls: 20 }]);
    expect(counts.answered).toEqual({ node: 8, any: 1 });
    expect(counts.left).toEqual({ down: 1 });
    expect(counts.refused).toMatchObject({ 'acl-denied': 6, 'no-version': 0, failed: 2 });
  });

  it('gives refusals of versions by their table, and does not take them for failures of servers', () => {
    const head = '# pxname,svname,dreq,hrsp_5xx,';
    const rows = ['shop.cart.cart-a,127.88.72.1:80,,2,', 'shop.cart.cart-a,BACKEND,7,10,'];
    const refused = ['# table: refused-by-version, type: ipv6, size:10240, used:2', '0x1: key=::ffff:127.88.72.5 use=0 exp=0 gpc0=3 gpc1=4', '0x2: key=::1 use=0 exp=0 gpc0=0 gpc1=10'].join('\n');
    expect(parseStats([head, ...rows].join('\n'), table, refused).refused).toMatchObject({ 'conn-limit': 3, 'breaker-open': 14, failed: 1 });
  });

  it('gives why calls left the node', () => {
    const zone = anEndpoint('127.88.72.3', 80, { tier: 'zone' });
    const spilling = aRoute('spilling', { vip: '127.72.9.2', listen: 80, versions: [aVersion('v', [near], { backup: [zone], spill: { at: 5, tiers: [[zone], [far]] } })] });
    const remote = aRoute('remote', { vip: '127.72.9.3', listen: 80, versions: [aVersion('v', [zone], { backup: [far] })] });
    const wide = aRoute('wide', { vip: '127.72.9.4', listen: 81, protocol: 'tcp', locality: 'Cluster', versions: [aVersion('v', [near, far])] });
    const counts = parseStats(
      csv(
        ['shop.spilling.v', '127.88.72.1:80', 0, 0, 100, 0, 0],
        ['shop.spilling.v', '127.88.72.3:80', 0, 0, 1, 0, 0],
        ['shop.spilling.v:2', '127.88.72.3:80.plain', 0, 0, 20, 0, 0],
        ['shop.spilling.v:2', '127.88.72.2:80', 0, 0, 2, 0, 0],
        ['shop.spilling.v:3', '127.88.72.2:80', 0, 0, 300, 0, 0],
        ['shop.remote.v', '127.88.72.3:80', 0, 0, 4000, 0, 0],
        ['shop.wide.v', '127.88.72.1:80', 7, 0, 0, 0, 0],
        ['shop.wide.v', '127.88.72.2:80', 50_000, 0, 0, 0, 0],
      ),
      aTable([spilling, remote, wide]),
    );
    expect(counts.left).toEqual({ down: 1, saturated: 322, 'no-endpoint': 4000, cluster: 50_000 });
    expect(counts.answered).toEqual({ node: 107, zone: 4021, any: 50_302 });
  });

  it('of a worker that does not know the route yet gives zeros', () => {
    expect(parseStats(csv(), table).routes).toEqual([{ namespace: 'shop', route: 'cart', calls: 0 }]);
  });
});
