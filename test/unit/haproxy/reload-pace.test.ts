import { describe, expect, it } from 'vitest';
import { MAX_OLD_WORKERS, RELOAD_PACE, reloadDueMs } from '../../../src/haproxy/reload-pace.ts';

describe('when the next reload may start', () => {
  it.each<[title: string, lastMs: number | undefined, nowMs: number, oldWorkers: number, dueMs: number]>([
    ['at once when there was none', undefined, 1000, 8, 1000],
    ['at once when the last is long ago', 1000, 17_000, 8, 17_000],
    ['a gap after the last', 1000, 1100, 0, 1500],
    ['with one old worker too', 1000, 1100, 1, 1500],
    ['twice the gap with two', 1000, 1100, 2, 2000],
    ['and four times with three; it is asked after meanwhile', 1000, 1100, 3, 2100],
    ['when it is due', 1000, 2900, 3, 3000],
    ['up to a bound', 1000, 16_900, 8, 17_000],
  ])('%s', (_, lastMs, nowMs, oldWorkers, dueMs) => {
    expect(reloadDueMs(lastMs, nowMs, RELOAD_PACE, oldWorkers)).toBe(dueMs);
  });

  it.each([0, 1000, 30_000, 60_000])('a storm of edits never makes more old workers than are kept, when one holds connections that last and the others idle for %i ms', (idleMs) => {
    const starts: number[] = [];
    const oldWorkers = (now: number): number => Math.min(1, starts.length) + starts.slice(1).filter((at) => now - at < idleMs).length;
    let most = 0;
    for (let now = 0; now < 600_000; now += 10) {
      if (reloadDueMs(starts.at(-1), now, RELOAD_PACE, oldWorkers(now)) <= now) starts.push(now);
      most = Math.max(most, oldWorkers(now));
    }
    expect(most).toBeLessThanOrEqual(MAX_OLD_WORKERS);
    expect(starts.length).toBeGreaterThan(600_000 / RELOAD_PACE.mostMs);
  });
});
