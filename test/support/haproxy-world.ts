import http from 'node:http';
import type { ReloadPace } from '../../src/haproxy/reload-pace.ts';

/** Where the servers of these tests listen: "pods" on loopback. */
export const SERVERS = '127.88.72.100';

export interface Answer {
  readonly status: number;
  readonly reason: string | undefined;
  readonly body: string;
  readonly headers: http.IncomingHttpHeaders;
}

/** Reloads follow each other without a pause. */
export const AT_ONCE: ReloadPace = { gapMs: 0, mostMs: 0 };

/** One request on a connection of its own, from the given pod. */
export function call(from: string, to: string, options: { port?: number; path?: string; method?: string; headers?: http.OutgoingHttpHeaders; body?: string } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: to, port: options.port ?? 8080, localAddress: from, path: options.path ?? '/', method: options.method ?? 'GET', headers: { ...options.headers }, agent: false, timeout: 15_000 },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (body += chunk));
        response.on('error', reject);
        response.on('end', () => {
          const reason = response.headers['x-onehop-reason'];
          resolve({ status: response.statusCode ?? 0, reason: typeof reason === 'string' ? reason : undefined, body, headers: response.headers });
        });
      },
    );
    request.on('error', reject);
    request.on('timeout', () => request.destroy(new Error('timeout')));
    request.end(options.body);
  });
}

/** A server that answers with its name and what it received; paths make it misbehave. */
export async function openServer(name: string, port: number, address = SERVERS): Promise<http.Server> {
  const server = http.createServer((request, response) => {
    if (request.url === '/never') return;
    if (request.url === '/reset') {
      request.socket.destroy();
      return;
    }
    response.statusCode = request.url === '/503' ? 503 : 200;
    response.setHeader('x-onehop-reason', 'forged');
    response.setHeader('x-onehop-other', 'forged');
    response.end(JSON.stringify({ name, headers: request.headers, url: request.url }));
  });
  await new Promise<void>((resolve) => server.listen(port, address, () => resolve()));
  return server;
}

export const closeServer = (server: http.Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

export const nameOf = (answer: Answer): string => (JSON.parse(answer.body) as { name: string }).name;
