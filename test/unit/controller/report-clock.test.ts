import { expect, it } from 'vitest';
import { REPORT_LIFE_MS, ReportClock } from '../../../src/controller/report-clock.ts';

const HOUR = 3_600_000;
const lease = (node: string, renewTime: string) => ({ node, renewTime, version: '5', notInEffect: new Map<string, string>() });
const at = (nowMs: number, heardAtMs = nowMs) => ({ nowMs, heardAtMs, wallMs: Date.UTC(2026, 0, 1) + nowMs });
const live = (clock: ReportClock, leases: readonly ReturnType<typeof lease>[], now: ReturnType<typeof at>) => clock.observe(leases, now).filter((one) => one.live).map((one) => one.node);
const stamp = (offsetMs: number) => new Date(Date.UTC(2026, 0, 1) + offsetMs).toISOString();

it('a report lives while it is renewed, whatever its node\'s clock says', () => {
  const clock = new ReportClock();
  expect(live(clock, [lease('n1', stamp(HOUR)), lease('n2', stamp(0))], at(0))).toEqual(['n1', 'n2']);
  // n1's clock is an hour ahead, n2's now goes back.
  expect(live(clock, [lease('n1', stamp(HOUR + 60_000)), lease('n2', stamp(-HOUR))], at(150_000))).toEqual(['n1', 'n2']);
  expect(live(clock, [lease('n1', stamp(HOUR + 60_000)), lease('n2', stamp(1))], at(150_000 + REPORT_LIFE_MS))).toEqual(['n2']);
});

it('a report that was old at first sight is that of a node that is gone, until it is renewed', () => {
  const clock = new ReportClock();
  expect(live(clock, [lease('n1', stamp(-REPORT_LIFE_MS)), lease('n2', 'never')], at(0))).toEqual([]);
  expect(live(clock, [lease('n1', stamp(1_000)), lease('n2', 'never')], at(1_000))).toEqual(['n1']);
});

it('nobody grows old while nothing is heard', () => {
  const clock = new ReportClock();
  expect(live(clock, [lease('n1', stamp(0))], at(0))).toEqual(['n1']);
  expect(live(clock, [lease('n1', stamp(0))], at(HOUR, 1_000))).toEqual(['n1']);
});
