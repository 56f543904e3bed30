import { describe, expect, it } from 'vitest';
import { aged, breakerCommands, breakersOf, describeBreakers, isLateError, parseBreakers } from '../../../src/haproxy/breaker-states.ts';
import type { FinishedCall } from '../../../src/haproxy/parse-log-line.ts';
import { aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const options = { runDir: '/run/onehop', drainTimeoutSeconds: 60, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const breaker = { threshold: 3, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 0 };

describe('what a worker says of its breakers', () => {
  it('is read by backend', () => {
    expect(parseBreakers('restored\nshop.cart.a auto open 1500 -\nshop.cart.b auto closed - 900,20\nshop.cart.c close closed - -')).toEqual({
      restored: true,
      breakers: new Map([
        ['shop.cart.a', { mode: 'auto', open: true, leftMs: 1500, errorAgesMs: [] }],
        ['shop.cart.b', { mode: 'auto', open: false, errorAgesMs: [900, 20] }],
        ['shop.cart.c', { mode: 'close', open: false, errorAgesMs: [] }],
      ]),
    });
    expect(parseBreakers('fresh')).toEqual({ restored: false, breakers: new Map() });
    expect(parseBreakers('Unknown command: ...')).toBeUndefined();
  });

  it('grows old: errors do, an opening ends, what is held does not', () => {
    expect(aged({ mode: 'auto', open: false, errorAgesMs: [900, 20] }, 100.4)).toEqual({ mode: 'auto', open: false, errorAgesMs: [1000, 120] });
    expect(aged({ mode: 'auto', open: true, leftMs: 1500, errorAgesMs: [] }, 1000)).toMatchObject({ open: true, leftMs: 500 });
    expect(aged({ mode: 'auto', open: true, leftMs: 1500, errorAgesMs: [] }, 1500)).toMatchObject({ open: false, errorAgesMs: [] });
    expect(aged({ mode: 'open', open: true, errorAgesMs: [] }, 1e9)).toMatchObject({ mode: 'open', open: true });
  });

  it('becomes commands for the next one, none above the size that HAProxy reads', () => {
    expect(breakerCommands('b', { mode: 'open', open: true, errorAgesMs: [] })).toEqual(['onehop breaker b open']);
    expect(breakerCommands('b', { mode: 'auto', open: true, leftMs: 12, errorAgesMs: [] })).toEqual(['onehop breaker b opened 12']);
    expect(breakerCommands('b', { mode: 'close', open: false, errorAgesMs: [7, 3] })).toEqual(['onehop breaker b close', 'onehop breaker b errors 7,3']);
    const many = breakerCommands('b', { mode: 'auto', open: false, errorAgesMs: Array.from({ length: 9999 }, () => 3_600_000) });
    expect(many).toHaveLength(10);
    expect(Math.max(...many.map((command) => command.length))).toBeLessThan(16_000);
  });

  it('is told for each version that has a breaker, closed ones too', () => {
    const versions = [aVersion('a', []), aVersion('b', [], { breaker }), aVersion('b', [], { breaker }), aVersion('c', [], { breaker: { ...breaker, threshold: 0, connLimit: 4 } })];
    const table = aTable([aRoute('cart', { vip: '127.72.41.1', listen: 80, versions }), aRoute('bad', { vip: '127.72.41.2', listen: 80, versions, invalid: true })]);
    const refs = breakersOf(table, options);
    expect([...refs]).toEqual([
      ['shop.cart.b', { namespace: 'shop', route: 'cart', version: 1 }],
      ['shop.cart.b.3', { namespace: 'shop', route: 'cart', version: 2 }],
    ]);
    expect(breakersOf(table, { ...options, haproxy: { version: '2.6.12', lua: false } }).size).toBe(0);
    expect(describeBreakers(refs, new Map([['shop.cart.b.3', { mode: 'auto', open: true, leftMs: 250, errorAgesMs: [] }]]), 1_000_000)).toEqual([
      { namespace: 'shop', route: 'cart', version: 1, mode: 'auto', open: false, errors: 0 },
      { namespace: 'shop', route: 'cart', version: 2, mode: 'auto', open: true, errors: 0, openUntilMs: 1_000_250 },
    ]);
  });
});

describe('errors that only the log tells', () => {
  const call = (record: Partial<FinishedCall['record']>, failure?: FinishedCall['failure']): FinishedCall => ({
    record: { atMs: 0, namespace: 'shop', route: 'cart', protocol: 'http', caller: { address: '127.88.40.1' }, totalMs: 1, bytesOut: 0, ...record },
    ...(failure === undefined ? {} : { failure }),
    logged: false,
  });
  it.each<[string, FinishedCall, boolean]>([
    ['an answer that the server aborted', call({ status: 200, aborted: 'server' }, 'aborted'), true],
    ['one that the server left in the middle', call({ status: 200, aborted: 'server' }, 'timeout'), true],
    ['one that the client aborted', call({ status: 200, aborted: 'client' }), false],
    ['a 500, counted by the worker', call({ status: 500 }, 'server-error'), false],
    ['a 500 that was aborted as well', call({ status: 500, aborted: 'server' }, 'aborted'), false],
    ['a failed connect, counted by the worker', call({ status: 502, reason: 'connect-failed' }, 'connect-failed'), false],
    ['a refusal', call({ status: 503, reason: 'breaker-open' }), false],
    ['tcp: a failed connect', call({ protocol: 'tcp', reason: 'connect-failed' }, 'connect-failed'), true],
    ['tcp: a server that reset it', call({ protocol: 'tcp', aborted: 'server' }, 'aborted'), true],
    ['tcp: silence', call({ protocol: 'tcp', aborted: 'server' }, 'timeout'), false],
    ['tcp: a refusal', call({ protocol: 'tcp', reason: 'breaker-open' }), false],
  ])('%s', (_, finished, counts) => expect(isLateError(finished)).toBe(counts));
});
