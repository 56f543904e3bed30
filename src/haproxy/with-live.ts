import { FIRST_MAP, type WantedServers } from './plan-servers.ts';
import { renderFirst, type RenderedConfig } from './render-config.ts';

/**
 * What a worker has that was loaded with `loaded` and given some of `desired` by commands: these maps, and the servers of all backends that
 * are in both. Its text says so too, so that a HAProxy that has to be started again comes up with them.
 */
export function withLive(loaded: RenderedConfig, desired: RenderedConfig, maps: ReadonlyMap<string, string>): RenderedConfig {
  const changed = new Map([...desired.servers].filter(([backend]) => loaded.servers.has(backend)));
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
