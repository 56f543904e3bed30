import { isDeepStrictEqual } from 'node:util';
import type { Route, RouteTable } from '../model/route-table.ts';
import { areAllChecked } from './fit-limits.ts';
import { FIRST_MAP } from './plan-servers.ts';
import { routePools } from './pools.ts';
import { renderConfig, renderFirst, type RenderedConfig } from './render-config.ts';
import type { RenderOptions } from './render-options.ts';
import { recallRoute, type RenderedRoute, type RouteMemory } from './render-route.ts';
import { checkableServers } from './servers.ts';

interface Last {
  readonly table: RouteTable;
  readonly rendered: RenderedConfig;
  /** Servers with checks; undefined: not all that want checks have them. */
  readonly checks: number | undefined;
}

/**
 * {@link renderConfig} that gives the very same result again as long as routes and callers are the very same objects: a pass that finds
 * all as it was must not render megabytes to see that. Of a table that changed only the routes that did are rendered, and while nothing
 * of them but servers changed, nothing else is put together again.
 */
export function rememberRender(options: RenderOptions): (table: RouteTable) => RenderedConfig {
  const memory: RouteMemory = new WeakMap();
  let last: Last | undefined;
  return (table) => {
    if (last !== undefined && isSame(last.table, table)) return last.rendered;
    const next = (last === undefined ? undefined : amend(last, table, options, memory)) ?? renderAll(table, options, memory);
    last = next;
    return next.rendered;
  };
}

const isSame = (a: RouteTable, b: RouteTable): boolean => isSameFrame(a, b) && b.routes.every((route, i) => route === a.routes[i]);

const isSameFrame = (a: RouteTable, b: RouteTable): boolean => a.node === b.node && a.zone === b.zone && a.callers === b.callers && a.routes.length === b.routes.length;

function renderAll(table: RouteTable, options: RenderOptions, memory: RouteMemory): Last {
  const checks = table.routes.reduce((sum, route) => sum + checksOf(route), 0);
  return { table, rendered: renderConfig(table, options, memory), checks: areAllChecked(checks, options.fileDescriptors) ? checks : undefined };
}

const checksOf = (route: Route): number => routePools(route).flat().reduce((sum, { version }) => sum + checkableServers(version), 0);

/** The result of a table that differs from the last one in servers alone; undefined: it differs in more. */
function amend(last: Last, table: RouteTable, options: RenderOptions, memory: RouteMemory): Last | undefined {
  if (last.checks === undefined || !isSameFrame(last.table, table)) return undefined;
  let { checks } = last;
  const servers = new Map(last.rendered.servers);
  let isPinnedAnew = false;
  for (const [i, route] of table.routes.entries()) {
    const before = last.table.routes[i];
    if (before === undefined || before === route) continue;
    const [old, now] = [recallRoute(memory, before, options, Infinity), recallRoute(memory, route, options, Infinity)];
    if (!isDeepStrictEqual(withoutServers(before), withoutServers(route)) || !isSameButServers(old, now)) return undefined;
    checks += checksOf(route) - checksOf(before);
    for (const [backend, wanted] of now.servers) {
      isPinnedAnew ||= servers.get(backend)?.first !== wanted.first;
      servers.set(backend, wanted);
    }
  }
  if (!areAllChecked(checks, options.fileDescriptors)) return undefined;
  let config: string | undefined;
  const rendered = {
    get config() {
      return (config ??= renderConfig(table, options, memory).config);
    },
    digest: last.rendered.digest,
    files: isPinnedAnew ? new Map(last.rendered.files).set(FIRST_MAP, renderFirst(servers)) : last.rendered.files,
    servers,
    structures: last.rendered.structures,
  };
  return { table, rendered, checks };
}

/** What a route is besides its servers: breakers, limits and logs stand in files that all routes share. */
const withoutServers = (route: Route): object => ({ ...route, problems: [], versions: route.versions.map((version) => ({ ...version, endpoints: [], active: [], backup: [], spill: version.spill?.at })) });

/** True when one route's sections, files and backends are the same, whatever servers they have. */
const isSameButServers = (a: RenderedRoute, b: RenderedRoute): boolean =>
  a.structure === b.structure && a.files.size === b.files.size && [...a.files].every(([file, content]) => b.files.get(file) === content);
