import { isNamespaceName, isSubdomain } from '../model/names.ts';
import type { Origin } from '../model/problem.ts';
import { isRecord, typeName, valueAt } from './field-path.ts';
import type { FieldPath, Locate } from './field-path.ts';
import type { Kind, KindTypes, Parsed } from './parsed-object.ts';
import { ProblemList } from './problem-list.ts';

/** Longest text that is kept of any field: a label's value has 63 characters, a name 253, an annotation is never read. */
const MAX_TEXT = 253;

/**
 * Reads the fields of one untrusted object. Null counts as absent; a value of the wrong type or size is a Problem of the
 * object and counts as absent too, so that one bad field does not cost the rest.
 */
export class ObjectReader<K extends Kind> {
  readonly kind: K;
  readonly namespace: string;
  readonly name: string;
  readonly origin: Origin | undefined;
  readonly #raw: unknown;
  readonly #problems: ProblemList;

  constructor(kind: K, raw: unknown, locate: Locate) {
    this.kind = kind;
    this.#raw = raw;
    const [name, namespace] = [valueAt(raw, ['metadata', 'name']), valueAt(raw, ['metadata', 'namespace'])];
    this.name = typeof name === 'string' ? name : '';
    this.namespace = typeof namespace === 'string' ? namespace : 'default';
    const ref = kind === 'Node' ? { kind, name: this.name } : { kind, namespace: this.namespace, name: this.name };
    this.#problems = new ProblemList(ref, locate);
    this.origin = locate([]);
  }

  /** False, with a Problem, when name or namespace cannot be those of a Kubernetes object. */
  hasValidName(): boolean {
    if (!isSubdomain(this.name)) {
      this.#add('name-invalid', ['metadata', 'name'], 'the name is not that of a Kubernetes object', "use a-z, 0-9, '-' and '.', at most 253 characters");
      return false;
    }
    const given = valueAt(this.#raw, ['metadata', 'namespace']) ?? this.namespace;
    if (this.kind !== 'Node' && (given !== this.namespace || !isNamespaceName(this.namespace))) {
      this.#add('name-invalid', ['metadata', 'namespace'], 'this is not the name of a namespace', "use at most 63 of a-z, 0-9 and '-'");
      return false;
    }
    return true;
  }

  invalid(path: FieldPath, message: string, remedy: string): void {
    this.#add('field-invalid', path, message, remedy);
  }

  has(path: FieldPath): boolean {
    return this.#value(path) !== undefined;
  }

  text(path: FieldPath): string | undefined {
    const value = this.#value(path);
    if (value === undefined) return undefined;
    if (typeof value !== 'string') return this.#wrongType(path, value, 'a string');
    if (value.length > MAX_TEXT) {
      this.invalid(path, `it is longer than ${MAX_TEXT} characters`, 'shorten it');
      return undefined;
    }
    return value;
  }

  flag(path: FieldPath): boolean | undefined {
    const value = this.#value(path);
    return value === undefined || typeof value === 'boolean' ? value : this.#wrongType(path, value, 'true or false');
  }

  /** A port number, 1..65535. */
  port(path: FieldPath): number | undefined {
    const value = this.#value(path);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535) return value;
    return this.#wrongType(path, value, 'a port number from 1 to 65535');
  }

  /** A port's number or name, as `targetPort` is. */
  intOrText(path: FieldPath): number | string | undefined {
    return typeof this.#value(path) === 'number' ? this.port(path) : this.text(path);
  }

  /** Paths of the items of a list of at most `max`; more are left out with a Problem. */
  items(path: FieldPath, max: number): readonly FieldPath[] {
    const value = this.#value(path);
    if (value === undefined) return [];
    if (!Array.isArray(value)) return this.#wrongType(path, value, 'a list') ?? [];
    if (value.length > max) this.invalid(path, `the list has ${value.length} items, more than ${max}`, `keep at most ${max}; the rest is left out`);
    return Array.from({ length: Math.min(value.length, max) }, (_, i) => [...path, i]);
  }

  /** A map of texts, as labels and selectors are; keys sorted as given. */
  texts(path: FieldPath): Readonly<Record<string, string>> | undefined {
    const value = this.#value(path);
    if (value === undefined) return undefined;
    if (!isRecord(value)) return this.#wrongType(path, value, 'an object');
    const entries: [string, string][] = [];
    for (const key of Object.keys(value).slice(0, MAX_KEYS)) {
      const text = this.text([...path, key]);
      if (text !== undefined && key.length <= 2 * MAX_TEXT) entries.push([key, text]);
    }
    return Object.fromEntries(entries);
  }

  /** What was read: the object, or none when it cannot be used. */
  result(object?: KindTypes[K]): Parsed<K> {
    return {
      kind: this.kind,
      ...(this.kind === 'Node' ? {} : { namespace: this.namespace }),
      name: this.name,
      ...(object === undefined ? {} : { object }),
      problems: this.#problems.list(),
    };
  }

  #value(path: FieldPath): unknown {
    return valueAt(this.#raw, path) ?? undefined;
  }

  #wrongType(path: FieldPath, value: unknown, expected: string): undefined {
    this.invalid(path, `it is ${typeName(value)}, not ${expected}`, `write ${expected}`);
    return undefined;
  }

  #add(code: string, path: FieldPath, message: string, remedy: string): void {
    this.#problems.add({ code, path, message, remedy });
  }
}

const MAX_KEYS = 256;

/** `{ [key]: value }`, or nothing when it is undefined: for optional properties of the model. */
export const optional = <K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } =>
  (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: V };
