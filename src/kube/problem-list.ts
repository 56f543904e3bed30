import { problem } from '../model/problem.ts';
import type { ObjectRef, Problem } from '../model/problem.ts';
import { fieldText } from './field-path.ts';
import type { FieldPath, Locate } from './field-path.ts';

/** What is wrong with one field of one object. */
export interface Issue {
  readonly code: string;
  readonly severity?: Problem['severity'];
  readonly path: FieldPath;
  readonly message: string;
  readonly remedy: string;
}

/** One hostile object must not fill the log: what is wrong with it beyond this number is only counted. */
const MAX_PROBLEMS = 20;

/** Collects the Problems of one object, located and bounded. */
export class ProblemList {
  readonly #object: ObjectRef;
  readonly #locate: Locate;
  readonly #problems: Problem[] = [];
  #left = 0;
  /** Of what is left out: the worst of it. */
  #severity: Problem['severity'] = 'warning';

  constructor(object: ObjectRef, locate: Locate) {
    this.#object = object;
    this.#locate = locate;
  }

  add(issue: Issue): void {
    if (this.#problems.length >= MAX_PROBLEMS) {
      this.#left++;
      if (issue.severity !== 'warning') this.#severity = 'error';
      return;
    }
    const { path, ...rest } = issue;
    this.#problems.push(problem({ ...rest, object: this.#object, field: fieldText(path), origin: this.#locate(path) }));
  }

  /** The Problems in the order in which they were found. */
  list(): readonly Problem[] {
    if (this.#left === 0) return this.#problems;
    const more = problem({
      code: 'more-problems',
      severity: this.#severity,
      object: this.#object,
      message: `${this.#left} more problems are not shown`,
      remedy: 'correct those that are shown first',
      origin: this.#locate([]),
    });
    return [...this.#problems, more];
  }
}
