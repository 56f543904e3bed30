import { objectKey } from '../../model/names.ts';
import type { Problem } from '../../model/problem.ts';
import type { Route } from '../../model/route-table.ts';
import { PORT_TAKEN, routeProblem } from '../describe-refusal.ts';
import type { Culprits } from '../find-culprits.ts';
import { canBind } from './can-bind.ts';

/** Routes that HAProxy refused, each with the very route it refused: unchanged, they are not tried again. */
export class Quarantine {
  readonly #held = new Map<string, { readonly route: string; readonly problem: Problem }>();

  /** The Problems of routes that stay out: those that are as they were. A port that was taken may be free by now. */
  async keep(routes: readonly Route[]): Promise<ReadonlyMap<string, Problem>> {
    const kept = new Map<string, Problem>();
    if (this.#held.size === 0) return kept;
    const now = new Map(routes.map((route) => [objectKey(route), route]));
    for (const [key, { route: refused, problem }] of this.#held) {
      const route = now.get(key);
      const same = route !== undefined && JSON.stringify(route) === refused;
      if (same && !(problem.code === PORT_TAKEN && (await canBind(route)))) kept.set(key, problem);
      else this.#held.delete(key);
    }
    return kept;
  }

  /** Takes in the routes that HAProxy's messages name; gives their Problems. */
  add(culprits: Culprits, routes: readonly Route[]): ReadonlyMap<string, Problem> {
    const added = new Map<string, Problem>();
    for (const route of routes) {
      const message = culprits.get(objectKey(route));
      if (message === undefined) continue;
      const problem = routeProblem(route, message);
      added.set(objectKey(route), problem);
      this.#held.set(objectKey(route), { route: JSON.stringify(route), problem });
    }
    return added;
  }
}
