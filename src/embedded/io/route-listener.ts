import net from 'node:net';
import type { WantedListener } from '../plan-listeners.ts';

/** A connection that sends nothing for so long is closed (HAProxy's `timeout http-request`). */
const FIRST_BYTES_MS = 10_000;
/** The beginning of HTTP/2 with prior knowledge (RFC 9113 section 3.4); no HTTP/1.1 method begins so. */
const HTTP2_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n', 'latin1');

/** What a listener does with its connections. */
export interface ConnectionHandlers {
  readonly http1: (socket: net.Socket, listener: RouteListener) => void;
  readonly http2: (socket: net.Socket, listener: RouteListener) => void;
  readonly tcp: (socket: net.Socket, listener: RouteListener) => void;
  /** Every connection, once, as soon as it is accepted. */
  readonly accepted: (socket: net.Socket, listener: RouteListener) => void;
}

/** One open `address:port`. `wanted` is replaced when the table changes: calls on open connections follow the newest route. */
export class RouteListener {
  wanted: WantedListener;
  /** No longer accepting: each connection ends after its answer. */
  closing = false;
  readonly #server: net.Server;
  readonly #handlers: ConnectionHandlers;

  private constructor(wanted: WantedListener, handlers: ConnectionHandlers) {
    this.wanted = wanted;
    this.#handlers = handlers;
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  /**
   * Rejects with the system's error when the address cannot be bound. Two generations may share it (SO_REUSEPORT).
   *
   * `givesWay`: an IPv4 address is bound as IPv6 (`::ffff:1.2.3.4`). Linux looks at IPv4 sockets first, so from the moment in which
   * HAProxy binds the address it gets all new connections, and the queue here runs empty by itself. Two IPv4 sockets would share them,
   * and what waits in the queue of the one that closes is reset (docs/decisions/0010-stand-in.md).
   */
  static async open(wanted: WantedListener, handlers: ConnectionHandlers, givesWay: boolean): Promise<RouteListener> {
    if (!givesWay || wanted.address.includes(':')) return RouteListener.#listen(wanted.address, wanted, handlers);
    try {
      return await RouteListener.#listen(`::ffff:${wanted.address}`, wanted, handlers);
    } catch (error) {
      // A kernel without IPv6.
      if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') throw error;
      return RouteListener.#listen(wanted.address, wanted, handlers);
    }
  }

  static #listen(host: string, wanted: WantedListener, handlers: ConnectionHandlers): Promise<RouteListener> {
    const listener = new RouteListener(wanted, handlers);
    return new Promise((resolve, reject) => {
      listener.#server.once('error', reject);
      listener.#server.listen({ host, port: wanted.port, reusePort: true, exclusive: true, backlog: 1024 }, () => {
        listener.#server.off('error', reject);
        // Out of descriptors while accepting: the listener goes on.
        listener.#server.on('error', () => {});
        resolve(listener);
      });
    });
  }

  /** Stops accepting; connections stay. */
  close(): void {
    this.closing = true;
    this.#server.close();
  }

  #accept(socket: net.Socket): void {
    // A reset at any moment must not become an uncaught exception.
    socket.on('error', () => socket.destroy());
    this.#handlers.accepted(socket, this);
    if (this.wanted.route.protocol === 'tcp') return this.#handlers.tcp(socket, this);
    this.#sniff(socket);
  }

  /** Waits for the first bytes, which tell HTTP/2 from HTTP/1.1, and hands the socket over with them unread. */
  #sniff(socket: net.Socket): void {
    const timer = setTimeout(() => socket.destroy(), FIRST_BYTES_MS);
    let seen = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const compared = Math.min(seen.length, HTTP2_PREFACE.length);
      const prefaced = seen.subarray(0, compared).equals(HTTP2_PREFACE.subarray(0, compared));
      if (prefaced && compared < HTTP2_PREFACE.length) return;
      stop();
      // Node's HTTP/2 takes what a paused socket has buffered; on a flowing one the bytes would be lost to it.
      if (prefaced) socket.pause();
      socket.unshift(seen);
      (prefaced ? this.#handlers.http2 : this.#handlers.http1)(socket, this);
    };
    const onEnd = (): void => {
      stop();
      socket.destroy();
    };
    const stop = (): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('end', onEnd).off('close', stop);
    };
    socket.on('data', onData).on('end', onEnd).on('close', stop);
  }
}
