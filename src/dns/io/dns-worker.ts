import { randomInt } from 'node:crypto';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { isTrustedListener } from '../access.ts';
import { NameTable } from '../name-table.ts';
import { Responder } from '../responder.ts';
import { TcpClients, TcpListener } from './tcp-listener.ts';
import { UdpListener } from './udp-listener.ts';
import type { ListenAddress, Numbered, WorkerCounters, WorkerReply, WorkerRequest } from './worker-protocol.ts';

/**
 * The thread that answers: sockets, name table and nothing else. It is told the zone in small slices and never waits for
 * the main thread. An uncaught error ends it; the main thread starts another.
 */
const port = parentPort;
if (port === null) throw new Error('dns-worker runs as a worker thread of the agent only');

const PRIORITY = -5;
/** Clients whose answers are out are closed at once; this is for one that connected and says nothing, or reads nothing. */
const TCP_DRAIN_MS = 1_000;
raisePriority();

const table = new NameTable(randomInt(2 ** 32));
const responder = new Responder(table, { nodeName: '', version: '' });
const udp: UdpListener[] = [];
const tcp: TcpListener[] = [];
let clients: TcpClients | undefined;

port.on('message', (request: Numbered<WorkerRequest>) => {
  handle(request).then(
    (value) => reply({ id: request.id, value }),
    (error: NodeJS.ErrnoException) => reply({ id: request.id, failure: { code: error.code ?? 'EUNKNOWN', message: error.message } }),
  );
});

/**
 * On Linux this concerns the calling thread alone. Beside a busy main thread on a full machine (2 cores, load 4 to 7) p99 at
 * 5,000 queries a second fell, mostly to a half. It needs CAP_SYS_NICE; without it the thread competes like any other.
 */
function raisePriority(): void {
  try {
    setPriority(0, PRIORITY);
  } catch {
    // No privilege: see above.
  }
}

function reply(message: WorkerReply): void {
  port?.postMessage(message);
}

async function handle(request: WorkerRequest): Promise<unknown> {
  switch (request.kind) {
    case 'zone':
      responder.identity = request.identity;
      table.apply(request.steps);
      return undefined;
    case 'listen':
      return await listen(request);
    case 'counters':
      return { ...responder.counts, names: table.size, tcpClients: clients?.size ?? 0 } satisfies WorkerCounters;
    case 'close':
      await close(request.drainMs);
      return undefined;
  }
}

async function listen(request: WorkerRequest & { kind: 'listen' }): Promise<ListenAddress[]> {
  clients = new TcpClients(request.maxTcpClients);
  const bound: ListenAddress[] = [];
  for (const at of request.listen) bound.push(await listenOn(at, clients, request));
  return bound;
}

/** A port chosen by the system for UDP may be taken for TCP: then another is tried. */
async function listenOn(at: ListenAddress, tcpClients: TcpClients, request: WorkerRequest & { kind: 'listen' }): Promise<ListenAddress> {
  const trusted = isTrustedListener(request.access, at.address);
  for (let attempt = 0; ; attempt++) {
    const udpListener = await UdpListener.open(at, responder, trusted);
    const bound = { address: at.address, port: udpListener.port };
    try {
      tcp.push(await TcpListener.open(bound, tcpClients, { table, responder, access: request.access, trusted }));
      udp.push(udpListener);
      return bound;
    } catch (error) {
      await udpListener.close(0);
      if (at.port !== 0 || attempt === 10) throw error;
    }
  }
}

async function close(drainMs: number): Promise<void> {
  await Promise.all(tcp.map((listener) => listener.stop()));
  await Promise.all([...udp.map((listener) => listener.close(drainMs)), clients?.close(Math.min(drainMs, TCP_DRAIN_MS))]);
}
