import { describe, expect, it } from 'vitest';
import { Governor } from '../../../src/embedded/governor.ts';
import type { BreakerSpec } from '../../../src/model/service-route.ts';
import type { Route } from '../../../src/model/route-table.ts';
import { endpoint, route, version } from '../../support/embedded-world.ts';

const up = [endpoint('127.88.60.1', 80)];
const spec = (more: Partial<BreakerSpec> = {}): BreakerSpec => ({ threshold: 2, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 0, ...more });
const svc = (breaker: BreakerSpec = spec(), more: Partial<Route> = {}): Route => route('svc', '127.73.60.1', [version('v1', up, { breaker }), version('v2', up, { breaker })], more);
const states = (governor: Governor, of: Route, nowMs: number) => governor.states([of], nowMs, 1_000_000).map(({ version: index, open, errors, openUntilMs }) => ({ index, open, errors, openUntilMs }));

function opened(): { readonly governor: Governor; readonly first: Route } {
  const governor = new Governor();
  const first = svc();
  governor.apply([first], 0);
  const [v1] = first.versions;
  if (v1 !== undefined) for (const at of [0, 1]) governor.guardOf(first, v1).breaker?.error(at);
  return { governor, first };
}

describe('breakers of a table', () => {
  it('are one for each version, and told with the time of people', () => {
    const { governor, first } = opened();
    expect(states(governor, first, 1)).toEqual([
      { index: 0, open: true, errors: 0, openUntilMs: 1_030_000 },
      { index: 1, open: false, errors: 0, openUntilMs: undefined },
    ]);
  });

  it('keep their state when the route, its order of versions or their settings change', () => {
    const { governor } = opened();
    const turned = { ...svc(spec({ threshold: 9, connLimit: 5 })), versions: svc().versions.toReversed(), vip: '127.73.60.9' };
    governor.apply([turned], 2);
    expect(states(governor, turned, 2).map(({ index, open }) => `${index} ${open}`)).toEqual(['0 false', '1 true']);
  });

  it.each<[string, (of: Route) => readonly Route[]]>([
    ['the route', () => []],
    ['the version', (of) => [{ ...of, versions: of.versions.slice(1) }]],
    ['the threshold', () => [svc(spec({ threshold: 0 }))]],
  ])('lose it when %s goes', (_what, without) => {
    const { governor, first } = opened();
    governor.apply(without(first), 2);
    governor.apply([first], 3);
    expect(states(governor, first, 3)[0]).toMatchObject({ open: false, errors: 0 });
  });

  it('know no mode for a version that has none', () => {
    const { governor, first } = opened();
    governor.setMode('b/svc', 'v9', 'open');
    governor.setMode('b/other', 'v1', 'open');
    expect(states(governor, first, 1)).toHaveLength(2);
  });
});

describe('calls in flight', () => {
  it('are remembered while they last, also of a version that went and came back', () => {
    const { governor, first } = opened();
    const [v1] = first.versions;
    if (v1 === undefined) throw new Error('no version');
    governor.guardOf(first, v1).inFlight++;
    governor.apply([], 2);
    governor.apply([first], 3);
    expect(governor.limitsFor(first, '10.0.0.1', 3).inFlight(v1)).toBe(1);
  });
});

describe('rates', () => {
  const limited = (per: 'Caller' | 'Route', requestsPerSecond = 1): Route => svc(spec(), { rateLimit: { requestsPerSecond, burst: 1, per } });
  const take = (governor: Governor, of: Route, caller: string): boolean => governor.limitsFor(of, caller, 0).takeRate() === 0;

  it.each([
    ['Caller', [true, true, false]],
    ['Route', [true, false, false]],
  ] as const)('per %s', (per, expected) => {
    const governor = new Governor();
    governor.apply([limited(per)], 0);
    expect(['10.0.0.1', '10.0.0.2', '10.0.0.2'].map((caller) => take(governor, limited(per), caller))).toEqual(expected);
  });

  it('keep what was counted when the table changes, and end with the rule', () => {
    const governor = new Governor();
    governor.apply([limited('Caller')], 0);
    take(governor, limited('Caller'), '10.0.0.1');
    governor.apply([limited('Caller', 2)], 0);
    expect(take(governor, limited('Caller', 2), '10.0.0.1')).toBe(false);
    governor.apply([svc()], 0);
    expect(take(governor, svc(), '10.0.0.1')).toBe(true);
  });
});
