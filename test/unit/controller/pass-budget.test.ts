import { expect, it } from 'vitest';
import type { Step } from '../../../src/controller/observed.ts';
import { PassBudget } from '../../../src/controller/pass-budget.ts';

const status = (isUrgent: boolean): Step => ({ kind: 'write-status', target: { namespace: 'a', name: 'b', uid: '', resourceVersion: '1' }, status: { conditions: [] }, isUrgent, notes: [] });
const many = (count: number, isUrgent: boolean): Step[] => Array.from({ length: count }, () => status(isUrgent));
const ledger: Step = { kind: 'write-ledger', records: new Map() };

it('1,000 new routes pass at once, then 100 a second; nothing else waits', () => {
  const budget = new PassBudget(0);
  expect(budget.choose([...many(1_500, true), ledger], { withCounts: false, agents: 3, nowMs: 0 })).toHaveLength(1_001);
  expect(budget.choose(many(500, true), { withCounts: false, agents: 3, nowMs: 1_000 })).toHaveLength(100);
});

it('counts of nodes wait for their turn, and are fewer the more agents watch', () => {
  const budget = new PassBudget(0);
  expect(budget.choose(many(10, false), { withCounts: false, agents: 3, nowMs: 0 })).toEqual([]);
  expect(budget.choose(many(1_000, false), { withCounts: true, agents: 5_000, nowMs: 0 })).toHaveLength(200);
  expect(budget.choose(many(1_000, false), { withCounts: true, agents: 5_000, nowMs: 2_000 })).toHaveLength(8);
  expect(budget.choose(many(1_000, false), { withCounts: true, agents: 3, nowMs: 4_000 })).toHaveLength(100);
});
