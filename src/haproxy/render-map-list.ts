const LISTED = '  http-request set-var(txn.listed) ';

/**
 * A section that nobody uses and that names each map once, before any condition. HAProxy looks for a file that it may have read already in one
 * list, which also holds the words of every condition: behind those of a thousand routes, finding their maps took more than half of
 * a start, of a check and of a reload (docs/decisions/0015).
 */
export function renderMapList(lookups: Iterable<string>): readonly string[] {
  const lines = [...new Set(lookups)].map((lookup) => `${LISTED}${lookup.startsWith('map_ip') ? 'src' : 'rand(1)'},${lookup})`);
  return ['backend maps from http', ...lines, ''];
}

/** Whether a line of haproxy.cfg stands only in the list of maps: it follows from the routes. */
export const isMapList = (line: string): boolean => line.startsWith(LISTED);

/** How a section looks up its maps, each way once: `map_int(maps/shop.cart.shares.map`. */
export const readMapLookups = (text: string): readonly string[] => [...new Set(text.match(/\bmap_\w+\(maps\/[\w./-]+/g) ?? [])];
