import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { DROP, type Responder, type Transport } from '../responder.ts';
import { UDP_PAYLOAD } from '../wire.ts';
import { buildListenError } from './listen-error.ts';
import type { ListenAddress } from './worker-protocol.ts';

/** Room for bursts while the thread is busy elsewhere; the kernel caps it at net.core.rmem_max. */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
/** Reading for this long without a packet means that the socket's queue is empty. */
const QUIET_MS = 5;
/** Nobody sends from the discard port: a socket connected to it receives nothing new. */
const DUMMY_PORT = 9;

interface HeldQuery {
  readonly query: Uint8Array;
  readonly from: RemoteInfo;
}

/**
 * One UDP socket of the DNS front.
 *
 * Invariants: a packet is answered within the event that brought it, from one scratch buffer. The buffer is given up
 * only when the kernel did not take an answer at once (then libuv still needs it).
 */
export class UdpListener {
  readonly #socket: Socket;
  readonly #responder: Responder;
  readonly #transport: Transport;
  #scratch = new AnswerBuffer();
  /** While draining: packets kept until the socket may send again. */
  #held: HeldQuery[] | undefined;

  private constructor(socket: Socket, responder: Responder, trusted: boolean) {
    this.#socket = socket;
    this.#responder = responder;
    this.#transport = { tcp: false, trusted };
    socket.on('message', (query, from) => this.#receive(query, from));
    // Errors of single packets (ICMP answers, unreachable clients) concern nobody else.
    socket.on('error', () => undefined);
  }

  /** Binds the socket. @throws ListenError */
  static async open(at: ListenAddress, responder: Responder, trusted: boolean): Promise<UdpListener> {
    const v6 = isIPv6(at.address);
    const socket = createSocket({
      type: v6 ? 'udp6' : 'udp4',
      ipv6Only: v6,
      reusePort: true,
      recvBufferSize: RECEIVE_BUFFER_BYTES,
      // Clients are addresses already; the default would ask dns.lookup for every answer.
      lookup: (address, _options, callback) => callback(null, address, v6 ? 6 : 4),
    });
    try {
      // With our immediate lookup bind() may say 'listening' before it returns.
      const listening = once(socket, 'listening');
      socket.bind(at.port, at.address);
      await listening;
    } catch (error) {
      socket.close();
      throw buildListenError('udp', at, error as NodeJS.ErrnoException);
    }
    return new UdpListener(socket, responder, trusted);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  /**
   * Hands the port over to whoever else is bound to it, then closes. Connected to a dummy peer the socket gets no new
   * packets (the kernel gives them to the sibling); those already queued are read, and answered in a moment without peer, in which new
   * ones may come: so it is done again until there were none, and closed with the peer still set.
   */
  async close(drainMs: number): Promise<void> {
    const deadline = Date.now() + drainMs;
    let held: HeldQuery[];
    do {
      held = [];
      this.#held = held;
      this.#connectDummy();
      for (let seen = -1; seen !== held.length && Date.now() < deadline; ) {
        seen = held.length;
        await delay(QUIET_MS);
      }
      this.#held = undefined;
      if (held.length === 0) break;
      this.#socket.disconnect();
      for (const { query, from } of held) this.#receive(query, from);
    } while (Date.now() < deadline);
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }

  #connectDummy(): void {
    const { address } = this.#socket.address();
    const any = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address;
    this.#socket.connect(DUMMY_PORT, any);
  }

  #receive(query: Uint8Array, from: RemoteInfo): void {
    // Nobody can be answered at port 0, and dgram throws on trying.
    if (from.port === 0) {
      this.#responder.counts.dropped++;
      return;
    }
    if (this.#held !== undefined) {
      this.#held.push({ query, from });
      return;
    }
    const length = this.#responder.respond(query, query.length, this.#scratch.bytes, this.#transport);
    if (length <= DROP) return;
    this.#socket.send(this.#scratch.view(length), from.port, from.address);
    if (this.#socket.getSendQueueCount() > 0) this.#scratch = new AnswerBuffer();
  }
}

/** A buffer for one answer, and its views by length: made once each instead of once per packet. */
class AnswerBuffer {
  readonly bytes = Buffer.alloc(UDP_PAYLOAD);
  readonly #views: (Buffer | undefined)[] = Array.from({ length: UDP_PAYLOAD + 1 });

  view(length: number): Buffer {
    return (this.#views[length] ??= this.bytes.subarray(0, length));
  }
}
