import { listenerKey } from '../model/proxy.ts';
import type { Endpoint, Version } from '../model/route-table.ts';

/** What is known of a server while calls run. */
export interface ServerLoad {
  /** Calls in flight. */
  readonly inFlight: number;
  /** A connect failed lately: another server is preferred. */
  readonly passedOver: boolean;
}

/** What one call brings to the choice. */
export interface ServerPick {
  readonly load: (serverKey: string) => ServerLoad;
  /** Source address, or the value of `hashHeader` (absent: undefined). */
  readonly hashKey: string | undefined;
  /** Counts up by one per call of the version. */
  readonly turn: number;
  /** Uniform in [0, 1). */
  readonly draw: number;
}

export const serverKey = (server: Endpoint): string => listenerKey(server.address, server.port);

/** In which order a call tries the servers. */
export interface ServerOrder {
  readonly servers: readonly Endpoint[];
  /** The call goes to a farther tier because nearer ones are saturated. */
  readonly spilled: boolean;
}

/**
 * The servers of a version in the order in which they are tried: the active ones in the algorithm's order, then the next tier, then those
 * that failed a connect lately (they are all that is left, or the failure is over). With spill-over the nearest tier that is not saturated
 * comes before the others.
 */
export function orderServers(version: Version, pick: ServerPick): ServerOrder {
  const { active, backup, spill } = version;
  const tiers = spill === undefined ? [active, backup] : [active, ...spill.tiers];
  const first = spill === undefined ? 0 : nearestWithRoom(tiers, spill.at, pick);
  const spilled = first > 0 && tiers.slice(0, first).some((tier) => tier.some((server) => !isPassedOver(server, pick)));
  const ordered = [tiers[first] ?? [], ...tiers.filter((_, i) => i !== first)].flatMap((tier) => arrange(tier, version, pick));
  const fit = ordered.filter((server) => !isPassedOver(server, pick));
  return { servers: fit.length === ordered.length ? ordered : [...fit, ...ordered.filter((server) => !fit.includes(server))], spilled };
}

const isPassedOver = (server: Endpoint, { load }: ServerPick): boolean => load(serverKey(server)).passedOver;

/** Index of the nearest tier whose usable servers have fewer calls than `at` for each of them; the nearest of all when none has. */
function nearestWithRoom(tiers: readonly (readonly Endpoint[])[], at: number, pick: ServerPick): number {
  const found = tiers.findIndex((tier) => {
    const usable = tier.filter((server) => !isPassedOver(server, pick));
    return usable.reduce((sum, server) => sum + pick.load(serverKey(server)).inFlight, 0) < at * usable.length;
  });
  return Math.max(0, found);
}

function arrange(servers: readonly Endpoint[], { algorithm }: Version, pick: ServerPick): readonly Endpoint[] {
  if (servers.length < 2) return servers;
  switch (algorithm) {
    case 'RoundRobin':
      return rotate(servers, pick.turn % servers.length);
    case 'Random':
      return rotate(servers, Math.floor(pick.draw * servers.length));
    case 'SourceHash':
    case 'HeaderHash': {
      const { hashKey } = pick;
      if (hashKey === undefined) return rotate(servers, pick.turn % servers.length);
      return sortByKey(servers, (server) => -hash(`${hashKey} ${serverKey(server)}`));
    }
    case 'LeastConn':
      // Turned first, so that equally loaded servers take turns.
      return sortByKey(rotate(servers, pick.turn % servers.length), (server) => pick.load(serverKey(server)).inFlight);
  }
}

const rotate = <T>(items: readonly T[], by: number): readonly T[] => [...items.slice(by), ...items.slice(0, by)];

function sortByKey(servers: readonly Endpoint[], key: (server: Endpoint) => number): readonly Endpoint[] {
  return servers
    .map((server) => ({ server, rank: key(server) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ server }) => server);
}

/** FNV-1a with a final mix; the highest hash of (key, server) wins, so a server's leaving moves only its own keys. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  return (value ^ (value >>> 13)) >>> 0;
}
