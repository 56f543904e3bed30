import { describe, expect, it } from 'vitest';
import { RELOAD_PACE, reloadDueMs } from '../../../src/haproxy/reload-pace.ts';

describe('when the next reload may start', () => {
  it.each<[title: string, startsMs: readonly number[], nowMs: number, dueMs: number]>([
    ['at once on a quiet node', [], 1000, 1000],
    ['at once when the last is long ago', [1000], 5000, 5000],
    ['a gap after the last', [1000], 1100, 1500],
    ['a few may follow each other so', [0, 500, 1000, 1500], 1600, 2000],
    ['then the gap doubles', [0, 500, 1000, 1500, 2000], 2100, 3000],
    ['and doubles', [0, 500, 1000, 1500, 2000, 3000], 3100, 5000],
    ['up to a bound', [0, 500, 1000, 1500, 2000, 3000, 5000, 9000, 17_000, 25_000], 25_100, 33_000],
    ['those of more than a minute ago are forgotten', [0, 500, 1000, 1500, 2000, 61_000], 61_100, 61_500],
  ])('%s', (_, startsMs, nowMs, dueMs) => {
    expect(reloadDueMs(startsMs, nowMs, RELOAD_PACE, 7)).toBe(dueMs);
  });

  it('a storm makes few: whatever happens, no more in a minute than the pace allows', () => {
    const starts: number[] = [];
    for (let now = 0; now < 600_000; now += 10) if (reloadDueMs(starts, now, RELOAD_PACE, 0) <= now) starts.push(now);
    expect(starts.filter((at) => at < 1000)).toHaveLength(2);
    for (const from of starts) expect(starts.filter((at) => at >= from && at < from + 60_000).length).toBeLessThanOrEqual(14);
  });

  it('with as many old workers as are kept, an old worker gets the time to let idle connections end, and is asked after each second', () => {
    const starts = [0, 500, 1000, 1500, 2500, 4500, 8500];
    expect(reloadDueMs(starts, 20_000, RELOAD_PACE, 7)).toBe(20_000);
    expect(reloadDueMs(starts, 20_000, RELOAD_PACE, 8)).toBe(21_000);
    expect(reloadDueMs(starts, 59_400, RELOAD_PACE, 8)).toBe(60_000);
    expect(reloadDueMs(starts, 60_000, RELOAD_PACE, 8)).toBe(60_000);
    // All of them are older: they hold calls that last, and nobody knows for how long.
    expect(reloadDueMs(starts.slice(1), 20_000, RELOAD_PACE, 8)).toBe(20_000);
  });

  it('a connection that lasts outlives a storm, when those of others only idle', () => {
    const starts: number[] = [];
    const oldWorkers = (now: number): number => Math.min(1, starts.length) + starts.slice(1).filter((at) => now - at < 60_000).length;
    let most = 0;
    for (let now = 0; now < 600_000; now += 10) {
      if (reloadDueMs(starts, now, RELOAD_PACE, oldWorkers(now)) <= now) starts.push(now);
      most = Math.max(most, oldWorkers(now));
    }
    expect(most).toBe(8);
    expect(starts.length).toBeGreaterThan(60);
  });
});
