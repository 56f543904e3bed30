import type { Route, RouteTable } from '../model/route-table.ts';
import { FIRST_MAP } from './plan-servers.ts';
import { routePools, type Pool } from './pools.ts';
import { MAX_COUNTED } from './servers.ts';

/** `BACKEND CALLS`: calls in flight for each server of a version that spills over; changed at run time. */
export const SPILL_MAP = 'maps/spill.map';

/** Name of the chosen version's first backend. */
export const VERSION_VARIABLE = 'txn.version';

/** Whether calls of this route leave a saturated tier. */
export const spills = (route: Route): boolean => !route.invalid && route.versions.some(({ spill }) => spill !== undefined);

/** The map, when any route of the node needs it. */
export function renderSpillFile(table: RouteTable): readonly (readonly [file: string, content: string])[] {
  const lines = table.routes.filter(spills).flatMap((route) => routePools(route).map(([near]) => `${near?.name} ${near?.version.spill?.at}\n`));
  return lines.length === 0 ? [] : [[SPILL_MAP, lines.join('')]];
}

/**
 * Which backend of the chosen version takes the call: the last rules of a frontend. A tier's calls in flight are compared with `spillAt` for each
 * of its servers that is up (`nbsrv`), or with it once where one server is pinned. While the near tier has fewer calls than one server may have
 * (`be_conn`: those of servers that left too), nothing else is asked.
 * The limit is no `maxconn` of the servers: with it calls would wait in a queue once all tiers are full, and behind hashing algorithms
 * (docs/decisions/0011).
 */
export function renderSpill(route: Route): readonly string[] {
  const rule = route.protocol === 'http' ? 'http-request' : 'tcp-request content';
  const versions = routePools(route).map((pools) => ({ pools, chosen: isChosen(route, pools) }));
  return [
    ...versions.flatMap(({ pools, chosen }) => pools.flatMap(({ name }, i) => renderCount(rule, name, i + 1, i === 0 ? chosen : [isFull(i), ...chosen]))),
    ...versions.flatMap(({ pools, chosen }) => pools.slice(1).map(({ name }, i) => `  use_backend ${name}${ifAll(isFull(i + 1), hasRoom(i + 2), ...chosen)}`)),
  ];
}

/** No condition where there is nothing to choose. */
const isChosen = (route: Route, [near]: readonly Pool[]): readonly string[] => (route.choice.kind === 'fixed' ? [] : [`{ var(${VERSION_VARIABLE}) -m str ${near?.name} }`]);

/** How many calls a tier has beyond its limit; negative: so many may come. */
const over = (tier: number): string => `txn.over${tier}`;
const isFull = (tier: number): string => `{ var(${over(tier)}) -m int ge 0 }`;
const hasRoom = (tier: number): string => `{ var(${over(tier)}) -m int lt 0 }`;
const ifAll = (...conditions: readonly string[]): string => (conditions.length === 0 ? '' : ` if ${conditions.join(' ')}`);

function renderCount(rule: string, name: string, tier: number, when: readonly string[]): readonly string[] {
  const limit = `txn.limit${tier}`;
  const set = (variable: string, expression: string, ...conditions: readonly string[]): string => `  ${rule} set-var(${variable}) ${expression}${ifAll(...conditions)}`;
  const closer = tier === 1 ? [isFull(1), ...when] : when;
  return [
    ...(tier === 1 ? [set('txn.spill', `str(${name}),map_str_int(${SPILL_MAP})`, ...when), set(over(1), `be_conn(${name}),sub(txn.spill)`, ...when)] : []),
    set(limit, 'var(txn.spill)', ...closer),
    set(limit, `nbsrv(${name}),mul(txn.spill)`, ...closer, `!{ str(${name}),map_str(${FIRST_MAP}) -m found }`),
    set(limit, `be_conn_free(${name}),add(${limit})`, ...closer),
    set(over(tier), `nbsrv(${name}),mul(${MAX_COUNTED}),sub(${limit})`, ...closer),
  ];
}
