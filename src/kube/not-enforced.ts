import type { CheckedSpec } from './checked-spec.ts';
import type { FieldPath } from './field-path.ts';
import type { Issue } from './problem-list.ts';

/** A field that is in the schema, is parsed, and changes nothing yet. */
export interface NotEnforced {
  /** Name for people: the field's path without indices. */
  readonly field: string;
  readonly used: (spec: CheckedSpec) => readonly FieldPath[];
}

/** Fields that are accepted and not enforced yet. A field that comes into force is taken out here, and only here. */
export const NOT_ENFORCED: readonly NotEnforced[] = [
  { field: 'spec.spillAt', used: ({ spillAt }) => ((spillAt ?? 0) > 0 ? [['spec', 'spillAt']] : []) },
];

/** One warning for each field in use that is not enforced yet: never silently ignored. */
export const checkEnforced = (spec: CheckedSpec): Issue[] =>
  NOT_ENFORCED.flatMap(({ used }) =>
    used(spec).map((path) => ({
      code: 'not-enforced',
      severity: 'warning' as const,
      path,
      message: 'it is accepted but not enforced by this version',
      remedy: 'do not rely on it yet; it may stay in the object',
    })),
  );
