import { describe, expect, it } from 'vitest';
import { buildCallRecord, isLogged, isServerError } from '../../../src/embedded/build-call-record.ts';
import type { CallFacts } from '../../../src/embedded/build-call-record.ts';
import { caller, endpoint, route, version } from '../../support/embedded-world.ts';

const ended: CallFacts = { atMs: 5, totalMs: 12.4, bytesOut: 3 };
const v1 = version('v1', []);

describe('an error of the breaker', () => {
  it.each<[string, Partial<CallFacts>, boolean]>([
    ['200', { status: 200 }, false],
    ['404 of the server', { status: 404 }, false],
    ['429 of the server', { status: 429 }, false],
    ['500 of the server', { status: 500 }, true],
    ['503 of the server', { status: 503 }, true],
    ['a failed connect', { status: 502, reason: 'connect-failed' }, true],
    ['a reset', { status: 502, reason: 'upstream-reset' }, true],
    ['a timeout', { status: 504, reason: 'upstream-timeout' }, true],
    ['an answer that the server broke off', { status: 200, aborted: 'server' }, true],
    ['an answer that the client broke off', { status: 200, aborted: 'client' }, false],
    ['an open breaker', { status: 503, reason: 'breaker-open' }, false],
    ['the connection limit', { status: 503, reason: 'conn-limit' }, false],
    ['no endpoints', { status: 503, reason: 'no-endpoints' }, false],
    ['a refused tcp connection', { reason: 'acl-denied' }, false],
    ['a tcp connection that ended well', {}, false],
  ])('%s', (_what, facts, expected) => {
    expect(isServerError({ ...ended, ...facts })).toBe(expected);
  });
});

describe('the access log', () => {
  it('takes none, those that failed, or a share', () => {
    const off = route('svc', '127.73.60.1', [v1]);
    const errors = { ...off, log: { mode: 'Errors' as const, percent: 1 } };
    const sampled = { ...off, log: { mode: 'Sampled' as const, percent: 30 } };
    expect(isLogged(off, { ...ended, status: 500 }, 0)).toBe(false);
    expect([200, 404, 500].map((status) => isLogged(errors, { ...ended, status }, 0))).toEqual([false, false, true]);
    expect(isLogged(errors, { ...ended, status: 403, reason: 'acl-denied' }, 0.99)).toBe(true);
    expect([0, 0.299, 0.3].map((draw) => isLogged(sampled, { ...ended, status: 200 }, draw))).toEqual([true, true, false]);
  });

  it('tells the whole call, without the query, printable and bounded', () => {
    const of = route('svc', '127.73.60.1', [v1]);
    const server = { ...endpoint('127.88.60.1', 8080, 'zone'), pod: 'b/v1-1' };
    const identity = { kind: 'pod' as const, caller: caller('127.88.60.9', 'a') };
    const record = buildCallRecord(of, { address: '127.88.60.9', identity }, { method: 'GET\n', path: `/${'\u0007'.repeat(500)}?secret=1` }, { ...ended, version: v1, server, status: 200, connectMs: 1 });
    expect(record).toMatchObject({
      atMs: 5,
      namespace: 'b',
      route: 'svc',
      protocol: 'http',
      caller: { address: '127.88.60.9', namespace: 'a', pod: 'pod-a', serviceAccount: 'default' },
      version: 'v1',
      tier: 'zone',
      server: { address: '127.88.60.1', port: 8080, pod: 'b/v1-1' },
      method: 'GET\\u{a}',
      status: 200,
      connectMs: 1,
      totalMs: 12,
      bytesOut: 3,
    });
    expect(record.path).toMatch(/^\/(\\u\{7\})+.*\.\.\.$/);
    expect(record.path?.length).toBe(256);
  });

  it('leaves out what was not reached', () => {
    expect(buildCallRecord(route('svc', '127.73.60.1', [v1], { protocol: 'tcp' }), { address: '10.0.0.1', identity: { kind: 'host' } }, undefined, { ...ended, reason: 'conn-limit' })).toEqual({
      atMs: 5,
      namespace: 'b',
      route: 'svc',
      protocol: 'tcp',
      caller: { address: '10.0.0.1' },
      reason: 'conn-limit',
      totalMs: 12,
      bytesOut: 3,
    });
  });
});
