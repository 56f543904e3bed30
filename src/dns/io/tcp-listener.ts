import { once } from 'node:events';
import { createServer, isIPv6, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { buildListenError } from './listen-error.ts';
import { TcpClient, type TcpClientParts } from './tcp-client.ts';
import type { ListenAddress } from './worker-protocol.ts';

/** RFC 7766 section 6.2.3 asks for seconds; CoreDNS keeps its forwarding connections for 10 s. */
const IDLE_MS = 10_000;
/** A message that has begun must be complete within this time, however slowly it trickles. */
const PARTIAL_MS = 5_000;
const SWEEP_MS = 500;
const BACKLOG = 1024;
/** Turns of the event loop without a new connection after which the kernel's queue is taken for empty. */
const QUIET_TURNS = 3;
/** Under connections that never cease. */
const MAX_ACCEPT_MS = 1_000;

/** TCP clients of all listeners, the longest idle first: at the limit that one makes room. */
export class TcpClients {
  readonly #clients = new Set<TcpClient>();
  readonly #limit: number;
  readonly #sweeper: NodeJS.Timeout;

  constructor(limit: number) {
    this.#limit = limit;
    this.#sweeper = setInterval(() => this.#sweep(Date.now()), SWEEP_MS);
  }

  get size(): number {
    return this.#clients.size;
  }

  add(client: TcpClient): void {
    if (this.#clients.size >= this.#limit) {
      const [longestIdle] = this.#clients;
      longestIdle?.socket.destroy();
      if (longestIdle !== undefined) this.#clients.delete(longestIdle);
    }
    this.#clients.add(client);
    client.socket.once('close', () => this.#clients.delete(client));
  }

  touch(client: TcpClient): void {
    client.activeAtMs = Date.now();
    // A Set keeps the order of insertion: the newest goes last.
    if (this.#clients.delete(client)) this.#clients.add(client);
  }

  /** Answers what is complete, closes, and after `drainMs` cuts what is left. */
  async close(drainMs: number): Promise<void> {
    clearInterval(this.#sweeper);
    for (const client of this.#clients) client.leave();
    const deadline = Date.now() + drainMs;
    while (this.#clients.size > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
    for (const client of this.#clients) client.socket.destroy();
  }

  #sweep(nowMs: number): void {
    for (const client of this.#clients) {
      const partialFor = nowMs - (client.partialSinceMs ?? nowMs);
      if (partialFor > PARTIAL_MS || nowMs - client.activeAtMs > IDLE_MS) client.socket.destroy();
    }
  }
}

/** One TCP socket of the DNS front. */
export class TcpListener {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Binds the socket. @throws ListenError */
  static async open(at: ListenAddress, clients: TcpClients, parts: Omit<TcpClientParts, 'onProgress'>): Promise<TcpListener> {
    // Half open: a client that has sent its last query and FIN still gets every answer.
    const server = createServer({ allowHalfOpen: true }, (socket: Socket) => {
      clients.add(new TcpClient(socket, { ...parts, onProgress: (client) => clients.touch(client) }));
    });
    try {
      server.listen({ host: at.address, port: at.port, ipv6Only: isIPv6(at.address), reusePort: true, backlog: BACKLOG });
      await once(server, 'listening');
    } catch (error) {
      throw buildListenError('tcp', at, error as NodeJS.ErrnoException);
    }
    // Failed accepts (out of file descriptors) must not end the thread; clients try again.
    server.on('error', () => undefined);
    return new TcpListener(server);
  }

  /**
   * Stops accepting; open clients are left to {@link TcpClients}. The kernel resets what it holds for a closing listener, and libuv accepts
   * one connection per turn of the event loop: so it turns until none came for a while. Reset is what arrives in the moment after that; its
   * client asks again (RFC 7766 section 6.2.4).
   */
  async stop(): Promise<void> {
    let quiet = 0;
    const onConnection = (): void => {
      quiet = 0;
    };
    this.#server.on('connection', onConnection);
    for (const end = Date.now() + MAX_ACCEPT_MS; quiet < QUIET_TURNS && Date.now() < end; quiet++) await setImmediate();
    this.#server.close();
  }
}
