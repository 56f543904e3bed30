import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Sends these bytes on a connection from `from` and gives all that comes back until it closes, however it closes. */
export function speak(host: string, port: number, bytes: string | Buffer, from: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, localAddress: from });
    let answer = '';
    socket.setEncoding('latin1');
    socket.setTimeout(15_000, () => socket.destroy());
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk: string) => (answer += chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
  });
}

/**
 * As {@link speak}, but in pieces that wait for an answer, and no further than to the answer: one that closes with much of it unread resets the
 * connection, and whoever is still writing then does not get to read what was said before.
 */
export function speakUntilAnswered(host: string, port: number, bytes: string | Buffer, from: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, localAddress: from });
    let answer = '';
    let timer: NodeJS.Timeout | undefined;
    socket.setEncoding('latin1');
    socket.setTimeout(15_000, () => socket.destroy());
    const sendFrom = (begin: number): void => {
      if (begin >= bytes.length) return;
      socket.write(bytes.slice(begin, begin + PIECE));
      timer = setTimeout(sendFrom, PATIENCE_MS, begin + PIECE);
    };
    socket.on('connect', () => sendFrom(0));
    socket.on('data', (chunk: string) => {
      clearTimeout(timer);
      answer += chunk;
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

/** More than a proxy's buffer of 16 kB. */
const PIECE = 20_000;
const PATIENCE_MS = 500;

/** Waits until `done`, at most 20 s. */
export async function until(done: () => boolean | Promise<boolean>, what: () => string = () => 'nothing came'): Promise<void> {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(20)) if (await done()) return;
  throw new Error(`not within 20 s: ${what()}`);
}
