import { createHash } from 'node:crypto';
import type { RouteTable } from '../model/route-table.ts';
import { largestChecked } from './fit-limits.ts';
import { checkableServers, renderBackend } from './render-backend.ts';
import { breakerProtocols, renderBreakerFiles, renderRefusedTable } from './render-breakers.ts';
import { bindsOf, hasAcl, renderFrontend } from './render-frontend.ts';
import { renderDefaults, renderGlobal, renderInternal } from './render-global.ts';
import {
  ACCOUNTS_MAP,
  exceptionsMap,
  headerMap,
  HOLD_SCRIPT,
  IDENTITY_MAP,
  isLiveMap,
  renderExceptions,
  renderHeaderMatches,
  renderHoldScript,
  renderIdentities,
  renderShares,
  sharesMap,
} from './render-maps.ts';
import { renderRing } from './render-log.ts';
import { accountExceptionsMap, renderAccountExceptions, renderAccounts, renderTokenScript, TOKEN_SCRIPT } from './render-tokens.ts';
import type { RenderOptions } from './render-options.ts';
import { backendNames, routeComment } from './section-names.ts';

/** Everything HAProxy reads. `files`: path relative to haproxy.cfg -> content. The same table gives the same bytes. */
export interface RenderedConfig {
  readonly config: string;
  readonly files: ReadonlyMap<string, string>;
}

/** Renders a whole node: pure, sorted as the table is, without time. */
export function renderConfig(table: RouteTable, options: RenderOptions): RenderedConfig {
  const files = renderFiles(table, options);
  const checkable = table.routes.flatMap((route) => route.versions.map(checkableServers));
  const largest = largestChecked(checkable, options.fileDescriptors);
  const count = {
    binds: table.routes.reduce((sum, route) => sum + bindsOf(route).length, 0),
    checks: checkable.reduce((sum, servers) => sum + (servers <= largest ? servers : 0), 0),
  };
  const breakers = breakerProtocols(table, options);
  const routes = table.routes.flatMap((route) => {
    const names = backendNames(route);
    const backends = route.invalid ? [] : route.versions.map((version, index) => ['', ...renderBackend(route, version, names[index] ?? '', largest, options)]);
    return ['', routeComment(route), ...renderFrontend(route, options), ...backends.flat()];
  });
  const head = (digest: string): string => ['# Written by onehop; changes by hand are lost.', ...renderGlobal(options, { ...count, breakers }, digest), '', ''].join('\n');
  // Megabytes on a large node: joined once, for the digest and for the file.
  const rest = [...renderRing(table.routes), ...renderDefaults(options, breakers), '', ...renderRefusedTable(table, options), ...renderInternal(options), ...routes, ''].join('\n');
  return { config: `${head(digestOf(`${head('-')}${rest}`, files))}${rest}`, files };
}

/** The digest in `description`: what a worker had to be loaded with to have these bytes (live maps change without). */
export function configDigest(config: string): string | undefined {
  return /^ {2}description (\S+)$/m.exec(config)?.[1];
}

function digestOf(config: string, files: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256').update(config);
  for (const [name, content] of files) if (!isLiveMap(name)) hash.update(`\0${name}\0${content}`);
  return hash.digest('hex').slice(0, 16);
}

function renderFiles(table: RouteTable, options: RenderOptions): ReadonlyMap<string, string> {
  const files = new Map([[IDENTITY_MAP, renderIdentities(table.callers)]]);
  if (options.haproxy.lua) {
    files.set(ACCOUNTS_MAP, renderAccounts(table.callers));
    files.set(HOLD_SCRIPT, renderHoldScript());
    files.set(TOKEN_SCRIPT, renderTokenScript(table.callers, options));
  }
  for (const [file, content] of renderBreakerFiles(table, options)) files.set(file, content);
  for (const route of table.routes) {
    if (route.invalid) continue;
    if (hasAcl(route)) files.set(exceptionsMap(route), renderExceptions(route));
    if (hasAcl(route) && route.protocol === 'http') files.set(accountExceptionsMap(route), renderAccountExceptions(route));
    if (route.choice.kind === 'weighted') files.set(sharesMap(route), renderShares(route));
    if (route.choice.kind === 'header') files.set(headerMap(route), renderHeaderMatches(route));
  }
  return files;
}
