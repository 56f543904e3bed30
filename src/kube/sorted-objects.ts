import { byCodeUnit } from '../model/names.ts';

interface Named {
  readonly namespace?: string;
  readonly name: string;
}

/** Above this share of the list a change is cheaper as one sort than as single insertions. */
const FEW = 64;

/**
 * Objects sorted by namespace and name, in a list that is replaced as a whole when something changes and otherwise stays the very same.
 * A few changes among 10,000 objects cost a copy of the list and some comparisons, no sort.
 */
export class SortedObjects<T extends Named> {
  #list: readonly T[] = [];

  get list(): readonly T[] {
    return this.#list;
  }

  /** Takes changes by key (`namespace/name`, or `name`); undefined: it is gone. */
  update(changes: ReadonlyMap<string, T | undefined>): void {
    const next = changes.size > FEW ? this.#merge(changes) : this.#splice(changes);
    if (next.length !== this.#list.length || next.some((one, i) => one !== this.#list[i])) this.#list = next;
  }

  #merge(changes: ReadonlyMap<string, T | undefined>): T[] {
    const kept = this.#list.filter((one) => !changes.has(one.namespace === undefined ? one.name : `${one.namespace}/${one.name}`));
    for (const one of changes.values()) if (one !== undefined) kept.push(one);
    return kept.sort(byNamespaceAndName);
  }

  #splice(changes: ReadonlyMap<string, T | undefined>): T[] {
    const list = [...this.#list];
    for (const [key, value] of changes) {
      const [first = '', second] = key.split('/');
      const wanted = second === undefined ? { name: first } : { namespace: first, name: second };
      const at = findPlace(list, wanted);
      const here = list[at];
      const found = here !== undefined && byNamespaceAndName(here, wanted) === 0 ? 1 : 0;
      if (value === undefined) list.splice(at, found);
      else list.splice(at, found, value);
    }
    return list;
  }
}

/** Where `wanted` is, or would be. */
function findPlace(list: readonly Named[], wanted: Named): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const one = list[middle];
    if (one !== undefined && byNamespaceAndName(one, wanted) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

const byNamespaceAndName = (a: Named, b: Named): number => byCodeUnit(a.namespace ?? '', b.namespace ?? '') || byCodeUnit(a.name, b.name);
