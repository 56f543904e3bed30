import { describe, expect, it } from 'vitest';
import { ipv4ToNumber, isRouteVip, numberToIpv4, pairedVip6, parseVipPool, poolContains } from '../../../src/model/vip-pool.ts';

describe('a VIP pool', () => {
  const pool = parseVipPool('169.254.192.0/19');

  it('keeps its first /24 for DNS and admin', () => {
    expect(pool).toMatchObject({ dnsAddress: '169.254.192.10', adminAddress: '169.254.192.11', loopback: false, size: 8192 - 256 - 1 });
  });

  it.each([
    ['169.254.192.0', true, false],
    ['169.254.192.255', true, false],
    ['169.254.193.0', true, true],
    ['169.254.223.254', true, true],
    ['169.254.223.255', true, false],
    ['169.254.224.0', false, false],
    ['169.254.191.255', false, false],
    ['fd00::1', false, false],
    ['nonsense', false, false],
  ])('contains %s: %s, for routes: %s', (address, contains, route) => {
    expect([poolContains(pool, address), isRouteVip(pool, address)]).toEqual([contains, route]);
  });

  it.each(['127.0.0.1', '0.0.0.0', '255.255.255.255', '10.96.0.7'])('%s survives the way to a number and back', (address) => {
    expect(numberToIpv4(ipv4ToNumber(address))).toBe(address);
  });

  it('pairs IPv6 addresses by offset', () => {
    const dual = parseVipPool('169.254.192.0/19,fd00::/64');
    expect(pairedVip6(dual, '169.254.193.1')).toBe('fd00::101');
    expect(poolContains(dual, 'fd00::101')).toBe(true);
    expect(pairedVip6(pool, '169.254.193.1')).toBeUndefined();
  });

  it.each([
    ['10.0.0.0', /CIDR/],
    ['10.0.0.1/16', /host bits.*10\.0\.0\.0\/16/],
    ['10.0.0.0/24', /\/8 to \/22/],
    ['127.88.0.0/16', /overlaps/],
    ['127.0.0.0/8', /overlaps/],
    ['127.77.0.0/16,fd00::/64', /127\/8/],
    ['169.254.192.0/19,fd00::/120', /smaller/],
    ['169.254.192.0/19,x', /IPv6 CIDR/],
    ['a,b,c', /CIDR/],
  ])('%s is refused', (text, message) => {
    expect(() => parseVipPool(text)).toThrow(message);
  });
});
