import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { WebSocketServer } from 'ws';
import type { ScenePod } from './expand-world.ts';

/** What every server answers: who it is and what it received. */
export interface Answered {
  readonly pod: string;
  readonly port: number;
  readonly method: string;
  readonly path: string;
  /** Lines as received, name and value. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  readonly from: string;
}

/** The servers of a scene's pods. A pod that is asked for again keeps its server. */
export class SceneServers {
  readonly #open = new Map<string, () => void>();
  readonly #reached = new Map<string, number>();

  /** Opens what is not open yet. */
  async open(pods: Iterable<ScenePod>): Promise<void> {
    const wanted = [...pods].flatMap((pod) => pod.ports.map((port) => ({ pod, port })));
    await Promise.all(wanted.map(({ pod, port }) => this.#openOne(pod, port)));
  }

  /** Ends the servers of a pod, connections included: further connects are refused. */
  stop(podKey: string): void {
    for (const [key, end] of this.#open) {
      if (!key.startsWith(`${podKey} `)) continue;
      end();
      this.#open.set(key, () => {});
    }
  }

  /** Requests (tcp: connections) that reached a pod since it was opened. */
  reached(podKey: string): number {
    return this.#reached.get(podKey) ?? 0;
  }

  close(): void {
    for (const end of this.#open.values()) end();
    this.#open.clear();
  }

  async #openOne(pod: ScenePod, port: number): Promise<void> {
    const podKey = `${pod.namespace}/${pod.name}`;
    const key = `${podKey} ${pod.address}:${port}`;
    if (this.#open.has(key) || pod.serve === 'refused') return;
    const count = (): void => void this.#reached.set(podKey, this.reached(podKey) + 1);
    const server = createPodServer(pod, port, count);
    const sockets = new Set<net.Socket>();
    server.on('connection', (socket: net.Socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    });
    this.#open.set(key, () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    server.listen(port, pod.address);
    await once(server, 'listening');
  }
}

function createPodServer(pod: ScenePod, port: number, count: () => void): net.Server {
  const podKey = `${pod.namespace}/${pod.name}`;
  const answer = (from: string | undefined, rest: Partial<Answered>): string =>
    JSON.stringify({ pod: podKey, port, method: '', path: '', headers: [], body: '', from: from ?? '', ...rest } satisfies Answered);
  switch (pod.serve) {
    case 'http':
      return createHttpServer(count, answer);
    case 'h2c':
      return createHttp2Server(count, answer);
    case 'tcp':
      return net.createServer((socket) => {
        count();
        socket.once('data', (data) => socket.end(`${answer(socket.remoteAddress, { body: data.toString().trim() })}\n`));
      });
    case 'silent':
      return net.createServer((socket) => {
        count();
        socket.resume();
      });
    case 'reset':
      return net.createServer((socket) => {
        socket.once('data', () => {
          count();
          socket.resetAndDestroy();
        });
      });
    case 'refused':
      throw new Error('nothing listens there');
  }
}

type Answer = (from: string | undefined, rest: Partial<Answered>) => string;

/** The server's own headers: one that a server may set, and one that must never pass. */
const OWN_HEADERS = { 'content-type': 'application/json', 'x-server': 'kept', 'x-onehop-reason': 'forged', 'x-onehop-other': 'forged' };

const pairs = (raw: readonly string[]): [string, string][] =>
  Array.from({ length: Math.floor(raw.length / 2) }, (_, i) => [raw[i * 2] ?? '', raw[i * 2 + 1] ?? '']);

async function readText(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const LATE_MS = 500;

/** Callers choose the answer: `X-Answer` is a status, `cut` for one that is broken off in its body, or `late` for one that takes half a second. */
function createHttpServer(count: () => void, answer: Answer): net.Server {
  const describe = (request: http.IncomingMessage, body: string): string =>
    answer(request.socket.remoteAddress, { method: request.method ?? '', path: request.url ?? '', headers: pairs(request.rawHeaders), body });
  const server = http.createServer({ maxHeaderSize: 64 * 1024 }, (request, response) => {
    count();
    const wanted = String(request.headers['x-answer'] ?? '200');
    readText(request).then(
      (body) => {
        if (wanted === 'cut') response.writeHead(200, { ...OWN_HEADERS, 'content-length': 1_000 }).write('half', () => response.destroy());
        else if (wanted === 'late') setTimeout(() => response.writeHead(200, OWN_HEADERS).end(describe(request, body)), LATE_MS);
        else response.writeHead(Number(wanted), OWN_HEADERS).end(describe(request, body));
      },
      () => response.destroy(),
    );
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket, request) => {
    count();
    socket.on('error', () => {});
    socket.on('message', (data: Buffer) => socket.send(describe(request, data.toString())));
  });
  return server;
}

/** Clear-text HTTP/2, with trailers as gRPC servers send them. */
function createHttp2Server(count: () => void, answer: Answer): net.Server {
  const server = http2.createServer();
  server.on('sessionError', () => {});
  server.on('stream', (stream, headers, _flags, rawHeaders) => {
    count();
    stream.on('error', () => {});
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    const from = stream.session?.socket.remoteAddress;
    readText(stream).then(
      (body) => {
        stream.respond({ ':status': 200, ...OWN_HEADERS }, { waitForTrailers: true });
        stream.end(answer(from, { method: String(headers[':method']), path: String(headers[':path']), headers: pairs(rawHeaders), body }));
      },
      () => stream.destroy(),
    );
  });
  return server;
}
