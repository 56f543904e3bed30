import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildDnsAccess } from '../../src/dns/access.ts';
import { openDnsServer, type DnsServer } from '../../src/dns/io/open-dns-server.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';
import { dnsRoute, dnsZone } from '../support/dns-zone.ts';

/** docs/dns.md against the real server: its example route, its table of records, its dig lines. */
const run = promisify(execFile);
const pool = parseVipPool('169.254.192.0/19,fd00::/64');
const route = dnsRoute({ namespace: 'shop', name: 'cart', vip: '169.254.193.1', vip6: 'fd00::101', globalVip: '169.254.193.2', globalVip6: 'fd00::102', targetPort: 'web' });
const page = await readFile(join(import.meta.dirname, '../../docs/dns.md'), 'utf8');
const AT = ['@127.71.0.11', '-p', '7154', '+tries=1', '+time=5'];
let server: DnsServer;

beforeAll(async () => {
  const listen = [{ address: '127.71.0.11', port: 7154 }];
  server = await openDnsServer({ listen, zone: dnsZone([route], pool), access: buildDnsAccess(pool), onFault: (cause) => expect.unreachable(cause.message) });
});
afterAll(() => server.close());

const digLines = page.split('\n').flatMap((line) => /^ {4}dig @169\.254\.192\.10 (.+)$/.exec(line)?.[1] ?? []);
test.each(digLines)('dig %s', async (args) => {
  const { stdout } = await run('dig', [...AT, ...args.split(' ')]);
  expect(stdout).toMatch(/ANSWER: [1-9]|XFR size: /);
});

const rows = page.split('\n').flatMap((line) => {
  const [, names = '', types = ''] = line.split('|');
  const name = /`([^`]+)`/.exec(names)?.[1];
  return name === undefined ? [] : (types.match(/\b(A|AAAA|SRV|TXT|PTR|SOA|NS)\b/g) ?? []).map((type) => [name, type] as const);
});
test.each(rows)('the record %s %s is there', async (name, type) => {
  const { stdout } = await run('dig', [...AT, '+short', name, type, ...(name.endsWith('.server') ? ['CH'] : [])]);
  expect(stdout.trim()).not.toBe('');
});

test('the page has examples and a table at all', () => {
  expect(digLines).toHaveLength(5);
  expect(rows.length).toBe(12);
});
