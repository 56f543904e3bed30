import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildDnsAccess } from '../../src/dns/access.ts';
import { openDnsServer, type DnsServer } from '../../src/dns/io/open-dns-server.ts';
import { dnsRoute, dnsVersion, dnsZone, LOOPBACK_POOL, manyDnsRoutes } from '../support/dns-zone.ts';

/** What people see with `dig`, on the real server. */
const run = promisify(execFile);
const V4 = { address: '127.71.0.10', port: 7153 };
const V6 = { address: '::1', port: 7153 };
const zone = dnsZone([
  ...manyDnsRoutes(400),
  dnsRoute({ namespace: 'shop', name: 'cart', vip: '127.77.9.1', vip6: 'fd00::1', globalVip: '127.77.9.2', targetPort: 'web' }),
  dnsRoute({ namespace: 'shop', name: 'big', vip: '127.77.9.3', versions: Array.from({ length: 10 }, (_, i) => dnsVersion(`${'v'.repeat(60)}${i}`)) }),
]);
let server: DnsServer;

beforeAll(async () => {
  server = await openDnsServer({ listen: [V4, V6], zone, access: buildDnsAccess(LOOPBACK_POOL), onFault: (cause) => expect.unreachable(cause.message) });
});
afterAll(() => server.close());

/** dig's output, whatever its exit code. */
async function dig(...args: string[]): Promise<string> {
  const { stdout } = await run('dig', ['@127.71.0.10', '-p', '7153', '+tries=1', '+time=5', ...args]).catch((error: { stdout: string }) => error);
  return stdout;
}
const short = async (...args: string[]): Promise<string> => (await dig('+short', ...args)).trim();
const status = (output: string): string | undefined => /status: (\w+)/.exec(output)?.[1];
const flags = (output: string): string | undefined => /flags: ([\w ]*);/.exec(output)?.[1];
/** The answer without what differs from call to call. */
const stable = (output: string): string => output.replace(/^;; (Query time|WHEN|SERVER).*$/gm, '').replace(/id: \d+/, '').replace(/^; <<>>.*$/m, '');

describe('records', () => {
  test.each([
    [['cart.shop.route.internal', 'A'], '127.77.9.1'],
    [['cart.shop.route.internal', 'AAAA'], 'fd00::1'],
    [['cart.global.route.internal', 'A'], '127.77.9.2'],
    [['_http._tcp.cart.shop.route.internal', 'SRV'], '0 0 80 cart.shop.route.internal.'],
    [['_web._tcp.cart.shop.route.internal', 'SRV'], '0 0 80 cart.shop.route.internal.'],
    [['_80._tcp.cart.shop.route.internal', 'SRV'], '0 0 80 cart.shop.route.internal.'],
    [['cart.shop.route.internal', 'TXT'], '"route shop/cart" "http port 80" "rule none"'],
    [['-x', '127.77.9.1'], 'cart.shop.route.internal.'],
    [['-x', '127.77.9.2'], 'cart.global.route.internal.'],
    [['route.internal', 'NS'], 'ns.route.internal.'],
    [['ns.route.internal', 'A'], '127.77.0.10'],
    [['route.internal', 'SOA'], `ns.route.internal. hostmaster.route.internal. ${zone.serial} 60 30 86400 5`],
    [['id.server', 'TXT', 'CH'], '"node-a"'],
    [['version.server', 'TXT', 'CH'], '"onehop 0.1.0"'],
    [['cart.shop.route.internal', 'ANY', '+notcp'], '"RFC8482" ""'],
  ])('dig %j', async (args, expected) => {
    expect(await short(...args)).toBe(expected);
    expect(await short(...args, '+tcp')).toBe(expected);
    expect(await short(...args, '+noedns')).toBe(expected);
  });

  test('an IPv6 listener answers alike', async () => {
    const { stdout } = await run('dig', ['@::1', '-p', '7153', '+short', 'cart.shop.route.internal']);
    expect(stdout.trim()).toBe('127.77.9.1');
  });

  test('the answer is authoritative, without recursion, and keeps the case of the question', async () => {
    const output = await dig('CaRt.sHoP.route.INTERNAL');
    expect(flags(output)).toBe('qr aa rd');
    expect(output).toMatch(/^CaRt\.sHoP\.route\.INTERNAL\.\s+30\s+IN\s+A\s+127\.77\.9\.1$/m);
  });
});

describe('errors', () => {
  test.each([
    ['nope.shop.route.internal', 'NXDOMAIN', 'route.internal.'],
    ['shop.route.internal', 'NOERROR', 'route.internal.'],
    ['_tcp.cart.shop.route.internal', 'NOERROR', 'route.internal.'],
    ['200.200.77.127.in-addr.arpa', 'NXDOMAIN', '77.127.in-addr.arpa.'],
    ['9.77.127.in-addr.arpa', 'NOERROR', '77.127.in-addr.arpa.'],
  ])('%s: %s, with the SOA of %s', async (name, expected, apex) => {
    const output = await dig(name);
    expect(status(output)).toBe(expected);
    expect(output).toMatch(new RegExp(`^${apex}\\s+5\\s+IN\\s+SOA`, 'm'));
  });

  test.each([
    ['outside the zone', ['example.com'], 'REFUSED'],
    ['a zone transfer over UDP', ['route.internal', 'AXFR', '+notcp', '+ignore'], undefined],
    ['another EDNS version', ['route.internal', '+edns=1', '+noednsneg'], 'BADVERS'],
    ['another opcode', ['route.internal', '+opcode=STATUS'], 'NOTIMP'],
    ['a dynamic update', ['route.internal', '+opcode=UPDATE'], 'NOTIMP'],
  ])('%s', async (_, args, expected) => expect(status(await dig(...args))).toBe(expected));

  test('what does not fit 512 bytes is cut, and asked again over TCP', async () => {
    const cut = await dig('big.shop.route.internal', 'TXT', '+bufsize=512', '+ignore');
    expect(flags(cut)).toContain('tc');
    expect(cut).toContain('ANSWER: 0');
    expect(flags(await dig('big.shop.route.internal', 'TXT', '+noedns', '+ignore'))).toContain('tc');
    expect(await short('big.shop.route.internal', 'TXT', '+bufsize=512')).toContain('version vvv');
    expect(flags(await dig('big.shop.route.internal', 'TXT', '+bufsize=4096', '+ignore'))).not.toContain('tc');
  });
});

test('UDP and TCP give the same answers', async () => {
  for (const args of [['cart.shop.route.internal', 'A'], ['big.shop.route.internal', 'TXT'], ['nope.route.internal', 'A'], ['shop.route.internal', 'MX'], ['example.com', 'A'], ['cart.shop.route.internal', 'ANY', '+notcp']]) {
    const udp = stable(await dig(...args));
    expect(stable(await dig(...args, '+tcp'))).toBe(udp);
    expect(udp).toContain('status:');
  }
});

describe('zone transfer', () => {
  test('gives every record between two SOAs', async () => {
    const lines = (await dig('+noall', '+answer', 'route.internal', 'AXFR')).trim().split('\n');
    const expected = [...zone.names].filter(([name]) => name.endsWith('route.internal')).reduce((sum, [, records]) => sum + Object.values(records).flat().length, 1);
    expect(lines).toHaveLength(expected);
    expect(lines[0]).toContain('SOA');
    expect(lines.at(-1)).toBe(lines[0]);
    expect(lines).toEqual(expect.arrayContaining([expect.stringMatching(/^cart\.shop\.route\.internal\.\s+30\s+IN\s+A\s+127\.77\.9\.1$/)]));
    const reverse = await dig('+noall', '+answer', '77.127.in-addr.arpa', 'AXFR');
    expect(reverse.match(/PTR/g)).toHaveLength(404);
  });

  test('is refused to pods, and impossible for a name that is no apex', async () => {
    expect(await dig('-b', '127.88.1.1', 'route.internal', 'AXFR')).toContain('Transfer failed');
    expect(await short('-b', '127.88.1.1', 'cart.shop.route.internal')).toBe('127.77.9.1');
    expect(await dig('shop.route.internal', 'AXFR')).toContain('Transfer failed');
  });

  test('counters tell all this apart', async () => {
    const before = await server.counters();
    await dig('route.internal', 'AXFR', '-b', '127.88.1.1');
    await dig('nope.route.internal', 'AAAA');
    const after = await server.counters();
    expect(after.answers['REFUSED']).toBe((before.answers['REFUSED'] ?? 0) + 1);
    expect(after.answers['NXDOMAIN']).toBe((before.answers['NXDOMAIN'] ?? 0) + 1);
    expect(after.queries['AAAA']).toBe((before.queries['AAAA'] ?? 0) + 1);
    expect(after.names).toBe(zone.names.size);
    expect(after.truncated).toBeGreaterThan(0);
  });
});
