import type { CallJudge } from './call-judge.ts';
import type { ChaosLoad } from './chaos-load.ts';
import type { ChaosWorld } from './chaos-world.ts';
import type { EffectWatch } from './effect-watch.ts';
import type { EventLog } from './event-log.ts';
import type { PlannedRoute, PodNames } from './make-world.ts';
import type { Generation } from './node-under-test.ts';
import type { PodFleet } from './pod-fleet.ts';
import type { Random } from './random.ts';

/** What faults act on. */
export interface ChaosContext {
  readonly world: ChaosWorld;
  readonly fleet: PodFleet;
  readonly names: PodNames;
  readonly planned: readonly PlannedRoute[];
  readonly load: ChaosLoad;
  readonly judge: CallJudge;
  readonly effect: EffectWatch;
  readonly events: EventLog;
  readonly random: Random;
  /** The generations that serve; the last one is the newest. */
  serving: readonly Generation[];
}

/** One fault that is about to happen. While it does, it holds its locks: two faults with a lock in common do not meet, and one with {@link ALONE} meets none. */
export interface Fault {
  readonly locks: readonly string[];
  readonly run: () => Promise<void>;
}

export const ALONE = '*';

/** Draws a fault of a kind; undefined: there is no place for it now. */
export type DrawFault = (context: ChaosContext) => Fault | undefined;

export const newest = ({ serving }: ChaosContext): Generation => {
  const last = serving.at(-1);
  if (last === undefined) throw new Error('nothing serves');
  return last;
};
