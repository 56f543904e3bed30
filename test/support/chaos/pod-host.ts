import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type Server as TcpServer, type Socket } from 'node:net';
import { WebSocketServer } from 'ws';

/**
 * A machine with pods: `{ do: 'open', id, address, label }`, `{ do: 'close', id, address, how }` come from the parent and are answered with
 * `{ id }`. Each pod answers HTTP and WebSocket on port 8080, and lines over TCP on port 8081, with its label: who it is. It is the first
 * word of every answer, and the second is what was asked for, so that an answer proves who gave it and to whom.
 */
interface Order {
  readonly id: number;
  readonly do: 'open' | 'close';
  readonly address: string;
  readonly label?: string;
  /** `soft`: as a program ends that was asked to. `reset`: every connection is cut. */
  readonly how?: 'soft' | 'reset';
}

interface Pod {
  readonly http: Server;
  readonly tcp: TcpServer;
  readonly sockets: Set<Socket>;
}

const pods = new Map<string, Pod>();
const SHUTDOWN_MS = 30_000;
const FILLER = `\n${'x'.repeat(16 * 1024)}`;

function answer(label: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://pod');
  const text = `${label} ${url.pathname}`;
  const parts = Number(url.searchParams.get('parts') ?? 0);
  const slowMs = Number(url.searchParams.get('slow') ?? 0);
  request.resume();
  request.on('end', () => {
    if (parts > 0) return void sendParts(text, parts, response);
    // Head and body leave in one piece: an answer is whole or did not begin.
    setTimeout(() => response.end(text), slowMs);
  });
}

/** An answer that takes its time. */
async function sendParts(text: string, parts: number, response: ServerResponse): Promise<void> {
  response.setHeader('content-length', text.length + parts * FILLER.length);
  response.write(text);
  for (let i = 0; i < parts; i++) {
    await new Promise((done) => setTimeout(done, 40));
    response.write(FILLER);
  }
  response.end();
}

async function open(address: string, label: string): Promise<void> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
  };
  const http = createServer((request, response) => answer(label, request, response)).on('connection', keep);
  // The race of a server that ends idle connections is a server's own.
  http.keepAliveTimeout = 600_000;
  http.requestTimeout = 0;
  const echo = new WebSocketServer({ server: http });
  echo.on('connection', (socket) => {
    socket.on('message', (data: Buffer) => socket.send(`${label} ${data.toString()}`));
    socket.on('error', () => socket.terminate());
  });
  const tcp = createTcpServer((socket) => {
    let rest = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) socket.write(`${label} ${line}\n`);
    });
  }).on('connection', keep);
  await Promise.all([
    new Promise<void>((done, fail) => http.on('error', fail).listen(8080, address, 1024, done)),
    new Promise<void>((done, fail) => tcp.on('error', fail).listen(8081, address, 1024, done)),
  ]);
  pods.set(address, { http, tcp, sockets });
}

async function close(address: string, how: 'soft' | 'reset'): Promise<void> {
  const pod = pods.get(address);
  if (pod === undefined) return;
  pods.delete(address);
  const ended = Promise.all([pod.http, pod.tcp].map((server) => new Promise((done) => server.close(done))));
  if (how === 'reset') for (const socket of pod.sockets) socket.resetAndDestroy();
  // What runs may end; connections that wait for more are closed.
  const idle = setInterval(() => pod.http.closeIdleConnections(), 50);
  pod.http.closeIdleConnections();
  await Promise.race([ended, new Promise((done) => setTimeout(done, SHUTDOWN_MS))]);
  clearInterval(idle);
  for (const socket of pod.sockets) socket.destroy();
}

process.on('message', (order: Order) => {
  const done = order.do === 'open' ? open(order.address, order.label ?? '') : close(order.address, order.how ?? 'soft');
  done.then(
    () => process.send?.({ id: order.id }),
    (error: unknown) => process.send?.({ id: order.id, error: String(error) }),
  );
});
process.on('disconnect', () => process.exit());
