import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket as TcpSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { ListenAddress } from '../../src/dns/io/worker-protocol.ts';
import { decode, query, type Answer, type QueryOptions } from './dns-query.ts';

/** A UDP client on a real socket; `answers` holds whatever came back. */
export class UdpClient {
  readonly answers: Buffer[] = [];
  readonly #socket: Socket = createSocket('udp4');
  readonly #to: ListenAddress;

  constructor(to: ListenAddress) {
    this.#to = to;
    this.#socket.on('message', (bytes) => this.answers.push(bytes));
  }

  send(bytes: Uint8Array): void {
    this.#socket.send(bytes, this.#to.port, this.#to.address);
  }

  /** Asks and waits for the answer to just that id; undefined after `timeoutMs`. */
  async ask(name: string, type: string, options: QueryOptions = {}, timeoutMs = 5000): Promise<Answer | undefined> {
    this.send(query(name, type, options));
    for (const until = Date.now() + timeoutMs; Date.now() < until; await delay(2)) {
      const found = this.answers.map(decode).find((answer) => answer.id === (options.id ?? 4711));
      this.answers.length = 0;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  close(): void {
    this.#socket.close();
  }
}

/** A TCP client that keeps every byte it gets. */
export class TcpTestClient {
  readonly socket: TcpSocket;
  received = Buffer.alloc(0);
  closed = false;

  private constructor(socket: TcpSocket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => (this.received = Buffer.concat([this.received, chunk])));
    socket.on('error', () => undefined);
    socket.on('close', () => (this.closed = true));
  }

  static async open(to: ListenAddress, localAddress?: string): Promise<TcpTestClient> {
    const socket = connect({ host: to.address, port: to.port, allowHalfOpen: true, ...(localAddress === undefined ? {} : { localAddress }) });
    const client = new TcpTestClient(socket);
    await once(socket, 'connect');
    return client;
  }

  /** Complete messages received so far. */
  messages(): Answer[] {
    const found: Answer[] = [];
    for (let at = 0; at + 2 <= this.received.length; ) {
      const end = at + 2 + this.received.readUInt16BE(at);
      if (end > this.received.length) break;
      found.push(decode(this.received.subarray(at + 2, end)));
      at = end;
    }
    return found;
  }
}

/** A message with its two length bytes. */
export function framed(bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

/** Waits until `done`, at most `timeoutMs`. @returns whether it came true */
export async function eventually(done: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<boolean> {
  for (const until = Date.now() + timeoutMs; Date.now() < until; await delay(5)) if (await done()) return true;
  return await done();
}
