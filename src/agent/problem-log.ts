import { problemLine, type Problem } from '../model/problem.ts';

/** What changed between two lists of Problems: lines for the log, each at most once while it lasts. */
export class ProblemLog {
  #known: ReadonlyMap<string, Problem> = new Map();

  /** Lines that are new since the last call, and lines that are gone. */
  update(problems: readonly Problem[]): { readonly appeared: readonly Problem[]; readonly resolved: readonly string[] } {
    const now = new Map(problems.map((one) => [problemLine(one), one]));
    const appeared = [...now].filter(([line]) => !this.#known.has(line)).map(([, one]) => one);
    const resolved = [...this.#known.keys()].filter((line) => !now.has(line));
    this.#known = now;
    return { appeared, resolved };
  }
}
