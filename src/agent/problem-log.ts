import { problemLine, type Problem } from '../model/problem.ts';

/** What a pass has to tell; `waiting`: how many more there are for the next passes. */
export interface Told {
  readonly appeared: readonly Problem[];
  readonly resolved: readonly Problem[];
  readonly waiting: number;
}

/**
 * What changed between two lists of Problems, for the log: each is told once while it lasts. At most `limit` are told per pass and the
 * others by the passes after it, so that a flood on one tenant's objects delays those of others but never swallows them.
 */
export class ProblemLog {
  #told: ReadonlyMap<string, Problem> = new Map();

  update(problems: readonly Problem[], limit: number): Told {
    const now = new Map(problems.map((one) => [keyOf(one), one]));
    const gone = [...this.#told].filter(([key]) => !now.has(key)).slice(0, limit);
    const fresh = [...now].filter(([key]) => !this.#told.has(key));
    const appeared = fresh.slice(0, limit);
    const goneKeys = new Set(gone.map(([key]) => key));
    this.#told = new Map([...[...this.#told].filter(([key]) => !goneKeys.has(key)), ...appeared]);
    const waiting = fresh.length - appeared.length;
    return { appeared: appeared.map(([, one]) => one), resolved: gone.map(([, one]) => one), waiting };
  }
}

/** Without its place: an edit above it moves it to another line, and it is the same Problem. */
function keyOf(one: Problem): string {
  const { origin: _, ...rest } = one;
  return problemLine(rest);
}
