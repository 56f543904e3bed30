import { isDeepStrictEqual } from 'node:util';
import { valueAt } from './field-path.ts';

interface Held<T> {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly value: T;
}

/** Makes of a raw object what is kept of it; undefined: nothing is kept. Must not throw. */
export type Slim<T> = (raw: Readonly<Record<string, unknown>>) => T | undefined;

/**
 * What one resource holds, by key (`namespace/name`, or `name`), and what of it changed. A value that comes again with the same content keeps
 * its identity and counts as unchanged; an object that was deleted and made again (another uid) is a change even with the same content.
 */
export class ObjectStore<T> {
  readonly #slim: Slim<T>;
  #held = new Map<string, Held<T>>();
  #values = new Map<string, T>();
  #next: Map<string, Held<T>> | undefined;

  constructor(slim: Slim<T>) {
    this.#slim = slim;
  }

  /** The living map: it changes with the store. */
  get values(): ReadonlyMap<string, T> {
    return this.#values;
  }

  /** Takes an object of a watch. The key when something changed by it. */
  set(raw: Readonly<Record<string, unknown>>): string | undefined {
    const key = keyOf(raw);
    if (key === undefined) return undefined;
    const [before, now] = [this.#held.get(key), this.#hold(key, raw)];
    if (now === undefined) return this.#drop(key);
    this.#held.set(key, now);
    if (isSame(before, now)) return undefined;
    this.#values.set(key, now.value);
    return key;
  }

  /** Takes the last state of a deleted object. The key when it was held. */
  delete(raw: Readonly<Record<string, unknown>>): string | undefined {
    const key = keyOf(raw);
    return key === undefined ? undefined : this.#drop(key);
  }

  /** Begins a complete list beside what is held. */
  beginList(): void {
    this.#next = new Map();
  }

  /** Takes an object of the list that was begun. */
  list(raw: Readonly<Record<string, unknown>>): void {
    const key = keyOf(raw);
    const now = key === undefined ? undefined : this.#hold(key, raw);
    if (key !== undefined && now !== undefined) this.#next?.set(key, now);
  }

  /** The list is complete: it takes the place of what was held. The keys that changed by it. */
  endList(): ReadonlySet<string> {
    const next = this.#next ?? new Map<string, Held<T>>();
    const dirty = new Set<string>();
    for (const key of this.#held.keys()) if (!next.has(key)) dirty.add(key);
    for (const [key, now] of next) if (!isSame(this.#held.get(key), now)) dirty.add(key);
    for (const key of dirty) {
      const now = next.get(key);
      if (now === undefined) this.#values.delete(key);
      else this.#values.set(key, now.value);
    }
    this.#held = next;
    this.#next = undefined;
    return dirty;
  }

  /** What is to be kept of an object; of an unchanged one (same uid and resourceVersion) without looking at it again. */
  #hold(key: string, raw: Readonly<Record<string, unknown>>): Held<T> | undefined {
    const uid = textAt(raw, 'uid');
    const resourceVersion = textAt(raw, 'resourceVersion');
    const before = this.#held.get(key);
    if (before !== undefined && before.uid === uid && before.resourceVersion === resourceVersion && resourceVersion !== '') return before;
    const value = this.#slim(raw);
    if (value === undefined) return undefined;
    const same = before !== undefined && before.uid === uid && isDeepStrictEqual(before.value, value);
    return { uid, resourceVersion, value: same ? before.value : value };
  }

  #drop(key: string): string | undefined {
    this.#values.delete(key);
    return this.#held.delete(key) ? key : undefined;
  }
}

const isSame = <T>(before: Held<T> | undefined, now: Held<T>): boolean => before !== undefined && before.uid === now.uid && before.value === now.value;

/** Undefined for what has no name: no object. */
function keyOf(raw: Readonly<Record<string, unknown>>): string | undefined {
  const name = textAt(raw, 'name');
  const namespace = textAt(raw, 'namespace');
  if (name === '') return undefined;
  return namespace === '' ? name : `${namespace}/${name}`;
}

function textAt(raw: Readonly<Record<string, unknown>>, field: string): string {
  const value = valueAt(raw, ['metadata', field]);
  return typeof value === 'string' ? value : '';
}
