import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../../../src/model/coded-error.ts';

const PORT = 19_999;
const PATIENCE_MS = 600_000;

/**
 * Two runs of one suite on one machine would share its addresses, and SO_REUSEPORT would mix their calls: so they take turns.
 * The address is the turn: whoever listens on it has it, until its process ends.
 * @returns gives the turn back
 */
export async function takeTurn(address: string): Promise<() => Promise<void>> {
  for (const end = Date.now() + PATIENCE_MS; ; await delay(200)) {
    const server = createServer((socket) => socket.destroy());
    server.listen({ host: address, port: PORT, exclusive: true });
    try {
      await once(server, 'listening');
      server.unref();
      return async () => {
        server.close();
        await once(server, 'close');
      };
    } catch (error) {
      if (systemCode(error) !== 'EADDRINUSE' || Date.now() > end) throw error;
    }
  }
}
