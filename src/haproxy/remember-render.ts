import type { RouteTable } from '../model/route-table.ts';
import { renderConfig, type RenderedConfig } from './render-config.ts';
import type { RenderOptions } from './render-options.ts';
import type { RouteMemory } from './render-route.ts';

/**
 * {@link renderConfig} that gives the very same result again as long as routes and callers are the very same objects: a pass that finds
 * all as it was must not render megabytes to see that. Of a table that changed only the routes that did are rendered.
 */
export function rememberRender(options: RenderOptions): (table: RouteTable) => RenderedConfig {
  const memory: RouteMemory = new WeakMap();
  let last: { readonly table: RouteTable; readonly rendered: RenderedConfig } | undefined;
  return (table) => {
    if (last === undefined || !isSame(last.table, table)) last = { table, rendered: renderConfig(table, options, memory) };
    return last.rendered;
  };
}

const isSame = (a: RouteTable, b: RouteTable): boolean =>
  a.node === b.node && a.zone === b.zone && a.callers === b.callers && a.routes.length === b.routes.length && a.routes.every((route, i) => route === b.routes[i]);
