import http from 'node:http';
import net from 'node:net';
import { once } from 'node:events';

const PATIENCE_MS = 30_000;

export interface Call {
  readonly from: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly protocol: 'http' | 'tcp';
  /** Names the call to the server. */
  readonly id: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a caller sees: `200`, status and reason, `closed` (tcp), or what else went wrong. On a connection of its own. */
export async function callOnce(call: Call): Promise<string> {
  try {
    return call.protocol === 'http' ? await callHttp(call) : await callTcp(call);
  } catch (error) {
    return String(error);
  }
}

function callHttp({ from, host, port, id, headers }: Call): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = http.request(
      { host, port, path: '/', agent: false, timeout: PATIENCE_MS, headers: { 'x-call': id, ...headers }, ...(from === undefined ? {} : { localAddress: from }) },
      (response) => {
        const reason = response.headers['x-onehop-reason'];
        response.resume();
        response.on('end', () => resolve(`${response.statusCode}${typeof reason === 'string' ? ` ${reason}` : ''}`));
        response.on('error', reject);
      },
    );
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', reject);
    asked.end();
  });
}

async function callTcp({ from, host, port, id }: Call): Promise<string> {
  const socket = net.connect({ host, port, ...(from === undefined ? {} : { localAddress: from }) });
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('no answer')));
  socket.on('error', () => {});
  socket.write(`${id}\n`);
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  // A refusal may come as a reset, because the caller spoke first.
  await new Promise((resolve) => socket.once('close', resolve));
  return text === '' ? 'closed' : '200';
}

/** Servers that remember which calls reached them. */
export class Servers {
  readonly reached = new Set<string>();
  readonly #open: (http.Server | net.Server)[] = [];

  async open(httpAddress: string, tcpAddress: string, port = 8080): Promise<void> {
    const web = http.createServer((request, response) => {
      this.reached.add(String(request.headers['x-call']));
      response.end('served');
    });
    const plain = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (data) => {
        this.reached.add(data.toString().trim());
        socket.end('served\n');
      });
    });
    this.#open.push(web, plain);
    await Promise.all([once(web.listen(port, httpAddress), 'listening'), once(plain.listen(port, tcpAddress), 'listening')]);
  }

  close(): void {
    for (const server of this.#open) {
      server.close();
      if (server instanceof http.Server) server.closeAllConnections();
    }
  }
}

/** Runs them all, at most `width` at a time; results in their order. */
export async function runAll<T, R>(items: readonly T[], width: number, run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) {
      const item = items[i];
      if (item !== undefined) results[i] = await run(item);
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return results;
}
