import { describe, expect, it } from 'vitest';
import { Breaker } from '../../../src/embedded/breaker.ts';

const settings = { threshold: 3, windowMs: 1_000, breakTimeMs: 5_000 };
const failedAt = (...times: readonly number[]): Breaker => {
  const breaker = new Breaker(settings);
  for (const at of times) breaker.error(at);
  return breaker;
};

describe('a breaker of 3 errors in 1 s', () => {
  it.each<[string, readonly number[], number, boolean]>([
    ['is closed without errors', [], 0, false],
    ['is closed before the third', [0, 1], 1, false],
    ['opens at the third', [0, 1, 2], 2, true],
    ['opens at the third of one moment', [7, 7, 7], 7, true],
    ['opens at the third just within the window', [0, 500, 999], 999, true],
    ['stays closed when the first has left the window', [0, 500, 1_000], 1_000, false],
    ['opens when the last three lie within it', [0, 500, 1_000, 1_400], 1_400, true],
    ['is open until the break time is over', [0, 0, 0], 4_999, true],
    ['closes when it is over', [0, 0, 0], 5_000, false],
    ['begins anew then: two more do not open it', [0, 0, 0, 5_000, 5_001], 5_001, false],
    ['begins anew then: a third does', [0, 0, 0, 5_000, 5_001, 5_002], 5_002, true],
    ['does not count errors that arrive while it is open', [0, 0, 0, 4_998, 4_999, 5_000], 5_000, false],
  ])('%s', (_what, errors, at, open) => {
    expect(failedAt(...errors).isOpen(at)).toBe(open);
  });

  it('says which error opened it', () => {
    const breaker = new Breaker(settings);
    expect([0, 1, 2, 3].map((at) => breaker.error(at))).toEqual([false, false, true, false]);
  });

  it('shows the errors within the window, and until when it is open', () => {
    expect(failedAt(0, 600).read(900)).toEqual({ mode: 'auto', open: false, errors: 2 });
    expect(failedAt(0, 600).read(1_000)).toEqual({ mode: 'auto', open: false, errors: 1 });
    expect(failedAt(0, 1, 2).read(3)).toEqual({ mode: 'auto', open: true, openUntilMs: 5_002, errors: 0 });
  });

  it('keeps its state when its settings change', () => {
    const open = failedAt(0, 1, 2);
    open.configure({ ...settings, breakTimeMs: 1 });
    expect(open.read(3)).toEqual({ mode: 'auto', open: true, openUntilMs: 5_002, errors: 0 });
    const closed = failedAt(0, 1);
    closed.configure({ ...settings, threshold: 4 });
    expect([2, 3].map((at) => closed.error(at))).toEqual([false, true]);
  });

  it('applies a lower threshold at the next error', () => {
    const breaker = failedAt(0, 1);
    breaker.configure({ ...settings, threshold: 1 });
    expect(breaker.isOpen(2)).toBe(false);
    expect(breaker.error(3)).toBe(true);
  });

  it('is held open or closed by hand, and begins anew when it is left alone', () => {
    const breaker = failedAt(0, 1);
    breaker.setMode('open');
    expect(breaker.read(1_000_000)).toEqual({ mode: 'open', open: true, errors: 0 });
    breaker.setMode('close');
    expect([2, 3, 4, 5].map((at) => breaker.error(at))).toEqual([false, false, false, false]);
    expect(breaker.read(6)).toEqual({ mode: 'close', open: false, errors: 3 });
    breaker.setMode('auto');
    expect([7, 8, 9].map((at) => breaker.error(at))).toEqual([false, false, true]);
  });
});
