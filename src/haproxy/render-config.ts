import { createHash } from 'node:crypto';
import type { RouteTable } from '../model/route-table.ts';
import { largestChecked } from './fit-limits.ts';
import { FIRST_MAP, type WantedServers } from './plan-servers.ts';
import { breakerProtocols, renderBreakerFiles, renderRefusedTable } from './render-breakers.ts';
import { countBinds } from './render-frontend.ts';
import { renderDefaults, renderGlobal, renderInternal } from './render-global.ts';
import { readMapLookups, renderMapList } from './render-map-list.ts';
import { ACCOUNTS_MAP, HOLD_SCRIPT, IDENTITY_MAP, isLiveMap, renderHoldScript, renderIdentities } from './render-maps.ts';
import { routePools } from './pools.ts';
import { renderRing } from './render-log.ts';
import type { RenderOptions } from './render-options.ts';
import { renderSpillFile } from './render-spill.ts';
import { recallRoute, type RenderedRoute, type RouteMemory } from './render-route.ts';
import { renderAccounts, renderTokenScript, TOKEN_SCRIPT } from './render-tokens.ts';
import { frontendName } from './section-names.ts';
import { checkableServers } from './servers.ts';

/** Everything HAProxy reads. The same table gives the same bytes. */
export interface RenderedConfig {
  /** haproxy.cfg; put together when it is asked for: megabytes on a large node. */
  readonly config: string;
  /** What a worker must have been loaded with to become this by commands: all but `server` lines and live maps. It stands in `description`. */
  readonly digest: string;
  /** Path relative to haproxy.cfg -> content. */
  readonly files: ReadonlyMap<string, string>;
  /** The servers of each backend, as they stand in `config`. */
  readonly servers: ReadonlyMap<string, WantedServers>;
  /** What only a reload changes of a route, as a digest, by the stem of its sections. Empty when it was read from a disk. */
  readonly structures: ReadonlyMap<string, string>;
}

/** Renders a whole node: pure, sorted as the table is, without time. With a `memory` that it had before, only routes that changed. */
export function renderConfig(table: RouteTable, options: RenderOptions, memory: RouteMemory = new WeakMap()): RenderedConfig {
  const checkable = table.routes.flatMap((route) => routePools(route).flatMap((pools) => pools.map(({ version }) => checkableServers(version))));
  const largest = largestChecked(checkable, options.fileDescriptors);
  const count = {
    binds: table.routes.reduce((sum, route) => sum + countBinds(route), 0),
    checks: checkable.reduce((sum, servers) => sum + (servers <= largest ? servers : 0), 0),
  };
  const routes = table.routes.map((route) => recallRoute(memory, route, options, largest));
  const servers = new Map(routes.flatMap((route) => [...route.servers]));
  const own = new Map([[IDENTITY_MAP, renderIdentities(table.callers)], [FIRST_MAP, renderFirst(servers)]]);
  if (options.haproxy.lua) {
    own.set(ACCOUNTS_MAP, renderAccounts(table.callers));
    own.set(HOLD_SCRIPT, renderHoldScript());
    own.set(TOKEN_SCRIPT, renderTokenScript(table.callers, options));
  }
  for (const [file, content] of [...renderBreakerFiles(table, options), ...renderSpillFile(table)]) own.set(file, content);
  const breakers = breakerProtocols(table, options);
  const defaults = [...renderRing(table.routes), ...renderDefaults(options, breakers), ''].join('\n');
  const internal = [...renderRefusedTable(table, options), ...renderInternal(options)].join('\n');
  const global = (digest: string): readonly string[] => ['# Written by onehop; changes by hand are lost.', ...renderGlobal(options, { ...count, breakers }, digest), '', ''];
  const digest = digestOf([...global('-').filter((line) => !isSetAtRunTime(line)), defaults, internal, ...routes.map((route) => route.structure)], own);
  let config: string | undefined;
  return {
    get config() {
      return (config ??= `${global(digest).join('\n')}${[defaults, ...renderMapList(mapLookups(own, defaults, routes)), internal, ...routes.map((route) => route.text), ''].join('\n')}`);
    },
    digest,
    files: new Map([...own, ...routes.flatMap((route) => [...route.files])]),
    servers,
    structures: new Map(table.routes.map((route, i) => [frontendName(route), routes[i]?.structure ?? ''])),
  };
}

/** Those of maps that many routes share come first. A route's text names no other maps than these and its own, whatever stands in it. */
function mapLookups(own: ReadonlyMap<string, string>, defaults: string, routes: readonly RenderedRoute[]): readonly string[] {
  const isIn = (files: ReadonlyMap<string, string>, lookup: string): boolean => files.has(lookup.slice(lookup.indexOf('(') + 1));
  const shared = routes.flatMap(({ mapLookups }) => mapLookups.filter((lookup) => isIn(own, lookup)));
  return [...readMapLookups(defaults), ...shared, ...routes.flatMap(({ files, mapLookups }) => mapLookups.filter((lookup) => isIn(files, lookup)))];
}

/** Global settings that are no reason to reload: the next one brings them. */
export const isSetAtRunTime = (line: string): boolean => line.startsWith('  maxconn ');

/** The digest in `description`. */
export function configDigest(config: string): string | undefined {
  return /^ {2}description (\S+)$/m.exec(config)?.[1];
}

function digestOf(parts: readonly string[], files: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256').update(parts.join('\n'));
  for (const [name, content] of files) if (!isLiveMap(name)) hash.update(`\0${name}\0${content}`);
  return hash.digest('hex').slice(0, 16);
}

/** `BACKEND SERVER`: who takes all calls of a backend while it can be connected. */
export const renderFirst = (servers: ReadonlyMap<string, WantedServers>): string =>
  [...servers].map(([backend, { first }]) => (first === undefined ? '' : `${backend} ${first}\n`)).join('');
