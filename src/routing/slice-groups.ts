import type { EndpointSlice } from '../model/snapshot.ts';

/** The slices of a Snapshot by Service, and the list that they were grouped from. */
export interface SliceGroups {
  readonly list: readonly EndpointSlice[];
  /** By `namespace/service`, each in the order of the list. */
  readonly byService: ReadonlyMap<string, readonly EndpointSlice[]>;
}

const serviceKey = (slice: EndpointSlice): string => `${slice.namespace}/${slice.serviceName}`;

/**
 * Groups slices by Service. With the groups of an earlier list only what differs is touched: groups without a change stay the very same.
 * `touched`: the Services whose group changed; undefined when that is not known.
 */
export function groupSlices(list: readonly EndpointSlice[], before: SliceGroups | undefined): SliceGroups & { readonly touched: ReadonlySet<string> | undefined } {
  if (before !== undefined && before.list === list) return { ...before, touched: new Set() };
  const replaced = before === undefined ? undefined : findReplaced(before.list, list);
  if (before === undefined || replaced === undefined) return { list, byService: Map.groupBy(list, serviceKey), touched: undefined };
  const byService = new Map(before.byService);
  const touched = new Set([...replaced.keys()].map(serviceKey));
  // At once: what stands in one's place may itself have moved, when a slice went and another one came.
  for (const key of touched) byService.set(key, (byService.get(key) ?? []).map((slice) => replaced.get(slice) ?? slice));
  return { list, byService, touched };
}

/** What stands in the place of what, when a list differs in nothing but slices of the same Services; else undefined. */
function findReplaced(before: readonly EndpointSlice[], list: readonly EndpointSlice[]): ReadonlyMap<EndpointSlice, EndpointSlice> | undefined {
  if (before.length !== list.length) return undefined;
  const replaced = new Map<EndpointSlice, EndpointSlice>();
  for (const [i, now] of list.entries()) {
    const old = before[i];
    if (old === now) continue;
    if (old === undefined || old.namespace !== now.namespace || old.serviceName !== now.serviceName) return undefined;
    replaced.set(old, now);
  }
  return replaced;
}
