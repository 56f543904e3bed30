import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { WebSocket } from 'ws';
import type { Answered } from './scene-servers.ts';

/** One call as it goes out: from a source address to an address. `from` absent: the system chooses it, as for a process of the node. */
export interface OutgoingCall {
  readonly via: 'http' | 'h2c' | 'ws' | 'tcp';
  readonly from: string | undefined;
  readonly address: string;
  readonly port: number;
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body?: string;
  /** Connections to keep, over HTTP/1.1. */
  readonly agent?: http.Agent;
}

/** What came back. `status` 0: no answer, `cut` says why. */
export interface Result {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly trailers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  /** What the server says it received; absent when the answer is none of a server. */
  readonly answered?: Answered;
  readonly cut?: string;
  readonly tookMs: number;
}

const PATIENCE_MS = 15_000;

/** Makes a call. Never rejects: a connection that is closed or reset is a result, too. */
export async function makeCall(call: OutgoingCall): Promise<Result> {
  const begun = performance.now();
  const make = { http: callHttp, h2c: callHttp2, ws: callWebSocket, tcp: callTcp }[call.via];
  try {
    const result = await make(call);
    return { ...result, ...readAnswer(result.body), tookMs: performance.now() - begun };
  } catch (error) {
    return { status: 0, headers: {}, trailers: {}, body: '', cut: String(error), tookMs: performance.now() - begun };
  }
}

function readAnswer(body: string): { readonly answered?: Answered } {
  if (!body.startsWith('{')) return {};
  return { answered: JSON.parse(body) as Answered };
}

type Received = Pick<Result, 'status' | 'headers' | 'trailers' | 'body'>;

const sourceOf = (from: string | undefined): { readonly localAddress?: string } => (from === undefined ? {} : { localAddress: from });

async function callHttp(call: OutgoingCall): Promise<Received> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  // An array keeps repeated lines apart; Node then adds no Host.
  const lines = [['Host', `${call.address}:${call.port}`] as const, ...(call.body === undefined ? [] : [['Content-Length', String(Buffer.byteLength(call.body))] as const]), ...call.headers];
  const request = http.request({ host: call.address, port: call.port, path: '/path?query=1', method: call.method, agent: call.agent ?? false, headers: lines.flat(), signal, ...sourceOf(call.from) });
  request.end(call.body);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += String(chunk);
  return { status: response.statusCode ?? 0, headers: response.headers, trailers: response.trailers, body };
}

async function callHttp2(call: OutgoingCall): Promise<Received> {
  const { address: host, port } = call;
  const session = http2.connect(`http://${host}:${port}`, { createConnection: () => net.connect({ host, port, ...sourceOf(call.from) }) });
  try {
    const failed = once(session, 'error').then(([error]) => Promise.reject(error as Error));
    const stream = session.request({ ':method': call.method, ':path': '/path?query=1', ...Object.fromEntries(call.headers), te: 'trailers' }, { signal: AbortSignal.timeout(PATIENCE_MS) });
    let trailers: Result['trailers'] = {};
    stream.on('trailers', (received) => (trailers = received as Result['trailers']));
    const receive = async (): Promise<Received> => {
      stream.end(call.body);
      const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
      let body = '';
      for await (const chunk of stream.setEncoding('utf8')) body += String(chunk);
      return { status: Number(headers[':status']), headers, trailers, body };
    };
    return await Promise.race([receive(), failed]);
  } finally {
    session.destroy();
  }
}

/** Says the body over a WebSocket and returns the first message; a refused upgrade gives its HTTP answer. */
function callWebSocket(call: OutgoingCall): Promise<Received> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${call.address}:${call.port}/path?query=1`, { headers: Object.fromEntries(call.headers), handshakeTimeout: PATIENCE_MS, ...sourceOf(call.from) });
    socket.on('error', reject);
    socket.on('open', () => socket.send(call.body ?? 'hello'));
    socket.on('message', (data: Buffer) => {
      resolve({ status: 101, headers: {}, trailers: {}, body: data.toString() });
      socket.terminate();
    });
    socket.on('unexpected-response', (_request, response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, trailers: {}, body }));
    });
    socket.on('close', () => reject(new Error('closed without a message')));
  });
}

/** Sends the body as a line and reads until the other side ends. */
async function callTcp(call: OutgoingCall): Promise<Received> {
  const socket = net.connect({ host: call.address, port: call.port, ...sourceOf(call.from) });
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('no answer')));
  socket.write(`${call.body ?? 'hello'}\n`);
  let body = '';
  for await (const chunk of socket.setEncoding('utf8')) body += String(chunk);
  if (body === '') throw new Error('closed without an answer');
  return { status: 200, headers: {}, trailers: {}, body };
}
