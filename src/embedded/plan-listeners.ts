import { listenerKey } from '../model/proxy.ts';
import type { Route } from '../model/route-table.ts';

/** One `address:port` on which a route is served. */
export interface WantedListener {
  readonly key: string;
  readonly address: string;
  readonly port: number;
  readonly route: Route;
  readonly arrivedOn: 'vip' | 'global';
}

/** Every listener that the routes want, by key. */
export function wantedListeners(routes: readonly Route[]): ReadonlyMap<string, WantedListener> {
  const wanted = new Map<string, WantedListener>();
  for (const route of routes) {
    const fronts = [[route.vip, 'vip'], [route.vip6, 'vip'], [route.globalVip, 'global'], [route.globalVip6, 'global']] as const;
    for (const [address, arrivedOn] of fronts) {
      if (address === undefined) continue;
      const key = listenerKey(address, route.listen);
      wanted.set(key, { key, address, port: route.listen, route, arrivedOn });
    }
  }
  return wanted;
}

/** What to do to go from the open listeners to the wanted ones. A listener that stays only gets its route anew. */
export function planListeners(open: ReadonlySet<string>, wanted: ReadonlyMap<string, WantedListener>): { readonly close: readonly string[]; readonly open: readonly WantedListener[]; readonly keep: readonly WantedListener[] } {
  return {
    close: [...open].filter((key) => !wanted.has(key)),
    open: [...wanted.values()].filter(({ key }) => !open.has(key)),
    keep: [...wanted.values()].filter(({ key }) => open.has(key)),
  };
}
