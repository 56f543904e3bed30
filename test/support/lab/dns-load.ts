import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { encode } from 'dns-packet';

/**
 * `dns-load ADDRESS PORT NAME SECONDS RATE`: asks for NAME over UDP, RATE times a second, each query once, from ever new source ports.
 * Prints `{sent, lost, wrong}`: lost had no answer within 2 s, wrong one without an address.
 */
const [address = '', port = '', name = '', seconds = '', rate = ''] = process.argv.slice(2);
const SOCKETS = 32;
const QUERIES_PER_SOCKET = 50;
const WAIT_MS = 2_000;
const TICK_MS = 5;

let sent = 0;
let answered = 0;
let wrong = 0;

/** One source port; closed when every query of it had its time. */
class Asker {
  readonly #socket: Socket = createSocket('udp4');
  #id = 0;

  constructor() {
    this.#socket.on('message', (answer) => {
      answered++;
      const noError = ((answer[3] ?? 15) & 15) === 0;
      if (!noError || answer.readUInt16BE(6) === 0) wrong++;
    });
    // Refused: counts as lost.
    this.#socket.on('error', () => undefined);
  }

  get used(): boolean {
    return this.#id >= QUERIES_PER_SOCKET;
  }

  ask(): void {
    sent++;
    this.#socket.send(encode({ type: 'query', id: ++this.#id, flags: 256, questions: [{ type: 'A', name }] }), Number(port), address);
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
    const at = sent % SOCKETS;
    if (askers[at]?.used === true) askers[at] = new Asker();
    askers[at]?.ask();
  }
  if (elapsed < Number(seconds) * 1000) return;
  clearInterval(timer);
  for (const asker of askers) asker.finish();
}, TICK_MS);
process.on('exit', () => process.stdout.write(JSON.stringify({ sent, lost: sent - answered, wrong })));
