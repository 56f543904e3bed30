import { createHash } from 'node:crypto';
import { regexReach } from '../model/regex-reach.ts';
import type { Route } from '../model/route-table.ts';
import type { WantedServers } from './plan-servers.ts';
import { routePools } from './pools.ts';
import { renderBackend, renderServer } from './render-backend.ts';
import { limitMap, MOST_CONNECTIONS } from './render-breakers.ts';
import { hasAcl, renderFrontend } from './render-frontend.ts';
import { readMapLookups } from './render-map-list.ts';
import { exceptionsMap, headerMap, isLiveMap, reachMap, renderExceptions, renderHeaderMatches, renderShares, sharesMap } from './render-maps.ts';
import type { RenderOptions } from './render-options.ts';
import { rateMap, renderRateNumbers } from './render-rate-limit.ts';
import { accountExceptionsMap, renderAccountExceptions } from './render-tokens.ts';
import { backendNames, routeComment } from './section-names.ts';
import { firstServer, serversOf } from './servers.ts';

/** One route's part of what HAProxy reads. */
export interface RenderedRoute {
  /** Its sections, with the `server` lines that the file has. */
  readonly text: string;
  /** The same without those lines, and the files that need a reload, as a digest. */
  readonly structure: string;
  /** How it looks up maps. */
  readonly mapLookups: readonly string[];
  readonly files: ReadonlyMap<string, string>;
  /** By the backend's name. */
  readonly servers: ReadonlyMap<string, WantedServers>;
}

/** Routes as they were rendered: one that is the very same object is not rendered again. */
export type RouteMemory = WeakMap<Route, { readonly largestChecked: number; readonly rendered: RenderedRoute }>;

/** {@link RenderedRoute} of a route, from `memory` where it is there. */
export function recallRoute(memory: RouteMemory, route: Route, options: RenderOptions, largestChecked: number): RenderedRoute {
  const known = memory.get(route);
  if (known?.largestChecked === largestChecked) return known.rendered;
  const rendered = renderRoute(route, options, largestChecked);
  memory.set(route, { largestChecked, rendered });
  return rendered;
}

function renderRoute(route: Route, options: RenderOptions, largestChecked: number): RenderedRoute {
  const head = ['', routeComment(route), ...renderFrontend(route, options)];
  const text = [...head];
  const structure = [...head];
  const servers = new Map<string, WantedServers>();
  for (const pools of routePools(route)) {
    for (const { name, version } of pools) {
      const listed = serversOf(version, largestChecked, options.preserveClientIp);
      const section = ['', ...renderBackend(route, version, pools.map((pool) => pool.name), name, options)];
      structure.push(...section);
      text.push(...section, ...listed.map((server) => renderServer(server, options)));
      servers.set(name, { servers: listed, first: route.locality === 'PreferLocal' ? firstServer(version, listed) : undefined, h2: route.protocol === 'http' && version.serverProtocol === 'h2', counted: version.spill !== undefined, ...(options.preserveClientIp === true ? { preserveClientIp: true } : {}) });
    }
  }
  const files = renderFiles(route);
  const hash = createHash('sha256').update(structure.join('\n'));
  for (const [name, content] of files) if (!isLiveMap(name)) hash.update(`\0${name}\0${content}`);
  return { text: text.join('\n'), structure: hash.digest('hex'), mapLookups: readMapLookups(structure.join('\n')), files, servers };
}

function renderFiles(route: Route): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  if (route.invalid) return files;
  if (hasAcl(route)) files.set(exceptionsMap(route), renderExceptions(route));
  if (hasAcl(route) && route.protocol === 'http') files.set(accountExceptionsMap(route), renderAccountExceptions(route));
  if (route.choice.kind === 'weighted') files.set(sharesMap(route), renderShares(route));
  if (route.choice.kind === 'header') {
    const reach = regexReach(route.versions);
    if (reach !== undefined) files.set(reachMap(route), `0:${reach} 1\n`);
    files.set(headerMap(route), renderHeaderMatches(route));
  }
  if (route.rateLimit !== undefined) files.set(rateMap(route), renderRateNumbers(route.rateLimit));
  for (const [index, { breaker }] of route.versions.entries()) {
    const limit = breaker?.connLimit ?? 0;
    if (limit > 0) files.set(limitMap(backendNames(route)[index] ?? ''), `${limit + 1}:${MOST_CONNECTIONS} 1\n`);
  }
  return files;
}
