import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { chmod, rm } from 'node:fs/promises';
import { CodedError, messageOf, systemCode } from '../../model/coded-error.ts';
import { listenerKey } from '../../model/proxy.ts';
import type { VipPool } from '../../model/vip-pool.ts';
import { isHostCaller } from '../admin-access.ts';
import type { Metrics } from '../metrics.ts';
import type { Readiness } from '../readiness.ts';
import { isListenedOn } from './is-listened-on.ts';

export interface AdminRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly query: URLSearchParams;
  /** The body of a POST, at most 64 KiB; else empty. */
  readonly body: string;
}

export interface AdminResponse {
  readonly status?: number;
  readonly contentType?: string;
  readonly body: string;
}

type Access = 'anyone' | 'host' | 'socket';
/** Each may what those before it may. */
const ACCESS_ORDER: readonly Access[] = ['anyone', 'host', 'socket'];

/**
 * `host`: only callers on this node outside any pod, and over the Unix socket. `socket`: over the Unix socket alone, which its owner and
 * root may open. `method` is GET (and HEAD) unless given.
 */
export interface AdminRoute {
  readonly access: Access;
  readonly method?: 'GET' | 'POST';
  readonly handler: (request: AdminRequest) => AdminResponse | Promise<AdminResponse>;
}

/** Path -> route. */
export type AdminRoutes = Readonly<Record<string, AdminRoute>>;

export interface AdminServerOptions {
  readonly listen: { readonly address: string; readonly port: number };
  readonly pool: VipPool;
  /** The Unix socket; its folder must exist. Absent: none, for processes that no CLI talks to. */
  readonly socketPath?: string;
  /** Read at each request. */
  readonly ownAddresses: () => readonly string[];
  readonly readiness: Readiness;
  readonly metrics: Metrics;
  readonly routes: AdminRoutes;
  /** A handler threw. */
  readonly onError: (path: string, error: unknown) => void;
}

export interface AdminServer {
  /** `address:port` of the open TCP listeners. */
  readonly listeners: readonly string[];
  /** One line each about a listener that could not be opened and is not needed. */
  readonly warnings: readonly string[];
  /** No new connections; those in flight get `drainMs`. */
  close(drainMs?: number): Promise<void>;
}

const MAX_BODY_BYTES = 64 * 1024;
/** Scrapes by others than host callers are answered from a copy of at most this age: anyone on the network may ask. */
const METRICS_COPY_MS = 1_000;
const LIMITS = { maxHeaderSize: 8_192, headersTimeout: 5_000, requestTimeout: 15_000, keepAliveTimeout: 5_000, connectionsCheckingInterval: 1_000 };
const MAX_CONNECTIONS = 200;
const LAST_ACCEPTS = 10;

/**
 * Opens the admin server: on the node address, on the pool's `.11` with the same port (needed only where the first is not a
 * wildcard; its failure is a warning, the pool may not be local yet), and on a Unix socket of mode 0600. Each has its own
 * cap of connections, so a flood on the network does not keep the CLI out.
 * @throws CodedError `admin-port-taken`, `admin-port-denied`, `admin-address` or `run-dir-in-use`
 */
export async function openAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const answer = createAnswer(options);
  const { listen, pool, socketPath } = options;
  const servers: Server[] = [];
  const warnings: string[] = [];
  const listeners: string[] = [];
  const openTcp = async (address: string): Promise<void> => {
    const server = createHttpServer((request, response) => {
      void answer(request, response, isHostCaller(request.socket.remoteAddress ?? '', pool, options.ownAddresses()) ? 'host' : 'anyone');
    });
    // Two generations of the agent share the port while one takes over from the other.
    await listening(server, { host: address, port: listen.port, reusePort: true });
    servers.push(server);
    listeners.push(listenerKey(address, listen.port));
  };

  try {
    if (socketPath !== undefined) {
      const unix = createHttpServer((request, response) => void answer(request, response, 'socket'));
      await openUnixSocket(unix, socketPath);
      servers.push(unix);
    }
    await openTcp(listen.address).catch((error: unknown) => {
      throw asListenError(error, listenerKey(listen.address, listen.port));
    });
    if (!isWildcard(listen.address) && listen.address !== pool.adminAddress) {
      await openTcp(pool.adminAddress).catch((error: unknown) => {
        warnings.push(`admin server not on ${listenerKey(pool.adminAddress, listen.port)}: ${messageOf(error)}`);
      });
    }
  } catch (error) {
    await Promise.all(servers.map((server) => closeServer(server, 0)));
    throw error;
  }
  return {
    listeners,
    warnings,
    close: async (drainMs = 0) => {
      await Promise.all(servers.map((server) => closeServer(server, drainMs)));
    },
  };
}

const isWildcard = (address: string): boolean => address === '0.0.0.0' || address === '::';

function createHttpServer(handler: (request: IncomingMessage, response: ServerResponse) => void): Server {
  const server = createServer(LIMITS, handler);
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(LIMITS.requestTimeout);
  return server;
}

function createAnswer(options: AdminServerOptions) {
  const { readiness, metrics } = options;
  let copy: { readonly text: Promise<string>; readonly takenMs: number } | undefined;
  const renderMetrics = (fresh: boolean): Promise<string> => {
    const now = performance.now();
    if (fresh || copy === undefined || now - copy.takenMs > METRICS_COPY_MS) copy = { text: metrics.render(), takenMs: now };
    return copy.text;
  };

  return async (request: IncomingMessage, response: ServerResponse, caller: Access): Promise<void> => {
    const url = URL.parse(request.url ?? '', 'http://admin');
    const path = url?.pathname ?? '';
    try {
      send(response, await respond(request, path, url?.searchParams ?? new URLSearchParams(), caller));
    } catch (error) {
      options.onError(path, error);
      const body = error instanceof CodedError ? error.line : 'internal error; see the log of the agent';
      send(response, { status: 500, body: `${body}\n` });
    }
  };

  async function respond(request: IncomingMessage, path: string, query: URLSearchParams, caller: Access): Promise<AdminResponse> {
    const route = routeFor(path, caller !== 'anyone');
    if (route === undefined) return { status: 404, body: 'no such page\n' };
    if (ACCESS_ORDER.indexOf(caller) < ACCESS_ORDER.indexOf(route.access)) {
      // To others nothing tells one page from another.
      const where = caller === 'anyone' ? 'callers on this node outside any pod' : 'over admin.sock in the run folder of the agent';
      return { status: 403, body: `${path.slice(0, 100)} answers only ${where}\n` };
    }
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    if (method !== (route.method ?? 'GET')) return { status: 405, body: `use ${route.method ?? 'GET'}\n` };
    if (method === 'GET') return route.handler({ method, path, query, body: '' });
    const body = await readBody(request);
    return body === undefined ? { status: 413, body: `a body may have ${MAX_BODY_BYTES} bytes\n` } : route.handler({ method: 'POST', path, query, body });
  }

  function routeFor(path: string, host: boolean): AdminRoute | undefined {
    if (path === '/healthz') return { access: 'anyone', handler: () => ({ body: 'ok\n' }) }; // that it answers is what is asked
    if (path === '/readyz') return { access: 'anyone', handler: () => ({ status: readiness.ready ? 200 : 503, body: readiness.describe() }) };
    if (path === '/metrics') return { access: 'anyone', handler: async () => ({ contentType: metrics.contentType, body: await renderMetrics(host) }) };
    if (Object.hasOwn(options.routes, path)) return options.routes[path];
    // To others every further path is forbidden alike: they need not learn which exist.
    return host ? undefined : { access: 'host', handler: () => ({ status: 404, body: '' }) };
  }
}

/** The body as text, or undefined when it is too long. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function send(response: ServerResponse, { status = 200, contentType = 'text/plain; charset=utf-8', body }: AdminResponse): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(status === 413 ? { connection: 'close' } : {}),
  });
  response.end(body);
}

function listening(server: Server, where: { path: string } | { host: string; port: number; reusePort: true }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Binds the Unix socket in place of a dead process's; a living one's is left alone. */
async function openUnixSocket(server: Server, path: string): Promise<void> {
  if (await isListenedOn(path)) {
    throw new CodedError({
      code: 'run-dir-in-use',
      message: `another agent answers on ${path}`,
      remedy: 'stop it, or give this one its own --run-dir',
    });
  }
  await rm(path, { force: true });
  // Set around the bind, which is synchronous within listen(): the socket is never open to others, not even for a moment.
  const umask = process.umask(0o177);
  try {
    const opened = listening(server, { path });
    process.umask(umask);
    await opened;
    await chmod(path, 0o600);
  } catch (error) {
    process.umask(umask);
    throw new CodedError(
      { code: 'admin-socket', message: `cannot open ${path}: ${messageOf(error)}`, remedy: 'check that --run-dir exists and is writable' },
      error,
    );
  }
}

function asListenError(error: unknown, key: string): CodedError {
  const code = systemCode(error);
  if (code === 'EADDRINUSE') {
    const remedy = 'stop the program that listens there (ss -ltnp), or choose another --admin-listen';
    return new CodedError({ code: 'admin-port-taken', message: `${key} is taken`, remedy }, error);
  }
  if (code === 'EACCES') {
    const remedy = 'choose a port at or above 1024 in --admin-listen, or give the process NET_BIND_SERVICE';
    return new CodedError({ code: 'admin-port-denied', message: `no permission to listen on ${key}`, remedy }, error);
  }
  return new CodedError({ code: 'admin-address', message: `cannot listen on ${key}: ${messageOf(error)}`, remedy: 'choose an address of this node in --admin-listen' }, error);
}

/** The kernel resets what it holds for a closing listener, and libuv accepts one connection per turn of the event loop: a few are waited for. */
async function closeServer(server: Server, drainMs: number): Promise<void> {
  for (let turn = 0; turn < LAST_ACCEPTS; turn++) await setImmediate();
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), drainMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
