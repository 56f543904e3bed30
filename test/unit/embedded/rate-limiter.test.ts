import { describe, expect, it } from 'vitest';
import { MAX_CALLERS, RateLimiter } from '../../../src/embedded/rate-limiter.ts';

describe('a rate of 2 a second with a burst of 3', () => {
  const limiter = (): RateLimiter => new RateLimiter({ requestsPerSecond: 2, burst: 3 });
  const passed = (of: RateLimiter, ...times: readonly number[]): number[] => times.map((at) => of.take('a', at));

  it('lets the burst pass at once and says when the next may come', () => {
    expect(passed(limiter(), 0, 0, 0, 0)).toEqual([0, 0, 0, 1]);
  });
  it('lets one pass each half second after it', () => {
    expect(passed(limiter(), 0, 0, 0, 499, 500, 501, 1_000)).toEqual([0, 0, 0, 1, 0, 1, 0]);
  });
  it('does not count what it refuses', () => {
    expect(passed(limiter(), 0, 0, 0, ...Array.from({ length: 50 }, () => 100), 500)).toEqual([0, 0, 0, ...Array.from({ length: 50 }, () => 1), 0]);
  });
  it('gives a whole burst again after a rest, no more', () => {
    expect(passed(limiter(), 0, 0, 0, 60_000, 60_000, 60_000, 60_000)).toEqual([0, 0, 0, 0, 0, 0, 1]);
  });
  it('counts each caller for itself', () => {
    const one = limiter();
    passed(one, 0, 0, 0);
    expect([one.take('a', 0), one.take('b', 0)]).toEqual([1, 0]);
  });
  it('takes new settings for what was counted before them', () => {
    const one = new RateLimiter({ requestsPerSecond: 1, burst: 100 });
    for (let i = 0; i < 50; i++) one.take('a', 0);
    one.configure({ requestsPerSecond: 10, burst: 10 });
    expect(one.take('a', 0)).toBe(5);
    expect(one.take('a', 4_100)).toBe(0);
  });
  it('forgets callers whose calls are worked off, and the oldest beyond its bound', () => {
    const one = limiter();
    for (let i = 0; i < MAX_CALLERS + 100; i++) one.take(`caller ${i}`, i / 1_000);
    expect(one.size).toBe(MAX_CALLERS);
    one.prune(60_000);
    expect(one.size).toBe(0);
  });
});
