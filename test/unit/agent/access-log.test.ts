import { describe, expect, it } from 'vitest';
import { AccessLog } from '../../../src/agent/access-log.ts';
import type { CallRecord } from '../../../src/model/call-record.ts';

const record = (route: string): CallRecord => ({ atMs: 0, namespace: 'shop', route, protocol: 'http', caller: { address: '10.0.0.1' }, totalMs: 1, bytesOut: 0 });

describe('AccessLog', () => {
  it('writes 100 lines of a route at once and 50 a second, and counts the others', () => {
    const written: CallRecord[] = [];
    const log = new AccessLog((one) => written.push(one), 0);
    for (let i = 0; i < 300; i++) log.add(record('cart'), 0);
    expect(written).toHaveLength(100);
    for (let i = 0; i < 300; i++) log.add(record('cart'), 1000);
    expect(written).toHaveLength(150);
    expect(log.counts()).toEqual({ written: 150, overRate: 450 });
  });

  it('writes 500 in all at once; a route above its own bound takes nothing from the others', () => {
    const written: string[] = [];
    const log = new AccessLog((one) => written.push(one.route), 0);
    for (let i = 0; i < 10_000; i++) log.add(record('flood'), 0);
    for (let route = 0; route < 10; route++) for (let i = 0; i < 50; i++) log.add(record(`r${route}`), 0);
    expect(written.filter((route) => route === 'flood')).toHaveLength(100);
    expect(written).toHaveLength(500);
    for (const route of ['r0', 'r7']) expect(written.filter((one) => one === route)).toHaveLength(50);
    for (const route of ['r8', 'r9']) expect(written.filter((one) => one === route)).toHaveLength(0);
  });

  it('says once what was left out, the worst first', () => {
    const log = new AccessLog(() => undefined, 0);
    expect(log.takeLeftOut()).toBeUndefined();
    for (const [route, lines] of [['a', 103], ['b', 150], ['c', 101], ['d', 102]] as const) for (let i = 0; i < lines; i++) log.add(record(route), 0);
    expect(log.takeLeftOut()).toEqual({ lines: 56, routes: ['shop/b: 50', 'shop/a: 3', 'shop/d: 2'] });
    expect(log.takeLeftOut()).toBeUndefined();
  });

  it('remembers a bounded number of routes', () => {
    const log = new AccessLog(() => undefined, 0);
    for (let i = 0; i < 20_000; i++) log.add(record(`r${i}`), i);
    expect(log.counts().written + log.counts().overRate).toBe(20_000);
  });
});
