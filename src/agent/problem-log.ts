import { problemLine, type Problem } from '../model/problem.ts';

/** What changed between two lists of Problems: lines for the log, each at most once while it lasts. */
export class ProblemLog {
  #known: ReadonlyMap<string, Problem> = new Map();

  /** Lines that are new since the last call, and lines that are gone. */
  update(problems: readonly Problem[]): { readonly appeared: readonly Problem[]; readonly resolved: readonly string[] } {
    const now = new Map(problems.map((one) => [keyOf(one), one]));
    const appeared = [...now].filter(([key]) => !this.#known.has(key)).map(([, one]) => one);
    const resolved = [...this.#known].filter(([key]) => !now.has(key)).map(([, one]) => problemLine(one));
    this.#known = now;
    return { appeared, resolved };
  }
}

/** Without its place: an edit above it moves it to another line, and it is the same Problem. */
function keyOf(one: Problem): string {
  const { origin: _, ...rest } = one;
  return problemLine(rest);
}
