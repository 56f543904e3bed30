import { describe, expect, test } from 'vitest';
import { buildDnsAccess, isTrustedListener, mayTransfer } from '../../../src/dns/access.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';

const access = buildDnsAccess(parseVipPool('169.254.192.0/19,fd00::/64'), ['192.168.1.5', '2001:db8::5', 'not an address']);

describe('listeners that answer CH and AXFR', () => {
  test.each([
    ['169.254.192.10', true],
    ['127.0.0.1', true],
    ['fd00::a', true],
    ['::1', true],
    ['::ffff:169.254.192.10', true],
    ['192.168.1.5', false],
    ['0.0.0.0', false],
    ['::', false],
    ['169.254.20.10', false],
    ['', false],
  ])('%s: %s', (address, trusted) => expect(isTrustedListener(access, address)).toBe(trusted));
});

describe('zone transfers', () => {
  test.each([
    ['the listener itself', '169.254.192.10', '169.254.192.10', true],
    ['a process of the node by its own address', '192.168.1.5', '169.254.192.10', true],
    ['the same over IPv6', '2001:db8::5', 'fd00::a', true],
    ['loopback', '127.0.0.1', '127.0.0.1', true],
    ['a pod on loopback', '127.88.1.1', '127.71.0.10', false],
    ['a pod', '10.244.1.7', '169.254.192.10', false],
    ['another machine on the node address', '192.168.1.9', '192.168.1.5', false],
    ['the node itself, on the node address', '192.168.1.5', '192.168.1.5', false],
    ['a source that is none', '', '169.254.192.10', false],
  ])('%s', (_, source, local, allowed) => expect(mayTransfer(access, source, local)).toBe(allowed));
});
