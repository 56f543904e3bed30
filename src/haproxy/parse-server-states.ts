import ipaddr from 'ipaddr.js';
import { listenerKey } from '../model/proxy.ts';
import type { RunningServers, ServerState, WantedServers } from './plan-servers.ts';
import { COUNTED, endpointKey, wayOf } from './servers.ts';

/** Bits of `srv_admin_state` that mean maintenance (management guide, 9.3, "show servers state"). */
const MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20;
const DRAIN = 0x08 | 0x10;
/** Bits of `srv_check_state`: the server has checks, and they are on. */
const [HAS_CHECKS, CHECKS_ON] = [0x02, 0x04];

/** Reads `show servers state`: backend -> server -> state. Columns are found by name: versions add some. */
export function parseServerStates(answer: string): ReadonlyMap<string, RunningServers> {
  const backends = new Map<string, Map<string, ServerState>>();
  let columns: readonly string[] = [];
  for (const line of answer.split('\n')) {
    if (line.startsWith('# ')) columns = line.slice(2).split(' ');
    if (line.startsWith('#') || columns.length === 0) continue;
    const fields = line.split(' ');
    const field = (column: string): string => fields[columns.indexOf(column)] ?? '';
    const [backend, name] = [field('be_name'), field('srv_name')];
    if (backend === '' || name === '') continue;
    const servers = backends.get(backend) ?? new Map<string, ServerState>();
    backends.set(backend, servers.set(name, stateOf(name, field)));
  }
  return backends;
}

function stateOf(name: string, field: (column: string) => string): ServerState {
  const admin = Number(field('srv_admin_state'));
  if ((admin & MAINTENANCE) !== 0) return 'leaving';
  const unchecked = (Number(field('srv_check_state')) & (HAS_CHECKS | CHECKS_ON)) === HAS_CHECKS;
  return unchecked || isMoved(name, field('srv_addr'), Number(field('srv_port'))) || (admin & DRAIN) !== 0 || field('srv_uweight') !== field('srv_iweight') ? 'altered' : 'serving';
}

/** Whether a server is not where its name says. Texts of IPv6 addresses differ, so they are compared as addresses. */
function isMoved(name: string, address: string, port: number): boolean {
  const [own, there] = [endpointKey(name), listenerKey(address, port)];
  if (own === undefined || own === there) return false;
  const [, host = '', ownPort] = /^\[?(.*?)\]?:(\d+)$/.exec(own) ?? [];
  if (Number(ownPort) !== port || !ipaddr.isValid(host) || !ipaddr.isValid(address)) return true;
  return ipaddr.parse(host).toNormalizedString() !== ipaddr.parse(address).toNormalizedString();
}

/** The servers of each backend in a haproxy.cfg of ours and its map of pinned ones. */
export function parseServers(config: string, firstMap: string): ReadonlyMap<string, WantedServers> {
  const first = parsePins(firstMap);
  interface Found extends WantedServers {
    readonly servers: WantedServers['servers'][number][];
    h2: boolean;
    counted: boolean;
    preserveClientIp?: boolean;
  }
  const backends = new Map<string, Found>();
  let current: Found | undefined;
  for (const line of config.split('\n')) {
    const [, backend] = /^backend (\S+) from (?:http|tcp)-version/.exec(line) ?? [];
    const [, server] = /^ {2}server "?([^\s"]+)/.exec(line) ?? [];
    if (backend !== undefined) backends.set(backend, (current = { servers: [], first: first.get(backend), h2: false, counted: false }));
    else if (/^\w/.test(line)) current = undefined;
    else if (line === '  default-server proto h2' && current !== undefined) current.h2 = true;
    else if (line === `  default-server ${COUNTED}` && current !== undefined) current.counted = true;
    else if (line.startsWith('  source ') && current !== undefined) current.preserveClientIp = true;
    else if (server !== undefined) current?.servers.push({ name: server, address: endpointKey(server) ?? '', way: wayOf(server) });
  }
  return backends;
}

/** Lines `BACKEND SERVER`. */
export const parsePins = (map: string): ReadonlyMap<string, string> => new Map(map.split('\n').flatMap((line) => (line.includes(' ') ? [line.split(' ', 2) as [string, string]] : [])));
