import { describe, expect, test } from 'vitest';
import { buildZone } from '../../../src/dns/build-zone.ts';
import { wireName } from '../../../src/dns/wire.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { dnsRoute, dnsVersion, dnsZone } from '../../support/dns-zone.ts';

const cart = dnsRoute({ namespace: 'shop', name: 'cart', vip: '127.77.1.1' });

describe('names of a route', () => {
  test('address, text and service records stand under route.namespace.zone', () => {
    const { names } = dnsZone([{ ...cart, listen: 8080, targetPort: 'web' }]);
    expect(names.get('cart.shop.route.internal')).toEqual({ A: ['127.77.1.1'], TXT: [['route shop/cart', 'http port 8080', 'rule none']] });
    const srv = { SRV: [{ priority: 0, weight: 0, port: 8080, target: 'cart.shop.route.internal' }] };
    for (const service of ['_http', '_8080', '_web']) expect(names.get(`${service}._tcp.cart.shop.route.internal`)).toEqual(srv);
    expect(names.get('1.1.77.127.in-addr.arpa')).toEqual({ PTR: ['cart.shop.route.internal'] });
  });

  test('a tcp route has no _http record, and a numbered target port no record of its own', () => {
    const { names } = dnsZone([{ ...cart, protocol: 'tcp', listen: 5432, targetPort: 5433 }]);
    expect([...names.keys()].filter((name) => name.includes('._tcp.'))).toEqual(['_5432._tcp.cart.shop.route.internal']);
  });

  test('a target port that is no label makes no name', () => {
    const { names } = dnsZone([{ ...cart, targetPort: 'evil.name' }, { ...cart, name: 'b', targetPort: 'x'.repeat(63) }]);
    expect([...names.keys()].filter((name) => name.includes('evil') || name.includes('xxx'))).toEqual([]);
  });

  test('a name that would be too long in a long zone is left out, others stay', () => {
    const [label, zoneName] = ['a'.repeat(63), `${`${'z'.repeat(30)}.`.repeat(4)}z`];
    const routes = [dnsRoute({ namespace: label, name: label, vip: '127.77.1.1', targetPort: 'p'.repeat(62) })];
    const { names } = buildZone({ zoneName, globalNamespace: 'global', pool: parseVipPool('127.77.0.0/16'), routes, nodeName: 'n', version: '1' });
    expect(zoneName).toHaveLength(125);
    for (const name of names.keys()) expect(() => wireName(name)).not.toThrow();
    expect(names.get(`${label}.${label}.${zoneName}`)?.A).toEqual(['127.77.1.1']);
    expect([...names.keys()].filter((name) => name.includes('._tcp.'))).toEqual([]);
  });

  test('a public route has a second name with its own address', () => {
    const { names } = dnsZone([{ ...cart, globalVip: '127.77.1.9' }]);
    expect(names.get('cart.global.route.internal')?.A).toEqual(['127.77.1.9']);
    expect(names.get('9.1.77.127.in-addr.arpa')).toEqual({ PTR: ['cart.global.route.internal'] });
  });

  test('a route inside the global namespace cannot take a name there', () => {
    const { names } = dnsZone([{ ...cart, globalVip: '127.77.1.9' }, dnsRoute({ namespace: 'global', name: 'cart', vip: '127.77.1.8' })]);
    expect(names.get('cart.global.route.internal')?.A).toEqual(['127.77.1.9']);
  });

  test('a name that is no label is left out', () => {
    const { names } = dnsZone([dnsRoute({ namespace: 'shop', name: 'a.b', vip: '127.77.1.1' }), dnsRoute({ namespace: 'Sh op', name: 'a', vip: '127.77.1.2' })]);
    expect([...names.keys()].filter((name) => name.endsWith('.route.internal'))).toEqual(['ns.route.internal']);
  });

  test('the text never grows beyond what one packet holds, and stays printable', () => {
    const versions = Array.from({ length: 16 }, (_, i) => dnsVersion(`${'v'.repeat(60)}${i}`));
    const rule = { type: 'Header' as const, header: `x-\n${'h'.repeat(400)}`, prefer: 'v' };
    const [text = []] = dnsZone([{ ...cart, rule, versions }]).names.get('cart.shop.route.internal')?.TXT ?? [];
    expect(text.reduce((sum, part) => sum + part.length + 1, 0)).toBeLessThanOrEqual(800);
    expect(text.join('')).toMatch(/^[\x20-\x7e]+$/);
    expect(text.at(-1)).toMatch(/^and \d+ more$/);
  });

  test('endpoints do not change the zone; an address does', () => {
    const version = { ...dnsVersion('a'), active: [{ address: '127.88.1.1', port: 80, tier: 'node' as const, state: 'ready' as const }] };
    const before = dnsZone([{ ...cart, versions: [dnsVersion('a')] }]);
    expect(dnsZone([{ ...cart, versions: [version] }]).fingerprint).toBe(before.fingerprint);
    const moved = dnsZone([{ ...cart, versions: [dnsVersion('a')], vip: '127.77.1.2' }]);
    expect(moved.serial).not.toBe(before.serial);
    expect(moved.fingerprint).not.toBe(before.fingerprint);
  });
});

describe('the shape of the zone', () => {
  test('names between a record and its apex exist without records', () => {
    const { names } = dnsZone([cart]);
    for (const name of ['shop.route.internal', '_tcp.cart.shop.route.internal', '1.77.127.in-addr.arpa']) expect(names.get(name)).toEqual({});
    expect(names.has('internal')).toBe(false);
    expect(names.has('127.in-addr.arpa')).toBe(false);
  });

  test('a namespace called ns lives beside the name server of that name', () => {
    const { names } = dnsZone([dnsRoute({ namespace: 'ns', name: 'a', vip: '127.77.1.1' })]);
    expect(names.get('ns.route.internal')).toEqual({ A: ['127.77.0.10'] });
    expect(names.get('a.ns.route.internal')?.A).toEqual(['127.77.1.1']);
  });

  test('a /19 pool is reversed by 32 zones, each with SOA and NS', () => {
    const { names } = dnsZone([], parseVipPool('169.254.192.0/19'));
    const apexes = [...names].filter(([, records]) => records.SOA !== undefined && records.NS !== undefined).map(([name]) => name);
    expect(apexes).toHaveLength(33);
    expect(apexes).toContain('192.254.169.in-addr.arpa');
    expect(apexes).toContain('223.254.169.in-addr.arpa');
  });

  test.each([
    ['10.0.0.0/8', 0, ['10.in-addr.arpa']],
    ['10.64.0.0/15', 0, ['64.10.in-addr.arpa', '65.10.in-addr.arpa']],
    ['10.0.4.0/22', 0, ['4.0.10.in-addr.arpa', '5.0.10.in-addr.arpa', '6.0.10.in-addr.arpa', '7.0.10.in-addr.arpa']],
    ['169.254.192.0/22,fd00:1:2::/64', 1, ['0.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa']],
    ['169.254.192.0/22,fd00:1:2::/62', 4, ['0.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa', '3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa']],
    ['169.254.192.0/22,fd00:1:2::/58', 4, ['0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa', '3.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa']],
  ])('reverse zones of %s', (pool, zones6, expected) => {
    const { names } = dnsZone([], parseVipPool(pool));
    const apexes = [...names].filter(([, records]) => records.SOA !== undefined).map(([name]) => name);
    for (const apex of expected) expect(apexes).toContain(apex);
    expect(apexes.filter((name) => name.endsWith('ip6.arpa'))).toHaveLength(zones6);
  });

  test('with an IPv6 pool a route has AAAA and an ip6.arpa name', () => {
    const pool = parseVipPool('169.254.192.0/19,fd00::/64');
    const { names } = dnsZone([dnsRoute({ namespace: 'shop', name: 'cart', vip: '169.254.193.1', vip6: 'fd00::101' })], pool);
    expect(names.get('cart.shop.route.internal')?.AAAA).toEqual(['fd00::101']);
    expect(names.get(`1.0.1.0.${'0.'.repeat(24)}0.0.d.f.ip6.arpa`)?.PTR).toEqual(['cart.shop.route.internal']);
  });
});
