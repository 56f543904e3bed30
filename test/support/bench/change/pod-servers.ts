import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import process from 'node:process';

/**
 * Told by the parent: this pod goes, or is there (again); or: what was counted? `watchedFromMs`: since when it is not ready (ms since 1970), if
 * its last call is of interest.
 */
export type ToldToServers = { readonly goes: string; readonly watchedFromMs?: number } | { readonly comes: string } | 'count';

/** The answer to `count`. */
export interface ToldByServers {
  /** Calls that reached a pod more than a second after it had gone. */
  readonly late: number;
  /** Of each watched pod that was called at all: its last call, ms after it had stopped being ready. */
  readonly lastCallsMs: readonly number[];
}

/**
 * Process: `pod-servers PORT`. All pods of a cluster on loopback: answers each call with the address that was called, which says who
 * served it. A pod that goes serves for its shutdown's 2 s, then its connections are reset, new ones too. Calls that reach it in the
 * second half of that time, or later, are late.
 */
const LATE_MS = 1_000;
const SHUTDOWN_MS = 2_000;
const [port = ''] = process.argv.slice(2);
const goneAtMs = new Map<string, number>();
const lastCallMs = new Map<string, number>();
const watchedFromMs = new Map<string, number>();
const open = new Map<string, Set<Socket>>();
let late = 0;

const sinceGone = (address: string): number => performance.now() - (goneAtMs.get(address) ?? Infinity);

const lastCalls = (): readonly number[] =>
  [...watchedFromMs].flatMap(([address, fromMs]) => {
    const atMs = lastCallMs.get(address);
    return atMs === undefined ? [] : [atMs - fromMs];
  });

const server = createServer((request, response) => {
  const address = request.socket.localAddress ?? '';
  if (sinceGone(address) > LATE_MS) late++;
  lastCallMs.set(address, performance.timeOrigin + performance.now());
  response.end(address);
});
server.keepAliveTimeout = 120_000;
server.on('connection', (socket) => {
  const address = socket.localAddress ?? '';
  if (sinceGone(address) > SHUTDOWN_MS) {
    socket.resetAndDestroy();
    return;
  }
  const sockets = open.get(address) ?? new Set();
  open.set(address, sockets.add(socket));
  socket.on('error', () => undefined);
  socket.on('close', () => sockets.delete(socket));
});

process.on('message', (told: ToldToServers) => {
  if (told === 'count') process.send?.({ late, lastCallsMs: lastCalls() } satisfies ToldByServers);
  else if ('comes' in told) {
    goneAtMs.delete(told.comes);
    lastCallMs.delete(told.comes);
  } else {
    const { goes } = told;
    if (told.watchedFromMs !== undefined) watchedFromMs.set(goes, told.watchedFromMs);
    goneAtMs.set(goes, performance.now());
    setTimeout(() => {
      if (sinceGone(goes) >= SHUTDOWN_MS - 10) for (const socket of open.get(goes) ?? []) socket.resetAndDestroy();
    }, SHUTDOWN_MS);
  }
});
// Its parent ended without a word.
process.on('disconnect', () => process.exit());
server.listen(Number(port), '0.0.0.0', 4096, () => process.send?.('ready'));
