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

/** Waits until `done`, at most 20 s. */
export async function until(done: () => boolean | Promise<boolean>, what: () => string = () => 'nothing came'): Promise<void> {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(20)) if (await done()) return;
  throw new Error(`not within 20 s: ${what()}`);
}
