import { describe, expect, it } from 'vitest';
import { buildLogNames, parseLogLine } from '../../../src/haproxy/parse-log-line.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const log = { mode: 'Errors', percent: 0 } as const;
const versions = [aVersion('v1', [anEndpoint('10.0.0.1', 80, { tier: 'zone', pod: 'shop/v1-1' })]), aVersion('v2', [anEndpoint('fd00::2', 80)])];
const table = aTable(
  [
    aRoute('cart', { vip: '10.9.0.1', listen: 80, versions, log }),
    aRoute('db', { vip: '10.9.0.2', listen: 80, versions, log, protocol: 'tcp' }),
    aRoute('quiet', { vip: '10.9.0.3', listen: 80, versions }),
  ],
  [aCaller('10.1.0.7', { pod: 'shop/web-1', serviceAccount: 'web' })],
);
const names = buildLogNames(table);
const http = (fields: Readonly<Record<string, string>> = {}): string => {
  const all = { protocol: 'http', sampled: '-', frontend: 'shop.cart', backend: 'shop.cart.v1', server: '10.0.0.1:80', caller: '10.1.0.7', second: '1700000000', ms: '250', handshake: '0', idle: '10', connect: '1', response: '2', total: '9', status: '500', state: '--', retries: '0', bytes: '121', reason: '-', method: 'GET', path: '/a', ...fields };
  return Object.values(all).join(' ');
};
const tcp = (state: string, server: string, retries: string): string => `tcp - shop.db shop.db.v1 ${server} 10.1.0.7 1700000000 1 0 5 ${state} ${retries} 7 -`;

describe('parseLogLine', () => {
  it('knows the backends of farther tiers', () => {
    const far = anEndpoint('10.0.0.9', 80, { tier: 'any' });
    const spilling = aVersion('v1', [anEndpoint('10.0.0.1', 80)], { spill: { at: 5, tiers: [[anEndpoint('10.0.0.5', 80)], [far]] } });
    const own = buildLogNames(aTable([aRoute('cart', { vip: '10.9.0.1', listen: 80, versions: [spilling], log })]));
    expect(parseLogLine(http({ backend: 'shop.cart.v1:3', server: '10.0.0.9:80.plain' }), own)).toMatchObject({ version: { version: 0 }, record: { version: 'v1', tier: 'any' } });
  });

  it('reads a call with its times, its caller and its server', () => {
    expect(parseLogLine(http(), names)).toEqual({
      record: {
        atMs: 1_700_000_000_260,
        namespace: 'shop',
        route: 'cart',
        protocol: 'http',
        caller: { address: '10.1.0.7', namespace: 'shop', pod: 'shop/web-1', serviceAccount: 'web' },
        version: 'v1',
        tier: 'zone',
        server: { address: '10.0.0.1', port: 80, pod: 'shop/v1-1' },
        method: 'GET',
        path: '/a',
        status: 500,
        connectMs: 1,
        responseMs: 2,
        totalMs: 9,
        bytesOut: 121,
      },
      version: { namespace: 'shop', route: 'cart', version: 0 },
      failure: 'server-error',
      logged: true,
    });
  });

  it.each([
    ['a server that ends in mid-answer', { status: '200', state: 'SD' }, 'aborted', 'server'],
    ['a server that goes silent in mid-answer', { status: '200', state: 'sD' }, 'timeout', 'server'],
    ['a server that never answers', { status: '504', state: 'sH', reason: 'upstream-timeout' }, 'timeout', undefined],
    ['a server that closes before it answers', { status: '502', state: 'SH', reason: 'upstream-reset' }, 'reset', undefined],
    ['a connection that fails', { status: '503', state: 'SC', reason: 'connect-failed', server: '<NOSRV>' }, 'connect-failed', undefined],
    ['no server', { status: '503', state: 'SC', reason: 'no-endpoints', server: '<NOSRV>' }, undefined, undefined],
    ['an open breaker', { status: '503', state: 'PR', reason: 'breaker-open', server: '<NOSRV>' }, undefined, undefined],
    ['a client that gives up', { status: '200', state: 'CD' }, undefined, 'client'],
    ['a good call', { status: '200' }, undefined, undefined],
    ['a call that is not found', { status: '404' }, undefined, undefined],
  ])('%s', (_what, fields, failure, aborted) => {
    const call = parseLogLine(http(fields), names);
    expect(call?.failure).toBe(failure);
    expect(call?.record.aborted).toBe(aborted);
    expect(call?.logged).toBe(failure !== undefined || 'reason' in fields);
  });

  it('takes the reason of a refusal from its backend as well', () => {
    expect(parseLogLine(http({ backend: 'acl-denied', server: '<NOSRV>', status: '403', state: 'PR' }), names)).toMatchObject({ record: { reason: 'acl-denied' } });
  });

  it.each([
    ['SC', '<NOSRV>', '0', 'no-endpoints', undefined],
    ['SC', '<NOSRV>', '+3', 'connect-failed', 'connect-failed'],
    ['sC', '10.0.0.1:80', '3', 'connect-failed', 'connect-failed'],
    ['SD', '10.0.0.1:80', '0', undefined, 'aborted'],
    ['--', '10.0.0.1:80', '0', undefined, undefined],
  ])('tcp: %s at %s after %s retries', (state, server, retries, reason, failure) => {
    const call = parseLogLine(tcp(state, server, retries), names);
    expect(call?.record.reason).toBe(reason);
    expect(call?.failure).toBe(failure);
  });

  it('shows the path alone, bounded and printable', () => {
    expect(parseLogLine(http({ path: 'http://cart.shop:8080/a' }), names)?.record.path).toBe('/a');
    expect(parseLogLine(http({ path: `/${'y'.repeat(3000)}` }), names)?.record.path).toHaveLength(256);
    expect(parseLogLine(http({ path: '/\u001b[31m\u00e9' }), names)?.record.path).toBe(String.raw`/\u{1b}[31m\u{e9}`);
    expect(parseLogLine(http({ method: '<BADREQ>', path: '<BADREQ>', status: '400' }), names)?.record).not.toHaveProperty('path');
  });

  it.each([
    ['nothing', ''],
    ['a message of HAProxy', '12 events dropped'],
    ['a route without a log', http({ frontend: 'shop.quiet' })],
    ['a route of another protocol', http({ frontend: 'shop.db' })],
    ['an address that is none', http({ caller: 'nobody' })],
    ['a number that is none', http({ total: '9x' })],
    ['a number that is too long', http({ bytes: '9'.repeat(400) })],
    ['a state that is none', http({ state: '---' })],
    ['a line that was cut off', http().split(' ').slice(0, 12).join(' ')],
    ['a name of every object', http({ frontend: '__proto__' })],
  ])('refuses %s', (_what, line) => expect(parseLogLine(line, names)).toBeUndefined());

  it('a reason that is no code is none', () => {
    expect(parseLogLine(http({ reason: 'toString' }), names)?.record.reason).toBeUndefined();
  });
});
