import { readFile, readdir, readlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename } from 'node:path';
import { systemCode } from '../../model/coded-error.ts';
import { listenerKey } from '../../model/proxy.ts';
import { poolContains, type VipPool } from '../../model/vip-pool.ts';
import { describeDenied, describeTaken, describeUnavailable, isWildcard } from '../describe-failure.ts';
import type { Owner, PortFailure, WantedListener } from '../describe-failure.ts';
import { parseListeningSockets } from '../parse-proc-net.ts';
import type { ListeningSocket } from '../parse-proc-net.ts';

/*
 * `haproxy -c` does not bind. A candidate whose port is taken passes it, and the reload then stops every frontend for seconds.
 * So each new listener is bound here first, for a moment.
 */

export interface CheckListenersOptions {
  /** Keys of the listeners that our own proxy holds open now. */
  readonly ownListeners: ReadonlySet<string>;
  /** Keys that another generation of ours serves, as its admin socket says. */
  readonly siblings?: ReadonlySet<string>;
  /** uid of HAProxy. Given, a listener counts as ours or a sibling's only if the kernel says that this uid holds it. */
  readonly haproxyUid?: number;
}

/** A listening socket and, where /proc lets us see it, its process. */
export interface Listener extends ListeningSocket {
  readonly owner?: Owner;
}

/** Binds in flight at once: enough to keep the loop busy, few enough that DNS answers in between. */
const CONCURRENT_BINDS = 32;

/**
 * Finds out which of the wanted listeners cannot be opened. Those held by our own proxy or a sibling pass; every other is bound
 * exclusively and closed at once. Resolves with the failures by listener key; an absent key can be opened.
 */
export async function checkListeners(wanted: readonly WantedListener[], options: CheckListenersOptions): Promise<Map<string, PortFailure>> {
  let sockets = await readListeningSockets();
  let held = bySocket(sockets);
  const isOurs = (key: string): boolean => {
    const socket = held.get(key);
    if (socket === undefined || (options.haproxyUid !== undefined && socket.uid !== options.haproxyUid)) return false;
    return options.ownListeners.has(key) || options.siblings?.has(key) === true;
  };

  const queue = new Map(wanted.map((each) => [listenerKey(each.address, each.port), each])).entries();
  let refused: { readonly key: string; readonly listener: WantedListener; readonly code: string }[] = [];
  const bindNext = async (): Promise<void> => {
    for (const [key, listener] of queue) {
      const code = isOurs(key) ? undefined : await tryBind(listener);
      if (code !== undefined) refused.push({ key, listener, code });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_BINDS }, bindNext));
  if (refused.length > 0) {
    // Our HAProxy may have started meanwhile.
    sockets = await readListeningSockets();
    held = bySocket(sockets);
    refused = refused.filter(({ key }) => !isOurs(key));
  }
  if (refused.length === 0) return new Map();

  const holders = new Map(refused.map(({ key, listener }) => [key, findHolder(sockets, listener)]));
  const owners = await findOwners([...holders.values()].flatMap((socket) => socket?.inode ?? []));
  const unprivilegedFrom = await readUnprivilegedPortStart();
  return new Map(
    refused.map(({ key, listener, code }) => {
      const holder = holders.get(key);
      if (code === 'EADDRINUSE') return [key, describeTaken(listener, holder, owners.get(holder?.inode ?? ''))];
      return [key, code === 'EACCES' ? describeDenied(listener, unprivilegedFrom) : describeUnavailable(listener, code)];
    }),
  );
}

const bySocket = (sockets: readonly ListeningSocket[]): ReadonlyMap<string, ListeningSocket> => new Map(sockets.map((socket) => [listenerKey(socket.address, socket.port), socket]));

/** Everything that listens on `port`, on `address` or a wildcard when an address is given. */
export async function whoListens(port: number, address?: string): Promise<readonly Listener[]> {
  const found = (await readListeningSockets()).filter(
    (socket) => socket.port === port && (address === undefined || socket.address === address || isWildcard(socket.address)),
  );
  const owners = await findOwners(found.map((socket) => socket.inode));
  return found.map((socket) => {
    const owner = owners.get(socket.inode);
    return owner === undefined ? socket : { ...socket, owner };
  });
}

/** Programs that still listen (TCP) on addresses of the pool: another agent, or a HAProxy that outlived its own. */
export async function listenersInPool(pool: VipPool): Promise<readonly string[]> {
  const inside = (await readListeningSockets()).filter((socket) => poolContains(pool, socket.address));
  const owners = await findOwners(inside.map((socket) => socket.inode));
  const name = ({ inode, uid }: ListeningSocket): string => {
    const owner = owners.get(inode);
    return owner === undefined ? `a program of uid ${uid}` : `${owner.program} (pid ${owner.pid})`;
  };
  return [...new Set(inside.map(name))];
}

/** Binds and closes. Resolves with the error's code, undefined when it could be bound. */
function tryBind({ address, port }: WantedListener): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error) => resolve(systemCode(error) ?? error.message));
    // backlog 1: a caller that arrives within this moment is refused, as it would have been before the route existed
    server.listen({ host: address, port, exclusive: true, ipv6Only: true, backlog: 1 }, () => server.close(() => resolve(undefined)));
  });
}

async function readListeningSockets(): Promise<readonly ListeningSocket[]> {
  const texts = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map((file) => readFile(file, 'latin1').catch(() => '')));
  return texts.flatMap(parseListeningSockets);
}

/** The socket in the way of a listener: on its very address, else on a wildcard (`::` holds IPv4 too, unless it is IPv6 only). */
function findHolder(sockets: readonly ListeningSocket[], { address, port }: WantedListener): ListeningSocket | undefined {
  const onPort = sockets.filter((socket) => socket.port === port);
  const exact = onPort.find((socket) => socket.address === address);
  return exact ?? onPort.find((socket) => socket.address === '::' || (socket.address === '0.0.0.0' && !address.includes(':')));
}

/** Finds the processes that hold these sockets. What cannot be read (another user's, without SYS_PTRACE) is left out. */
async function findOwners(inodes: readonly string[]): Promise<ReadonlyMap<string, Owner>> {
  const owners = new Map<string, Owner>();
  const missing = new Set(inodes);
  const pids = missing.size === 0 ? [] : (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    if (missing.size === 0) break;
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    const targets = await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
    const sockets = targets.flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []).filter((inode) => missing.delete(inode));
    if (sockets.length === 0) continue;
    const program = await readProgram(pid);
    for (const inode of sockets) owners.set(inode, { pid: Number(pid), program });
  }
  return owners;
}

/** The executable's name: `comm` is the main thread's, which Node and Java set to something else. */
async function readProgram(pid: string): Promise<string> {
  const executable = await readlink(`/proc/${pid}/exe`).catch(() => '');
  return basename(executable).replace(/ \(deleted\)$/, '') || (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim() || 'an unnamed program';
}

async function readUnprivilegedPortStart(): Promise<number> {
  const text = await readFile('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8').catch(() => '1024');
  return Number(text);
}
