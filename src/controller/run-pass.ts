import type { ControllerOptions, Observed, Step } from './observed.ts';
import type { PassBudget } from './pass-budget.ts';
import { planChanges } from './plan-changes.ts';

/** What a pass needs of the world. */
export interface PassWorld {
  readonly isLeader: () => boolean;
  readonly refreshLedger: () => Promise<void>;
  readonly observe: () => Observed;
  /** Resolves with how many steps were done. */
  readonly apply: (steps: readonly Step[]) => Promise<number>;
  readonly monotonicMs: () => number;
  readonly wallMs: () => number;
  readonly budget: PassBudget;
}

/**
 * Ledger, status, access point, each in a plan of its own; the rest is reserve. What is left then waits for the next change or tick:
 * something keeps changing.
 */
const MAX_PLANS = 8;

/** Plans and applies until nothing is left to do now. Resolves with the plans made; a pass of a standby makes none. */
export async function runPass(world: PassWorld, options: ControllerOptions, withCounts: boolean): Promise<number> {
  for (let plans = 0; plans < MAX_PLANS; plans++) {
    if (!world.isLeader()) return plans;
    await world.refreshLedger();
    const observed = world.observe();
    const agents = observed.reports.length;
    const steps = world.budget.choose(planChanges(observed, options, world.wallMs()), { withCounts, agents, nowMs: world.monotonicMs() });
    if (steps.length === 0 || (await world.apply(steps)) === 0) return plans + 1;
  }
  return MAX_PLANS;
}
