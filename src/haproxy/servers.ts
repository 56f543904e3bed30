import { listenerKey } from '../model/proxy.ts';
import type { Endpoint, Version } from '../model/route-table.ts';

/**
 * How a server serves; it is part of its name, so that nothing about a server ever changes while it runs: another way is another server,
 * added before this one leaves. `active`: takes calls, with checks. `plain`: the same without checks. `backup`: the next tier.
 */
export type ServerWay = 'active' | 'plain' | 'backup';

/** One server of a backend: the `server` line of the file, or the `add server` of a running worker. */
export interface Server {
  readonly name: string;
  /** `address:port`, IPv6 in brackets. */
  readonly address: string;
  readonly way: ServerWay;
  readonly endpoint: Endpoint;
}

const SUFFIX: Readonly<Record<ServerWay, string>> = { active: '', plain: '.plain', backup: '.backup' };

const OBSERVE = 'check inter 1h fastinter 500ms downinter 1s fall 2 rise 1 observe layer4 error-limit 1';

/**
 * Failures are seen on real traffic: one failed connect takes a server out, and only then is it checked, each second.
 * Checks of healthy servers once an hour: with 10,000 endpoints a short interval would cost thousands of connects a second.
 */
export const CHECK = `${OBSERVE} on-error mark-down`;

/**
 * Idle connections to a server that are kept although no more calls than now need them: one for each caller, since a connection has the
 * address of one. Without it every caller but the last one connects anew (101 connects in 300 calls of three callers; with it 3).
 */
const KEPT_IDLE = 128;

/**
 * With callers' addresses a failed connect may be the caller's own affair: a NetworkPolicy that keeps this one out must not take the server
 * from others. So it brings the next check forward, and that decides, from the node's address.
 */
const CHECK_FROM_HERE = `${OBSERVE} on-error fastinter`;

/** Words of every server, and of one that is checked. */
export const serverWords = (preserveClientIp = false): { readonly all: readonly string[]; readonly check: string } =>
  preserveClientIp ? { all: [`pool-low-conn ${KEPT_IDLE}`], check: CHECK_FROM_HERE } : { all: [], check: CHECK };

/** Whether a server has checks; none does that only another node can reach for certain. */
export const isChecked = (way: ServerWay, preserveClientIp = false): boolean => way === 'active' || (way === 'backup' && !preserveClientIp);

/** Never reached: more calls than a whole HAProxy takes. */
export const MAX_COUNTED = 100_000;

/**
 * What servers of a version that spills over have besides. `be_conn_free` adds up what is free of it at the servers that are up, which tells
 * the calls in flight there (`be_conn` counts those of servers that left too: WebSockets for hours). No call ever waits for it.
 */
export const COUNTED = `maxconn ${MAX_COUNTED}`;

/** `address:port` of a server's endpoint, as {@link listenerKey} writes it; undefined: the name is of no server. */
export function endpointKey(name: string): string | undefined {
  const [, address, port] = /^(.+):(\d+)(?:\.plain|\.backup)?$/.exec(name) ?? [];
  return address === undefined ? undefined : listenerKey(address, Number(port));
}

/** The way that is in a server's name. */
export const wayOf = (name: string): ServerWay => (name.endsWith(SUFFIX.plain) ? 'plain' : name.endsWith(SUFFIX.backup) ? 'backup' : 'active');

/** Never a host name: HAProxy would resolve it while it starts, and hang on that. */
const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$/;

/**
 * The servers of a version: active ones, then the next tier; an address and port once, as active if it is both. A lone server has no
 * checks: it is never marked down, for there is nobody to go to, and it serves again at once when it is back.
 * With `preserveClientIp` servers on other nodes have none either: a NetworkPolicy that lets callers in need not let this node in. Its own
 * pods a node can always reach (Kubernetes: the kubelet must).
 */
export function serversOf(version: Version, largestChecked: number, preserveClientIp = false): readonly Server[] {
  const endpoints = uniqueEndpoints(version);
  const checked = endpoints.size > 1 && endpoints.size <= largestChecked;
  const pinned = version.active.length === 1;
  return [...endpoints].map(([key, { endpoint, backup }]) => {
    // Beside a pinned server the next tier is no `backup`: see firstServer.
    const way: ServerWay = backup && !pinned ? 'backup' : checked && (!preserveClientIp || endpoint.tier === 'node') ? 'active' : 'plain';
    return { name: `${endpoint.address}:${endpoint.port}${SUFFIX[way]}`, address: key, way, endpoint };
  });
}

/**
 * The server that takes all calls while it can be connected: the only active one, when others stand behind it. They are no `backup`
 * servers then: those are not tried before the active one is down, and a server that dies with idle connections in the pool takes a
 * retry for each of them (docs/decisions/0005).
 */
export function firstServer(version: Version, servers: readonly Server[]): string | undefined {
  return version.active.length === 1 && servers.length > 1 ? servers[0]?.name : undefined;
}

interface Placed {
  readonly endpoint: Endpoint;
  readonly backup: boolean;
}

function uniqueEndpoints(version: Version): ReadonlyMap<string, Placed> {
  const endpoints = new Map<string, Placed>();
  const add = (endpoint: Endpoint, backup: boolean): void => {
    const key = listenerKey(endpoint.address, endpoint.port);
    if (ADDRESS.test(endpoint.address) && !endpoints.has(key)) endpoints.set(key, { endpoint, backup });
  };
  for (const endpoint of version.active) add(endpoint, false);
  for (const endpoint of version.backup) add(endpoint, true);
  return endpoints;
}

/** How many servers of a version want checks, at most: all, or none where there is only one. */
export function checkableServers({ active, backup }: Version): number {
  const servers = active.length + backup.length;
  return servers > 1 ? servers : 0;
}
