import { describe, expect, it } from 'vitest';
import { GrantSchedule } from '../../../src/controller/grant-schedule.ts';

/** Runs it for so long, with an answer per namespace and a pause of 50 ms after each question; how often each was asked. */
function run(schedule: GrantSchedule, fromMs: number, forMs: number, answer: (namespace: string) => boolean | undefined): ReadonlyMap<string, number> {
  const asked = new Map<string, number>();
  for (let nowMs = fromMs; nowMs < fromMs + forMs; ) {
    const next = schedule.next(nowMs);
    if ('waitMs' in next) {
      nowMs += Math.max(1, next.waitMs);
      continue;
    }
    asked.set(next.namespace, (asked.get(next.namespace) ?? 0) + 1);
    schedule.answered(next.namespace, answer(next.namespace), nowMs);
    nowMs += 50;
  }
  return asked;
}
const names = (prefix: string, count: number): readonly string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`);
const fresh = (all: readonly string[], first: readonly string[] = []): GrantSchedule => {
  const schedule = new GrantSchedule(() => 0.5);
  schedule.setNamespaces(new Set(all), new Set(first), 0);
  return schedule;
};

describe('asking for rights', () => {
  it('comes to a new namespace at once, and to nobody when there is none', () => {
    const schedule = fresh([]);
    expect(schedule.next(0)).toEqual({ waitMs: Infinity });
    schedule.setNamespaces(new Set(['shop']), new Set(), 100);
    expect(schedule.next(100)).toEqual({ namespace: 'shop' });
    schedule.answered('shop', false, 100);
    expect(schedule.next(100)).toEqual({ waitMs: 3_000 });
  });

  it('comes again within seconds to who granted it, and ever more seldom to who did not', () => {
    const schedule = fresh(['yes', 'no']);
    const asked = run(schedule, 0, 60_000, (namespace) => namespace === 'yes');
    expect(asked.get('yes')).toBeGreaterThanOrEqual(14);
    expect(asked.get('no')).toBeLessThan(13);
    const later = run(schedule, 600_000, 600_000, (namespace) => namespace === 'yes');
    expect([later.get('yes'), later.get('no')]).toEqual([expect.closeTo(150, -1), expect.closeTo(10, -1)]);
  });

  it('keeps to its pace with 1,000 namespaces, and does not let them keep those that granted it waiting', () => {
    const [crowd, granted] = [names('crowd', 1_000), names('yes', 20)];
    const schedule = fresh([...crowd, ...granted], granted);
    const asked = run(schedule, 0, 60_000, (namespace) => namespace.startsWith('yes'));
    expect([...asked.values()].reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(1_200);
    for (const namespace of granted) expect(asked.get(namespace)).toBeGreaterThanOrEqual(13);
    // Every one of the crowd has its turn in the end.
    expect(run(schedule, 60_000, 120_000, (namespace) => namespace.startsWith('yes')).size).toBe(1_020);
  });

  it('takes no answer for no change', () => {
    const schedule = fresh(['shop'], ['shop']);
    schedule.answered('shop', undefined, 0);
    expect(schedule.next(3_999)).toEqual({ waitMs: 1 });
    schedule.answered('gone', true, 0);
    schedule.setNamespaces(new Set(), new Set(), 0);
    expect(schedule.next(10_000)).toEqual({ waitMs: Infinity });
  });
});
