import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Step } from '../../src/controller/observed.ts';
import { isRouteVip } from '../../src/model/vip-pool.ts';
import { VIP_QUARANTINE_MS } from '../../src/routing/allocate-vips.ts';
import { ControllerWorld, OPTIONS } from '../support/controller-world.ts';

/** What people do to a cluster, and how far the controller gets with each plan. */
type Event =
  | { readonly kind: 'set'; readonly route: number; readonly shape: number }
  | { readonly kind: 'delete' | 'foreign' | 'unforeign'; readonly route: number }
  | { readonly kind: 'time'; readonly hours: number }
  | { readonly kind: 'work'; readonly steps: readonly number[] };

const route = fc.nat(7);
const events = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('set' as const), route, shape: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('delete' as const, 'foreign' as const, 'unforeign' as const), route }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('time' as const), hours: fc.nat(3) }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('work' as const), steps: fc.array(fc.nat(10), { maxLength: 6 }) }) },
  ),
  { maxLength: 60 },
);

// Four names in two namespaces: global names meet.
const keyOf = (index: number): string => `ns${index % 2}/r${index >> 1}`;

function happen(world: ControllerWorld, event: Exclude<Event, { kind: 'work' }>): void {
  switch (event.kind) {
    case 'set':
      return world.setRoute(keyOf(event.route), event.shape === 0 ? null : { global: event.shape > 1, to: [{ name: event.shape === 3 ? 'missing' : 'web' }] });
    case 'delete':
      return world.deleteRoute(keyOf(event.route));
    case 'foreign':
      if (!world.services.has(keyOf(event.route))) world.setForeignService(keyOf(event.route));
      return;
    case 'unforeign':
      if (world.services.get(keyOf(event.route))?.mark === undefined) world.services.delete(keyOf(event.route));
      return;
    case 'time':
      world.nowMs += (event.hours * VIP_QUARANTINE_MS) / 2;
  }
}

/** What must hold after every single write, whoever made it and wherever the process ended. */
function check(world: ControllerWorld, owners: Map<string, { key: string; sinceMs: number }>): void {
  const seen = new Map<string, string>();
  for (const { namespace, name, status } of world.routes.values()) {
    for (const [vip, key] of [[status.vip, `${namespace}/${name}`], [status.globalVip, `*/${name} of ${namespace}`]] as const) {
      if (vip === undefined) continue;
      expect(seen.has(vip), `${vip} is on ${seen.get(vip)} and ${key}`).toBe(false);
      expect(isRouteVip(OPTIONS.pool, vip)).toBe(true);
      expect(world.records.get(vip)?.freed, `${vip} of ${key} is in the ledger`).toBeUndefined();
      const [record] = [world.records.get(vip)];
      expect(record && `${record.key}${record.namespace === undefined ? '' : ` of ${record.namespace}`}`).toBe(key);
      seen.set(vip, key);
      const last = owners.get(vip);
      const restedMs = last === undefined || last.key === key ? Infinity : world.nowMs - last.sinceMs;
      expect(restedMs, `${vip} went from ${last?.key} to ${key}`).toBeGreaterThanOrEqual(VIP_QUARANTINE_MS);
      owners.set(vip, { key, sinceMs: world.nowMs });
    }
  }
}

/** An access point may only appear for an address that the route has. */
function checkStep(world: ControllerWorld, step: Step): void {
  if (step.kind !== 'create-access-point') return;
  const status = world.routes.get(step.point.mark.route)?.status;
  expect(step.point.mark.kind === 'global' ? status?.globalVip : status?.vip).toBeDefined();
}

describe('the controller', () => {
  it('keeps its promises under any history, cut off after any write, and ends in step', () => {
    fc.assert(
      fc.property(events, (history: readonly Event[]) => {
        const world = new ControllerWorld();
        world.setForeignService('ns0/web');
        world.setForeignService('ns1/web');
        const foreign = (): readonly unknown[] => [...world.services].filter(([, { mark }]) => mark === undefined);
        const owners = new Map<string, { key: string; sinceMs: number }>();
        for (const event of history) {
          if (event.kind !== 'work') {
            happen(world, event);
            continue;
          }
          const others = foreign();
          const plan = world.plan();
          // Some steps of the plan, in any order, some twice (by a controller that has lost its leadership).
          for (const index of event.steps) {
            const step = plan[index % Math.max(1, plan.length)];
            if (step === undefined) continue;
            checkStep(world, step);
            if (step.kind !== 'write-ledger' || !event.steps.slice(0, event.steps.indexOf(index)).includes(index)) world.apply(step);
            check(world, owners);
          }
          expect(foreign()).toEqual(others);
        }
        world.settle();
        check(world, owners);
        expect(world.plan()).toEqual([]);
        for (const [key, { route: parsed }] of world.routes) {
          const there = world.services.get(key);
          expect(there?.mark?.route ?? (there === undefined ? 'missing' : 'foreign')).toBe(there?.mark === undefined ? 'foreign' : key);
          expect(parsed === undefined).toBe(false);
        }
        expect([...world.services.values()].filter(({ mark }) => mark !== undefined && !world.routes.has(mark.route))).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});
