import { connect, type Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { EventLog } from './event-log.ts';
import { HTTP_PORT, TCP_PORT } from './node-under-test.ts';

const TICK_MS = 500;
/** On a machine with many others. */
const SILENCE_MS = 20_000;

export interface LongState {
  readonly opened: number;
  readonly living: number;
  readonly echoes: number;
  readonly faults: readonly string[];
}

interface Line {
  readonly name: string;
  readonly send: (text: string) => void;
  readonly close: () => void;
}

/** TCP connections and WebSockets that stay, each with a message that must come back, all the time. */
export class LongConnections {
  readonly #events: EventLog;
  readonly #faults: string[] = [];
  readonly #living = new Map<Line, { sent: number; heard: number; sinceMs: number; pod: string | undefined }>();
  #opened = 0;
  #echoes = 0;
  #closing = false;
  readonly #timer: NodeJS.Timeout;

  constructor(events: EventLog) {
    this.#events = events;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  async open(count: number, tcp: { readonly address: string; readonly from: string }, web: { readonly address: string; readonly from: string }): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, i) => Promise.all([this.#openTcp(`tcp ${i}`, tcp), this.#openWeb(`websocket ${i}`, web)])));
  }

  get state(): LongState {
    return { opened: this.#opened, living: this.#living.size, echoes: this.#echoes, faults: this.#faults };
  }

  close(): void {
    this.#closing = true;
    clearInterval(this.#timer);
    for (const line of this.#living.keys()) line.close();
    this.#living.clear();
  }

  #openTcp(name: string, { address, from }: { readonly address: string; readonly from: string }): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket: Socket = connect({ host: address, port: TCP_PORT, localAddress: from });
      const line: Line = { name, send: (text) => socket.write(`${text}\n`), close: () => socket.destroy() };
      let rest = '';
      socket.setEncoding('utf8').on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const text of lines) this.#heard(line, text);
      });
      socket.once('connect', () => {
        this.#add(line);
        resolve();
      });
      socket.on('error', (error) => {
        this.#ended(line, String(error));
        reject(error);
      });
      socket.on('close', () => this.#ended(line, 'closed'));
    });
  }

  #openWeb(name: string, { address, from }: { readonly address: string; readonly from: string }): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://${address}:${HTTP_PORT}/echo`, { localAddress: from });
      const line: Line = { name, send: (text) => socket.send(text), close: () => socket.terminate() };
      socket.on('message', (data: Buffer) => this.#heard(line, data.toString()));
      socket.once('open', () => {
        this.#add(line);
        resolve();
      });
      socket.on('error', (error) => {
        this.#ended(line, String(error));
        reject(error);
      });
      socket.on('close', (code) => this.#ended(line, `closed ${code}`));
    });
  }

  #add(line: Line): void {
    this.#opened++;
    this.#living.set(line, { sent: 0, heard: 0, sinceMs: Date.now(), pod: undefined });
  }

  #ended(line: Line, why: string): void {
    if (!this.#closing && this.#living.delete(line)) this.#fault(`${line.name} ended: ${why}`);
  }

  /** `LABEL NUMBER`: each number once, in order, always of the same pod. */
  #heard(line: Line, text: string): void {
    const state = this.#living.get(line);
    if (state === undefined) return;
    const [pod, number] = text.split(' ');
    state.pod ??= pod;
    if (pod !== state.pod || Number(number) !== state.heard + 1) this.#fault(`${line.name} heard ${text} after ${state.pod ?? ''} ${state.heard}`);
    state.heard = Number(number);
    state.sinceMs = Date.now();
    this.#echoes++;
  }

  #tick(): void {
    for (const [line, state] of this.#living) {
      if (state.sent === state.heard) {
        line.send(String(++state.sent));
        state.sinceMs = Date.now();
      } else if (Date.now() - state.sinceMs > SILENCE_MS) {
        this.#fault(`${line.name}: message ${state.sent} did not come back within ${SILENCE_MS / 1000} s`);
        this.#living.delete(line);
        line.close();
      }
    }
  }

  #fault(what: string): void {
    this.#faults.push(what);
    this.#events.note(`LONG CONNECTION ${what}`);
  }
}
