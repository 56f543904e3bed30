import { FIRST_MAP, type WantedServers } from './plan-servers.ts';
import { renderFirst, type RenderedConfig } from './render-config.ts';

/**
 * The servers of `desired` in the backends that `loaded` has too, as these can have them: a backend keeps the mode that it was loaded with,
 * so one of tcp takes no servers with HTTP/2 (HAProxy refuses them), and calls are counted at the servers where the rules ask for that.
 */
export function fittingServers(loaded: RenderedConfig, desired: RenderedConfig): ReadonlyMap<string, WantedServers> {
  return new Map([...desired.servers].flatMap(([backend, wanted]) => {
    const before = loaded.servers.get(backend);
    return before === undefined ? [] : [[backend, fit(wanted, before, () => loaded.config.includes(`\nbackend ${backend} from tcp-`))] as const];
  }));
}

/** The very same object where it fits as it is. */
function fit(wanted: WantedServers, { h2: wasH2, counted = false }: WantedServers, isTcp: () => boolean): WantedServers {
  const h2 = wanted.h2 && (wasH2 || !isTcp());
  return h2 === wanted.h2 && counted === (wanted.counted ?? false) ? wanted : { ...wanted, h2, counted };
}

/**
 * What a worker has that was loaded with `loaded` and given some of `desired` by commands: these maps, and the servers of all backends that
 * are in both, but for those in `refused`. Its text says so too, so that a HAProxy that has to be started again comes up with them.
 */
export function withLive(loaded: RenderedConfig, desired: RenderedConfig, maps: ReadonlyMap<string, string>, refused: ReadonlyMap<string, unknown> = new Map()): RenderedConfig {
  const changed = new Map([...fittingServers(loaded, desired)].filter(([backend]) => !refused.has(backend)));
  const servers = new Map([...loaded.servers].map(([backend, wanted]) => [backend, changed.get(backend) ?? wanted] as const));
  // Put together when it is asked for; afterwards nothing of the two is held any more.
  let sources: readonly [RenderedConfig, RenderedConfig] | undefined = [loaded, desired];
  let config = '';
  return {
    get config() {
      if (sources !== undefined) config = replaceServerLines(sources[0].config, serverLines(sources[1].config, changed));
      sources = undefined;
      return config;
    },
    digest: loaded.digest,
    files: new Map([...loaded.files, ...maps, [FIRST_MAP, renderFirst(servers)]]),
    servers,
    structures: loaded.structures,
  };
}

const SERVER = '  server ';
const backendOf = (line: string): string | undefined => /^backend (\S+) from /.exec(line)?.[1];

/** The `server` lines of these backends. */
function serverLines(config: string, backends: ReadonlyMap<string, WantedServers>): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  let current: string[] | undefined;
  for (const line of config.split('\n')) {
    if (line.startsWith(SERVER)) current?.push(line);
    else if (/^\S/.test(line)) {
      const backend = backendOf(line);
      current = backend === undefined || !backends.has(backend) ? undefined : [];
      if (backend !== undefined && current !== undefined) found.set(backend, current);
    }
  }
  return found;
}

/** Server lines end their section. */
function replaceServerLines(config: string, servers: ReadonlyMap<string, readonly string[]>): string {
  const out: string[] = [];
  let pending: readonly string[] | undefined;
  const flush = (): void => {
    if (pending !== undefined) out.push(...pending);
    pending = undefined;
  };
  for (const line of config.split('\n')) {
    if (pending !== undefined && line.startsWith(SERVER)) continue;
    if (line === '' || /^\S/.test(line)) flush();
    out.push(line);
    const backend = backendOf(line);
    if (backend !== undefined) pending = servers.get(backend);
  }
  flush();
  return out.join('\n');
}
