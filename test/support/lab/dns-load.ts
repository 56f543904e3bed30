import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { connect } from 'node:net';
import { encode, streamEncode } from 'dns-packet';
import type { Packet } from 'dns-packet';

/**
 * `dns-load udp|tcp ADDRESS PORT NAME SECONDS RATE`: asks for NAME, RATE times a second, over UDP each query once, from ever new source ports,
 * over TCP on a connection each, and on another one when that was closed before the answer (RFC 7766 section 6.2.4), as resolvers do. Prints
 * `{sent, lost, wrong, again}`: lost had no answer within 6 s, wrong one without an address; asked again are those over TCP.
 */
const [transport = '', address = '', port = '', name = '', seconds = '', rate = ''] = process.argv.slice(2);
const SOCKETS = 32;
const QUERIES_PER_SOCKET = 50;
/** Longer than a resolver waits: on a starved machine an answer may be late, which is not lost. */
const WAIT_MS = 6_000;
const TICK_MS = 5;

let sent = 0;
let answered = 0;
let wrong = 0;
let again = 0;

const query = (id: number): Packet => ({ type: 'query', id, flags: 256, questions: [{ type: 'A', name }] });

function count(answer: Buffer): void {
  answered++;
  const noError = ((answer[3] ?? 15) & 15) === 0;
  if (!noError || answer.readUInt16BE(6) === 0) wrong++;
}

function askOverTcp(isSecond = false): void {
  const socket = connect(Number(port), address, () => socket.write(streamEncode(query(1))));
  let isOver = false;
  socket.setTimeout(WAIT_MS, () => {
    isOver = true;
    socket.destroy();
  });
  socket.on('error', () => undefined);
  socket.once('data', (answer: Buffer) => {
    isOver = true;
    count(answer.subarray(2));
    socket.end();
  });
  socket.once('close', () => {
    if (isOver || isSecond) return;
    again++;
    askOverTcp(true);
  });
}

/** One source port; closed when every query of it had its time. */
class Asker {
  readonly #socket: Socket = createSocket('udp4');
  #id = 0;

  constructor() {
    this.#socket.on('message', count);
    // Refused: counts as lost.
    this.#socket.on('error', () => undefined);
  }

  get used(): boolean {
    return this.#id >= QUERIES_PER_SOCKET;
  }

  ask(): void {
    sent++;
    this.#socket.send(encode(query(++this.#id)), Number(port), address);
    if (this.used) setTimeout(() => this.#socket.close(), WAIT_MS);
  }

  finish(): void {
    if (!this.used) setTimeout(() => this.#socket.close(), WAIT_MS);
  }
}

const askers = Array.from({ length: SOCKETS }, () => new Asker());
const begin = performance.now();
const timer = setInterval(() => {
  const elapsed = Math.min(performance.now() - begin, Number(seconds) * 1000);
  while (sent < (elapsed * Number(rate)) / 1000) {
    if (transport === 'tcp') {
      sent++;
      askOverTcp();
      continue;
    }
    const at = sent % SOCKETS;
    if (askers[at]?.used === true) askers[at] = new Asker();
    askers[at]?.ask();
  }
  if (elapsed < Number(seconds) * 1000) return;
  clearInterval(timer);
  for (const asker of askers) asker.finish();
}, TICK_MS);
process.on('exit', () => process.stdout.write(JSON.stringify({ sent, lost: sent - answered, wrong, again })));
