import { isAtLeast } from '../model/resource-version.ts';

interface Versioned {
  readonly uid: string;
  readonly resourceVersion: string;
}

type Written<T> = { readonly value: T } | { readonly deletedUid: string; readonly untilMs: number };

/** A deleted object that the watch does not take away (a finalizer holds it) is planned for again after this long. */
const DELETION_SEEN_MS = 10_000;

/**
 * What this process wrote and its watches have not shown yet. Without it every pass right after a write would plan the same write again:
 * refused by its resourceVersion, but one call for nothing, and a Service just made would look like somebody else's.
 */
export class WrittenObjects<T extends Versioned> {
  readonly #written = new Map<string, Written<T>>();

  /** The API server answered a write of `key` with this object. */
  put(key: string, value: T): void {
    this.#written.set(key, { value });
  }

  /** The API server accepted the deletion of `key`. */
  remove(key: string, deletedUid: string, nowMs: number): void {
    this.#written.set(key, { deletedUid, untilMs: nowMs + DELETION_SEEN_MS });
  }

  /** What is known of all objects: what the watch shows up to `version`, and newer writes. Forgets writes that the watch has shown. */
  merge(seen: ReadonlyMap<string, T>, version: string, nowMs: number): ReadonlyMap<string, T> {
    for (const [key, written] of this.#written) if (isShown(written, seen.get(key), version, nowMs)) this.#written.delete(key);
    if (this.#written.size === 0) return seen;
    const merged = new Map(seen);
    for (const [key, written] of this.#written) {
      if ('value' in written) merged.set(key, written.value);
      else merged.delete(key);
    }
    return merged;
  }
}

function isShown<T extends Versioned>(written: Written<T>, seen: T | undefined, version: string, nowMs: number): boolean {
  if ('value' in written) return isAtLeast(version, written.value.resourceVersion) || (seen !== undefined && isAtLeast(seen.resourceVersion, written.value.resourceVersion));
  return seen?.uid !== written.deletedUid || nowMs >= written.untilMs;
}
