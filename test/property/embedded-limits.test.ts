import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Breaker } from '../../src/embedded/breaker.ts';
import { RateLimiter } from '../../src/embedded/rate-limiter.ts';

/** A breaker as the contract says it, with nothing forgotten: the times of all errors that counted, and of all openings. */
class NaiveBreaker {
  readonly #counted: { readonly at: number; used: boolean }[] = [];
  readonly #openings: number[] = [];
  readonly #threshold: number;
  readonly #windowMs: number;
  readonly #breakTimeMs: number;

  constructor(threshold: number, windowMs: number, breakTimeMs: number) {
    this.#threshold = threshold;
    this.#windowMs = windowMs;
    this.#breakTimeMs = breakTimeMs;
  }

  isOpen = (now: number): boolean => this.#openings.some((at) => at <= now && now < at + this.#breakTimeMs);

  errors = (now: number): number => this.#counted.filter(({ at, used }) => !used && at > now - this.#windowMs).length;

  error(now: number): void {
    if (this.isOpen(now)) return;
    this.#counted.push({ at: now, used: false });
    if (this.errors(now) < this.#threshold) return;
    this.#openings.push(now);
    for (const one of this.#counted) one.used = true;
  }
}

describe('the breaker', () => {
  it('is open exactly when a naive one is, at every moment of any sequence of errors and calls', () => {
    let openings = 0;
    const events = fc.array(fc.record({ afterMs: fc.nat(40), error: fc.boolean() }), { maxLength: 200 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 300 }), events, (threshold, windowMs, breakTimeMs, sequence) => {
        const breaker = new Breaker({ threshold, windowMs, breakTimeMs });
        const naive = new NaiveBreaker(threshold, windowMs, breakTimeMs);
        let now = 0;
        for (const { afterMs, error } of sequence) {
          now += afterMs;
          expect(breaker.isOpen(now)).toBe(naive.isOpen(now));
          if (error) {
            if (breaker.error(now)) openings++;
            naive.error(now);
          }
          expect(breaker.read(now)).toMatchObject({ open: naive.isOpen(now), errors: Math.min(naive.errors(now), threshold) });
        }
      }),
      { numRuns: 500 },
    );
    expect(openings).toBeGreaterThan(100);
  });
});

describe('the rate limiter', () => {
  it('lets at most rate * t + burst calls pass in any stretch of t seconds, and no fewer than a steady caller may expect', () => {
    const times = fc.array(fc.oneof(fc.constant(0), fc.nat(20), fc.double({ min: 0, max: 2_000, noNaN: true })), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 50 }), times, (requestsPerSecond, burst, gaps) => {
        const limiter = new RateLimiter({ requestsPerSecond, burst });
        const passed: number[] = [];
        const refused: { readonly at: number; readonly wait: number; readonly after: number }[] = [];
        let now = 0;
        for (const gap of gaps) {
          now += gap;
          const wait = limiter.take('caller', now);
          if (wait === 0) passed.push(now);
          else refused.push({ at: now, wait, after: passed.length });
        }
        const allowed = (from: number, to: number): number => ((to - from) / 1000) * requestsPerSecond + burst;
        const stretches = passed.flatMap((from, i) => passed.slice(i).map((to, more) => ({ calls: more + 1, allowed: allowed(from, to) })));
        expect(stretches.filter(({ calls, allowed: most }) => calls > most + 1e-6)).toEqual([]);
        // Refused only when it had to be: one more would have gone beyond the rate over some stretch that ends then.
        const needless = refused.filter(({ at, after }) => !passed.slice(0, after).some((from, i) => after - i + 1 > allowed(from, at) - 1e-6));
        expect(needless).toEqual([]);
        expect(refused.filter(({ wait }) => !Number.isInteger(wait) || wait < 1)).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });
});
