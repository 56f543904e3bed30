import { describe, expect, test } from 'vitest';
import { isHostCaller } from '../../../src/daemon/admin-access.ts';
import { Backoff } from '../../../src/daemon/backoff.ts';
import { closeInOrder } from '../../../src/daemon/close-in-order.ts';
import { MAX_SERIES_PER_METRIC, Metrics } from '../../../src/daemon/metrics.ts';
import { Readiness } from '../../../src/daemon/readiness.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';

describe('Backoff', () => {
  test('doubles its upper bound up to the maximum, and starts again after a success', () => {
    const backoff = new Backoff({ baseMs: 500, maxMs: 30_000 }, () => 0);
    expect(Array.from({ length: 8 }, () => backoff.nextMs())).toEqual([500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    backoff.reset();
    expect(backoff.nextMs()).toBe(500);
  });

  test('draws the delay from the whole range, never zero', () => {
    expect(new Backoff({ baseMs: 500, maxMs: 30_000 }, () => 0.75).nextMs()).toBe(125);
    expect(new Backoff({ baseMs: 500, maxMs: 30_000 }, () => 0.999_999).nextMs()).toBe(1);
  });
});

describe('Readiness', () => {
  test('is ready when no task is pending, and can become pending again', () => {
    const readiness = new Readiness({ source: 'reading the folder', dns: 'waits for the first table' });
    expect(readiness.describe()).toBe('dns: waits for the first table\nsource: reading the folder\n');
    readiness.done('dns');
    readiness.done('source');
    readiness.done('never-pending');
    expect([readiness.ready, readiness.describe()]).toEqual([true, 'ready\n']);
    readiness.pending('proxy', 'HAProxy\nended');
    expect([readiness.ready, readiness.describe()]).toEqual([false, 'proxy: HAProxy\\u{a}ended\n']);
  });
});

describe('closeInOrder', () => {
  const clock = () => {
    let nowMs = 0;
    return {
      now: () => nowMs,
      advance: (ms: number) => {
        nowMs += ms;
      },
    };
  };

  test('closes one after the other; a step that fails or hangs does not keep the next from running', async () => {
    const { now, advance } = clock();
    const seen: string[] = [];
    const closed = await closeInOrder(
      [
        { name: 'dns', close: async (ms) => void seen.push(`dns ${ms}`, String(advance(300))) },
        { name: 'proxy', close: () => Promise.reject(new Error('stuck')) },
        { name: 'admin', close: () => new Promise(() => {}) },
        { name: 'pool', close: async (ms) => void seen.push(`pool ${ms}`) },
      ],
      { deadlineMs: 1000, graceMs: 50, now, sleep: async (ms) => advance(ms) },
    );
    expect(closed.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual(['dns closed', 'proxy failed', 'admin late', 'pool closed']);
    expect(seen[0]).toBe('dns 1000');
    expect(seen.at(-1)).toBe('pool 0');
  });
});

describe('Metrics', () => {
  test('reads plain numbers at each scrape', async () => {
    const metrics = new Metrics();
    const calls = new Map([['shop/cart', 1]]);
    metrics.counter({ name: 'onehop_calls_total', help: 'Calls.', labels: ['route'] }, () => [...calls].map(([route, value]) => ({ labels: { route }, value })));
    metrics.gauge({ name: 'onehop_routes', help: 'Routes.' }, () => [{ value: calls.size }]);
    expect(await metrics.render()).toContain('onehop_calls_total{route="shop/cart"} 1\n');
    calls.set('shop/cart', 7).set('b\n"x', 2);
    const text = await metrics.render();
    expect(text).toContain('onehop_calls_total{route="shop/cart"} 7\n');
    expect(text).toContain('onehop_calls_total{route="b\\n\\"x"} 2\n');
    expect(text).toContain('onehop_routes 2\n');
  });

  test('bounds the series of a metric and says how many are left out', async () => {
    const metrics = new Metrics();
    metrics.gauge({ name: 'many', help: 'Many.', labels: ['i'] }, () => Array.from({ length: MAX_SERIES_PER_METRIC + 3 }, (_, i) => ({ labels: { i: String(i) }, value: 1 })));
    await metrics.render();
    const text = await metrics.render();
    expect(text.match(/^many\{/gm)).toHaveLength(MAX_SERIES_PER_METRIC);
    expect(text).toContain('onehop_metrics_left_out{metric="many"} 3\n');
  });

  test('a histogram is observed directly', async () => {
    const metrics = new Metrics();
    metrics.histogram({ name: 'apply_seconds', help: 'Applies.' }, [0.1, 1])(0.5);
    expect(await metrics.render()).toContain('apply_seconds_bucket{le="1"} 1\n');
  });
});

describe('isHostCaller', () => {
  const pool = parseVipPool('169.254.192.0/19,fd77::/64');
  const own = ['10.0.0.5', 'fd00:0::5', 'fe80::1%eth0'];

  test.each(['169.254.193.7', '127.0.0.1', '127.77.0.1', '::1', '::ffff:127.0.0.1', '10.0.0.5', '::ffff:10.0.0.5', 'fd00::5', 'fd77::abcd'])('%s is on this node', (source) => {
    expect(isHostCaller(source, pool, own)).toBe(true);
  });

  test.each(['127.88.74.1', '::ffff:127.88.74.1', '10.0.0.6', '10.1.2.3', '169.254.169.254', 'fd00::6', '::2', '', 'nonsense'])('%s is not', (source) => {
    expect(isHostCaller(source, pool, own)).toBe(false);
  });
});
