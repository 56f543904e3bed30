import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Caller, CallerTable, Endpoint, Route, RouteTable, Version } from '../../src/model/route-table.ts';

/** Builders of tables and real servers and callers for the embedded proxy's tests. Servers: 127.88.73.x; VIPs: 127.73.x.x. */
export const POD_A = '127.88.73.101';
export const POD_B = '127.88.73.102';
export const TRUSTED = '127.88.73.103';
export const STRANGER = '127.88.73.150';

export const caller = (address: string, namespace: string, trusted = false): Caller => ({ address, namespace, pod: `pod-${namespace}`, serviceAccount: 'default', services: [], trusted });
export const CALLERS: CallerTable = {
  pods: [caller(POD_A, 'a'), caller(POD_B, 'b'), caller(TRUSTED, 'ops', true)],
  unknownPrefixes: ['127.88.0.0/16'],
  hostPrefixes: ['127.73.0.0/16', '127.0.0.0/8'],
  trusted: [],
};

export const endpoint = (address: string, port: number, tier: Endpoint['tier'] = 'node'): Endpoint => ({ address, port, tier, state: 'ready' });
export const version = (name: string, active: readonly Endpoint[], more: Partial<Version> = {}): Version => ({ name, serverProtocol: 'h1', endpoints: active, active, backup: [], algorithm: 'LeastConn', ...more });

/** A route of namespace `b` that forwards to its only version unless `more` says otherwise. */
export const route = (name: string, vip: string, versions: readonly Version[], more: Partial<Route> = {}): Route => ({
  namespace: 'b',
  name,
  vip,
  listen: 8080,
  protocol: 'http',
  invalid: false,
  rule: { type: '' },
  choice: { kind: 'fixed', version: 0 },
  versions,
  access: { namespace: 'b', defaultAllow: true, exceptions: [], accounts: [], hasEntries: false },
  locality: 'PreferLocal',
  timeout: { connectMs: 250, requestMs: 5_000 },
  retries: { attempts: 3, on: ['connect-failure', 'empty-response', 'response-timeout'], nonIdempotent: false },
  problems: [],
  ...more,
});

export const table = (routes: readonly Route[], callers = CALLERS): RouteTable => ({ node: 'n1', routes, callers, tokenCodes: [], problems: [] });

export interface Running {
  readonly at: Endpoint;
  readonly close: () => Promise<void>;
}

/** Starts an HTTP/1.1 server; port 0 takes a free one. */
export async function startHttp(handler: http.RequestListener, host = '127.88.73.1', port = 0): Promise<Running & { readonly server: http.Server }> {
  const server = http.createServer(handler);
  server.listen(port, host);
  await once(server, 'listening');
  return {
    server,
    at: endpoint(host, (server.address() as AddressInfo).port),
    close: async () => {
      server.closeAllConnections();
      server.close();
      if (server.listening) await once(server, 'close');
    },
  };
}

/** Starts a clear-text HTTP/2 server. */
export async function startHttp2(onStream: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void, host = '127.88.73.1'): Promise<Running> {
  const server = http2.createServer();
  const sessions = new Set<http2.Http2Session>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    onStream(stream, headers);
  });
  server.listen(0, host);
  await once(server, 'listening');
  return {
    at: endpoint(host, (server.address() as AddressInfo).port),
    close: async () => {
      for (const session of sessions) session.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Starts a TCP server. */
export async function startTcp(onConnection: (socket: net.Socket) => void, host = '127.88.73.1'): Promise<Running> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  });
  server.listen(0, host);
  await once(server, 'listening');
  return {
    at: endpoint(host, (server.address() as AddressInfo).port),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** An endpoint where nothing listens: a refused connect. */
export async function deadEndpoint(host = '127.88.73.1', tier: Endpoint['tier'] = 'node'): Promise<Endpoint> {
  const server = net.createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return endpoint(host, port, tier);
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  readonly body: string;
  readonly reason: string | undefined;
}

/** One HTTP/1.1 call from `from` (default: a pod of namespace b). Rejects when the answer is cut. */
export async function call(vip: string, options: http.RequestOptions & { readonly from?: string; readonly body?: string | Buffer } = {}): Promise<Answer> {
  const { from = POD_B, body, ...rest } = options;
  const request = http.request({ host: vip, port: 8080, path: '/', localAddress: from, agent: false, ...rest });
  request.end(body);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const reason = response.headers['x-onehop-reason'];
  return { status: response.statusCode ?? 0, headers: response.headers, trailers: response.trailers, body: Buffer.concat(chunks).toString(), reason: typeof reason === 'string' ? reason : undefined };
}
