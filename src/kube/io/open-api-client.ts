import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { messageOf, systemCode } from '../../model/coded-error.ts';
import { ApiError, parseStatus } from '../api-error.ts';
import type { ApiAccess, ApiTls } from './open-api-access.ts';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RequestOptions {
  readonly query?: Query;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Default `application/json`; patches: `application/merge-patch+json`, `application/apply-patch+yaml` (JSON is YAML). */
  readonly contentType?: string;
  /** Another type of JSON than application/json, where the server gives no other. */
  readonly accept?: string;
  /** From the request to the end of the answer. Default: the client's. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Answers above it are refused with `TooLarge`. Default 8 MiB; unpacked size. */
  readonly maxBytes?: number;
}

export interface StreamOptions {
  readonly query?: Query;
  /** Ends the stream, too. */
  readonly signal: AbortSignal;
  /** Until the answer's headers are there. Default: the client's. */
  readonly timeoutMs?: number;
}

/** Connections to one API server. Every failure is an {@link ApiError}. */
export interface ApiClient {
  /** Where it connects to, for messages. */
  readonly server: string;
  /**
   * One request; resolves with the parsed JSON of a 2xx answer. A 401 is tried once more with credentials read anew. `path` begins with
   * `/`; names in it are the caller's to check or to escape (encodeURIComponent).
   */
  request<T = unknown>(method: string, path: string, options?: RequestOptions): Promise<T>;
  /** GET whose answer has no end, such as a watch: resolves with its bytes once the server said 200. */
  stream(path: string, options: StreamOptions): Promise<Readable>;
  /** Calls `listener` each time that the server answers anything, whatever its status; the function returned ends that. */
  onAnswer(listener: () => void): () => void;
  /** Ends all connections; what is on its way is rejected. */
  close(): void;
}

export interface ApiClientOptions {
  readonly userAgent: string;
  readonly timeoutMs?: number;
  /** Connections kept while idle: as many as requests run at once, else each of those costs a TLS handshake. Default 2. */
  readonly idleConnections?: number;
}

const TIMEOUT_MS = 30_000;
/** Until somebody takes the connection: three attempts of the system. */
const CONNECT_MS = 5_000;
const MAX_BYTES = 8 * 1024 * 1024;
/** Error bodies are a Status of a few hundred bytes. */
const MAX_ERROR_BYTES = 64 * 1024;
/** Idle connections are closed by us first: the API server and load balancers in front of it keep them for longer. */
const IDLE_MS = 30_000;

/** Opens a client: one keep-alive pool over HTTP/1.1, which costs 9 MB of memory less than an HTTP/2 session or undici. */
export function openApiClient(access: ApiAccess, { userAgent, timeoutMs: defaultTimeoutMs = TIMEOUT_MS, idleConnections = 2 }: ApiClientOptions): ApiClient {
  const { server } = access;
  const secure = server.protocol === 'https:';
  const prefix = server.pathname.replace(/\/$/, '');
  const closing = new AbortController();
  const listeners = new Set<() => void>();
  let pool: { readonly tls: ApiTls | undefined; readonly agent: http.Agent } | undefined;

  /** A pool per set of certificates: connections made with old ones end when they are idle. */
  const poolFor = (tls: ApiTls | undefined): http.Agent => {
    if (pool !== undefined && pool.tls === tls) return pool.agent;
    const options = { keepAlive: true, maxFreeSockets: idleConnections, scheduling: 'lifo' as const, timeout: IDLE_MS };
    pool = { tls, agent: secure ? new https.Agent({ ...options, ...tls }) : new http.Agent(options) };
    return pool.agent;
  };

  /** Sends and resolves with the answer's headers, whatever its status. */
  const send = async (method: string, path: string, query: Query, body: string | undefined, headers: http.OutgoingHttpHeaders, signal: AbortSignal): Promise<http.IncomingMessage> => {
    const { agent, token } = await credentials();
    return new Promise((resolve, reject) => {
      const request = (secure ? https : http).request({
        host: server.hostname.replace(/^\[(.*)\]$/, '$1'),
        port: server.port === '' ? (secure ? 443 : 80) : Number(server.port),
        method,
        path: `${prefix}${path}${queryText(query)}`,
        agent,
        signal,
        headers: {
          'User-Agent': userAgent,
          Accept: 'application/json',
          ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }),
          ...headers,
        },
      });
      request.on('socket', (socket) => limitConnecting(request, socket));
      request.on('error', reject);
      request.on('response', (answer) => {
        for (const listener of listeners) listener();
        resolve(answer);
      });
      request.end(body);
    });
  };

  const credentials = async (): Promise<{ readonly agent: http.Agent; readonly token: string | undefined }> => {
    try {
      return { agent: poolFor(secure ? await access.tls() : undefined), token: await access.token() };
    } catch (error) {
      throw new ApiError({ status: 0, reason: 'Credentials', message: `the credentials cannot be read: ${messageOf(error)}` }, error);
    }
  };

  /** The answer, after a second attempt where that may help. */
  const ask = async (method: string, path: string, query: Query, body: string | undefined, headers: http.OutgoingHttpHeaders, signal: AbortSignal): Promise<http.IncomingMessage> => {
    const again = (): Promise<http.IncomingMessage> => send(method, path, query, body, headers, signal);
    const answer = await again().catch((error: unknown) => {
      // A kept connection that the server closed at this very moment: nothing was answered, and reading again changes nothing.
      if (method !== 'GET' || systemCode(error) !== 'ECONNRESET' || signal.aborted) throw error;
      return again();
    });
    if (answer.statusCode !== 401) return answer;
    answer.resume();
    access.expire();
    return again();
  };

  const fail = (error: unknown, what: string, ends: { readonly caller?: AbortSignal | undefined; readonly timer: AbortSignal }): ApiError => {
    if (error instanceof ApiError) return error;
    if (closing.signal.aborted || ends.caller?.aborted === true) return new ApiError({ status: 0, reason: 'Aborted', message: `${what} was given up` }, error);
    if (ends.timer.aborted) return new ApiError({ status: 0, reason: 'Timeout', message: `${server.host} did not answer ${what} in time` }, error);
    return new ApiError({ status: 0, reason: 'Unreachable', message: `${server.host} cannot be reached: ${describe(error)}` }, error);
  };

  return {
    server: server.origin,
    async request<T>(method: string, path: string, { query = {}, body, contentType, accept, timeoutMs = defaultTimeoutMs, signal, maxBytes = MAX_BYTES }: RequestOptions = {}): Promise<T> {
      const timer = AbortSignal.timeout(timeoutMs);
      const either = AbortSignal.any([timer, closing.signal, ...(signal === undefined ? [] : [signal])]);
      const text = body === undefined ? undefined : JSON.stringify(body);
      const headers = { 'Accept-Encoding': 'gzip', ...(accept === undefined ? {} : { Accept: accept }), ...(text === undefined ? {} : { 'Content-Type': contentType ?? 'application/json' }) };
      try {
        const answer = await ask(method, path, query, text, headers, either);
        return (await readAnswer(answer, maxBytes)) as T;
      } catch (error) {
        throw fail(error, `${method} ${path}`, { caller: signal, timer });
      }
    },
    async stream(path, { query = {}, signal, timeoutMs = defaultTimeoutMs }) {
      const timer = new AbortController();
      const limit = setTimeout(() => timer.abort(), timeoutMs);
      const either = AbortSignal.any([timer.signal, closing.signal, signal]);
      try {
        const answer = await ask('GET', path, query, undefined, {}, either);
        if (answer.statusCode !== 200) await readAnswer(answer, MAX_BYTES);
        // The pool's limit is for idle connections; whoever reads the stream decides how long it may be silent.
        answer.socket.setTimeout(0);
        return answer;
      } catch (error) {
        throw fail(error, `GET ${path}`, { caller: signal, timer: timer.signal });
      } finally {
        clearTimeout(limit);
      }
    },
    onAnswer: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: () => {
      closing.abort();
      pool?.agent.destroy();
    },
  };
}

/** Node itself would wait as long as the system sends SYNs: two minutes. */
function limitConnecting(request: http.ClientRequest, socket: Socket): void {
  if (!socket.connecting) return;
  const limit = setTimeout(() => request.destroy(new Error(`nobody took the connection within ${CONNECT_MS / 1000} s`)), CONNECT_MS);
  for (const event of ['connect', 'close']) socket.once(event, () => clearTimeout(limit));
}

/** Reads an answer to its end: the parsed JSON of a 2xx, else rejects with what the server says. */
async function readAnswer(answer: http.IncomingMessage, maxBytes: number): Promise<unknown> {
  const status = answer.statusCode ?? 0;
  const fine = status >= 200 && status < 300;
  const text = await readText(answer, fine ? maxBytes : MAX_ERROR_BYTES).catch((error: unknown) => {
    if (fine) throw error;
    return '';
  });
  let parsed: unknown;
  try {
    parsed = text === '' ? undefined : JSON.parse(text);
  } catch (error) {
    if (fine) throw new ApiError({ status: 0, reason: 'Unreadable', message: 'the API server answered something else than JSON' }, error);
  }
  if (!fine) throw parseStatus(status, parsed, answer.headers['retry-after']);
  return parsed;
}

async function readText(answer: http.IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of unpack(answer) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      answer.destroy();
      throw new ApiError({ status: 0, reason: 'TooLarge', message: `the answer has more than ${maxBytes} bytes` });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString();
}

/** The API server packs answers above 128 KiB when it may: a list then takes a tenth of the network. */
function unpack(answer: http.IncomingMessage): Readable {
  if (answer.headers['content-encoding'] !== 'gzip') return answer;
  // Errors of both end the reading of the result, which is where they are handled.
  return pipeline(answer, createGunzip(), () => {});
}

function queryText(query: Query): string {
  const pairs = Object.entries(query).flatMap(([key, value]): [string, string][] => (value === undefined ? [] : [[key, String(value)]]));
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs).toString()}`;
}

/** Several addresses that fail give an AggregateError without a message. */
function describe(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ');
  return messageOf(error) || (systemCode(error) ?? 'the connection was lost');
}
