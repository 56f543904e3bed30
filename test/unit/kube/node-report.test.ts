import { describe, expect, test } from 'vitest';
import { buildNodeReport, MAX_LINES } from '../../../src/kube/build-node-report.ts';
import { ReportSchedule } from '../../../src/kube/report-schedule.ts';
import { problem, type Problem } from '../../../src/model/problem.ts';
import type { Route } from '../../../src/model/route-table.ts';
import type { ServiceRoute } from '../../../src/model/service-route.ts';
import { serviceRoute, snapshot } from '../../support/objects.ts';

const route = (key: string, object: Partial<ServiceRoute> = {}): ServiceRoute => serviceRoute(key, {}, { uid: 'u', generation: 1, status: { vip: '169.254.193.1' }, ...object });
const wrong = (key: string, code: string, severity: Problem['severity'] = 'error'): Problem => {
  const [namespace = '', name = ''] = key.split('/');
  return problem({ code, severity, object: { kind: 'ServiceRoute', namespace, name }, message: '', remedy: '' });
};
const report = (routes: readonly ServiceRoute[], served: readonly string[], applied: readonly Problem[] = [], found: readonly Problem[] = []) =>
  buildNodeReport(
    snapshot({ serviceRoutes: routes, resourceVersion: '77' }),
    { routes: served.map((key) => ({ namespace: key.split('/')[0], name: key.split('/')[1] }) as Route), problems: found },
    applied,
  );

describe('what is not in effect', () => {
  test.each<[string, Parameters<typeof report>, readonly string[]]>([
    ['all is served', [[route('a/x')], ['a/x']], []],
    ['a port is taken', [[route('a/x'), route('a/y')], ['a/x', 'a/y'], [wrong('a/y', 'port-taken')]], ['a/y: port-taken']],
    ['a warning keeps nothing from working', [[route('a/x')], ['a/x'], [wrong('a/x', 'odd', 'warning')]], []],
    ['a route that has no place says why', [[route('a/x')], [], [], [wrong('a/x', 'vip-taken'), wrong('a/x', 'other')]], ['a/x: vip-taken']],
    ['a route that waits for its address is left out', [[route('a/x', { status: {} })], [], [], [wrong('a/x', 'vip-pending', 'warning')]], []],
    ['a Problem of a route that is gone is left out', [[route('a/x')], ['a/x'], [wrong('a/gone', 'port-taken')]], []],
  ])('%s', (_, input, lines) => {
    expect(report(...input)).toMatchObject({ resourceVersion: '77', notInEffect: lines });
  });

  test('at most 100 lines', () => {
    expect(report(Array.from({ length: 150 }, (_, i) => route(`a/r${i}`)), []).notInEffect).toHaveLength(MAX_LINES);
  });
});

describe('the fingerprint', () => {
  const base = report([route('a/x')], ['a/x']).fingerprint;
  test.each<[string, ReturnType<typeof report>, boolean]>([
    ['nothing', report([route('a/x')], ['a/x']), false],
    ['the creation time', report([route('a/x', { createdAtMs: 5 })], ['a/x']), false],
    ['uid', report([route('a/x', { uid: 'v' })], ['a/x']), true],
    ['generation', report([route('a/x', { generation: 2 })], ['a/x']), true],
    ['vip', report([route('a/x', { status: { vip: '169.254.193.2' } })], ['a/x']), true],
    ['globalVip', report([route('a/x', { status: { vip: '169.254.193.1', globalVip: '169.254.193.9' } })], ['a/x']), true],
    ['deletion', report([], []), true],
    ['a port that is taken now', report([route('a/x')], ['a/x'], [wrong('a/x', 'port-taken')]), true],
  ])('changes with %s: %s', (_, { fingerprint }, changed) => {
    expect(fingerprint !== base).toBe(changed);
  });
});

describe('when it is written', () => {
  const halfway = (): ReportSchedule => new ReportSchedule(() => 0.5);

  test('the first at once in a small cluster, spread over 5 s in a large one', () => {
    const [small, large] = [halfway(), halfway()];
    small.inEffect('a', 3, 1000);
    large.inEffect('a', 9_000, 1000);
    expect([small.dueMs, large.dueMs]).toEqual([1001.5, 3_500]);
  });

  test('renewed before a minute is over, at once after a change, never twice within 5 s', () => {
    const one = halfway();
    expect(one.dueMs).toBe(Infinity);
    one.inEffect('a', 0, 0);
    one.written('a', 0);
    expect(one.dueMs).toBe(54_000);
    one.inEffect('a', 0, 1_000);
    expect(one.dueMs).toBe(54_000);
    one.inEffect('b', 0, 2_000);
    expect(one.dueMs).toBe(5_000);
    one.written('b', 5_000);
    one.inEffect('c', 0, 30_000);
    expect(one.dueMs).toBe(30_000);
  });

  test('a change while it is written is written after 5 s', () => {
    const one = halfway();
    one.inEffect('a', 0, 0);
    one.inEffect('b', 0, 10);
    one.written('a', 20);
    expect(one.dueMs).toBe(20 + 7_500);
  });

  test('failures wait longer and longer, up to a minute, and changes do not shorten that', () => {
    const one = halfway();
    one.inEffect('a', 0, 0);
    const waits = Array.from({ length: 9 }, () => {
      one.failed(0);
      one.inEffect(String(Math.random()), 0, 0);
      return one.dueMs;
    });
    expect(waits).toEqual([750, 1500, 3000, 6000, 12_000, 24_000, 45_000, 45_000, 45_000]);
    one.failed(0, 10_000);
    expect(one.dueMs).toBe(55_000);
  });
});
