import type { Socket } from 'node:net';
import { mayTransfer, type DnsAccess } from '../access.ts';
import { readQuestionName } from '../question-name.ts';
import type { NameTable } from '../name-table.ts';
import { DROP, MAX_QUERY_BYTES, TRANSFER, type Responder } from '../responder.ts';
import { refuseTransfer, transferZone } from '../transfer-zone.ts';
import { HEADER_BYTES, RCODE, UDP_PAYLOAD } from '../wire.ts';

/** Messages handled in one turn of the event loop, so that one client's pipeline does not hold up the others. */
const MESSAGES_PER_TURN = 32;
/** Unsent answers above which nothing more is read from the client. */
const MAX_UNSENT_BYTES = 128 * 1024;

export interface TcpClientParts {
  readonly table: NameTable;
  readonly responder: Responder;
  readonly access: DnsAccess;
  readonly trusted: boolean;
  /** Called after each complete message. */
  readonly onProgress: (client: TcpClient) => void;
}

/**
 * One TCP connection: messages framed by two length bytes (RFC 1035 section 4.2.2), answered in order (RFC 7766).
 *
 * Invariants: reading is paused while answers wait for the client or for the next turn, so that neither `#unread` nor the
 * socket's queue grows beyond one read; a message above {@link MAX_QUERY_BYTES} is refused from its header alone.
 */
export class TcpClient {
  readonly socket: Socket;
  /** When the oldest byte of an incomplete message came (ms); undefined while none is pending. */
  partialSinceMs: number | undefined;
  /** When the last complete message came, or the connection began (ms). */
  activeAtMs: number;
  readonly #parts: TcpClientParts;
  readonly #out = Buffer.alloc(UDP_PAYLOAD);
  #unread: Buffer = Buffer.alloc(0);
  #transfer: Generator<Uint8Array, boolean> | undefined;
  /** The client has said all it will say, or we listen no more: close once everything is answered. */
  #finishing = false;
  /** Nothing has come yet. */
  #fresh = true;

  constructor(socket: Socket, parts: TcpClientParts) {
    this.socket = socket;
    this.#parts = parts;
    this.activeAtMs = Date.now();
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#fresh = false;
      this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
      this.#pump();
    });
    socket.on('drain', () => this.#pump());
    socket.on('end', () => this.finish());
    // A reset ends this client only; 'close' follows.
    socket.on('error', () => undefined);
  }

  /** We listen no more: one that has just connected still gets its first answer, for its query is on the way. */
  leave(): void {
    if (this.#fresh) this.#finishing = true;
    else this.finish();
  }

  /** Answers what has come completely, then closes. */
  finish(): void {
    this.#finishing = true;
    this.#pump();
  }

  #pump(): void {
    const { socket } = this;
    if (socket.destroyed || socket.writableEnded) return;
    let left = MESSAGES_PER_TURN;
    socket.cork();
    while (left > 0 && socket.writableLength < MAX_UNSENT_BYTES && this.#step()) left--;
    socket.uncork();
    if (socket.destroyed || socket.writableEnded) return;
    if (socket.writableLength >= MAX_UNSENT_BYTES) {
      socket.pause();
      return;
    }
    if (left === 0) {
      socket.pause();
      setImmediate(() => this.#pump());
      return;
    }
    this.partialSinceMs = this.#unread.length === 0 ? undefined : (this.partialSinceMs ?? Date.now());
    if (this.#finishing) socket.end();
    else socket.resume();
  }

  /** Handles one message, or sends one of a transfer. False: nothing complete is there. */
  #step(): boolean {
    if (this.#transfer !== undefined) return this.#continueTransfer(this.#transfer);
    if (this.#unread.length < 2) return false;
    const size = this.#unread.readUInt16BE(0);
    const needed = size > MAX_QUERY_BYTES ? HEADER_BYTES : size;
    if (this.#unread.length < 2 + needed) return false;
    const query = this.#unread.subarray(2, 2 + needed);
    this.#unread = this.#unread.subarray(2 + needed);
    this.partialSinceMs = undefined;
    this.#parts.onProgress(this);
    this.#answer(query, size);
    return !this.socket.destroyed && !this.socket.writableEnded;
  }

  #answer(query: Buffer, size: number): void {
    const length = this.#parts.responder.respond(query, size, this.#out, { tcp: true, trusted: this.#parts.trusted });
    if (length === TRANSFER) this.#startTransfer(query);
    else if (length === DROP) this.socket.destroy();
    else this.#send(this.#out.subarray(0, length));
    // What follows an oversized header is not a message.
    if (size > MAX_QUERY_BYTES) this.socket.destroySoon();
  }

  #startTransfer(query: Buffer): void {
    const { table, access, responder } = this.#parts;
    const { name, end } = readQuestionName(query);
    const apex = table.get(name);
    const allowed = mayTransfer(access, this.socket.remoteAddress ?? '', this.socket.localAddress ?? '');
    const rcode = !allowed ? RCODE.REFUSED : apex?.records.SOA === undefined ? RCODE.NOTAUTH : RCODE.NOERROR;
    responder.counts.byRcode[rcode] = (responder.counts.byRcode[rcode] ?? 0) + 1;
    if (rcode !== RCODE.NOERROR || apex === undefined) this.#send(refuseTransfer(query, end + 4, rcode));
    else this.#transfer = transferZone(table, apex, query, end + 4);
  }

  #continueTransfer(transfer: Generator<Uint8Array, boolean>): boolean {
    const { done, value } = transfer.next();
    this.#parts.onProgress(this);
    if (done !== true) {
      this.#send(value);
      return true;
    }
    this.#transfer = undefined;
    if (!value) this.socket.destroy();
    return value;
  }

  #send(message: Uint8Array): void {
    const frame = Buffer.allocUnsafe(2 + message.length);
    frame.writeUInt16BE(message.length, 0);
    frame.set(message, 2);
    this.socket.write(frame);
  }
}
