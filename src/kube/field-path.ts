import type { Origin } from '../model/problem.ts';

/** Way to a field inside an object: `['spec', 'to', 0, 'name']`. */
export type FieldPath = readonly (string | number)[];

/**
 * Tells where a field was read; `[]` is the object itself. A field that is not there is found at its nearest parent.
 * Undefined for objects that come from no file.
 */
export type Locate = (path: FieldPath) => Origin | undefined;

/** The path as kubectl explains it: `spec.to[0].name`. Undefined for the object itself. */
export function fieldText(path: FieldPath): string | undefined {
  if (path.length === 0) return undefined;
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}

/** The value at `path`; undefined where there is none. Own properties only, so that no prototype is ever read. */
export function valueAt(value: unknown, path: FieldPath): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<string | number, unknown>)[step];
  }
  return current;
}

/** True for a JSON object (not an array, not null). */
export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Short name of a JSON value's type for messages: `a string`, `a list`, `null`. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'number') return Number.isInteger(value) ? 'an integer' : 'a number';
  return `a ${typeof value}`;
}
