import http from 'node:http';
import http2 from 'node:http2';
import type { Socket } from 'node:net';
import { finished } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { REASON_HEADER, REFUSALS } from '../../model/refusal.ts';
import type { RefusalCode } from '../../model/refusal.ts';
import type { Endpoint, Route, Version } from '../../model/route-table.ts';
import type { RetryCondition } from '../../model/service-route.ts';
import { declaresBody, http2Headers, lastHeaderValue, requestHeaders, responseHeaders, trailerPairs } from '../headers.ts';
import type { CallTrace } from './call-trace.ts';
import type { Counters } from './counters.ts';
import { UpstreamFailure } from './exchange.ts';
import type { Exchange, IncomingHead, OpenExchange, OutgoingHead } from './exchange.ts';
import { joinSockets } from './join-sockets.ts';
import { RequestBody } from './request-body.ts';
import type { ServerPool } from './server-pool.ts';

export type ClientRequest = http.IncomingMessage | http2.Http2ServerRequest;
export type ClientResponse = http.ServerResponse | http2.Http2ServerResponse;

/** One HTTP call of a client. `upgrade`: it asks for another protocol, and the socket is ours. */
export interface HttpCall {
  readonly request: ClientRequest;
  readonly response: ClientResponse;
  readonly clientAddress: string;
  /** Aborted when the client is gone before its answer was complete. */
  readonly gone: AbortSignal;
  readonly upgrade?: { readonly socket: Socket; readonly head: Buffer };
  readonly trace: CallTrace;
  /** The listener is closing: the connection ends after this answer. */
  readonly lastOnConnection: () => boolean;
}

export interface ForwardTools {
  readonly pool: ServerPool;
  readonly counters: Counters;
  readonly tokenHeader: string;
  readonly openHttp1: OpenExchange;
  readonly openHttp2: OpenExchange;
}

/** RFC 9110 section 9.2.2. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
const CONDITION: Readonly<Record<UpstreamFailure['kind'], RetryCondition>> = { connect: 'connect-failure', reset: 'empty-response', timeout: 'response-timeout' };
const REFUSAL: Readonly<Record<UpstreamFailure['kind'], RefusalCode>> = { connect: 'connect-failed', reset: 'upstream-reset', timeout: 'upstream-timeout' };
/** Before a server is tried again when all were tried. */
const SAME_SERVER_PAUSE_MS = 200;

/** Answers a call ourselves: status, `x-onehop-reason` and one line of text; `retryAfterSeconds` goes with it (RFC 9110 section 10.2.3). */
export function refuseHttp(call: HttpCall, refusal: { readonly code: RefusalCode; readonly retryAfterSeconds?: number; readonly status?: number }, counters: Counters): void {
  const { code, retryAfterSeconds } = refusal;
  counters.add(code);
  const { request, response } = call;
  const { status, text } = { ...REFUSALS[code], ...(refusal.status === undefined ? {} : { status: refusal.status }) };
  call.trace.refused(code, status);
  const body = `${text}\n`;
  const headers = ['Content-Type', 'text/plain; charset=utf-8', 'Content-Length', String(body.length), REASON_HEADER, code];
  if (retryAfterSeconds !== undefined) headers.push('Retry-After', String(retryAfterSeconds));
  // A client that waits for 100 may or may not send its body now: the connection cannot carry another request.
  writeHead(call, status, '', headers, lastHeaderValue(request.rawHeaders, 'expect') !== undefined);
  response.end(request.method === 'HEAD' ? '' : body);
}

/** Answers 400; over HTTP/1.1 the connection ends with it. */
export function rejectHttp(response: ClientResponse): void {
  if (response instanceof http2.Http2ServerResponse) response.writeHead(400);
  else {
    response.shouldKeepAlive = false;
    response.writeHead(400, { 'Content-Length': '0' });
  }
  response.end();
}

function writeHead({ response, lastOnConnection }: HttpCall, status: number, statusText: string, headers: string[], close = false): void {
  if (response instanceof http2.Http2ServerResponse) {
    response.writeHead(status, http2Headers(headers) as http2.OutgoingHttpHeaders);
    return;
  }
  response.sendDate = false;
  if (close || lastOnConnection()) response.shouldKeepAlive = false;
  response.writeHead(status, statusText === '' ? http.STATUS_CODES[status] : statusText, headers);
}

/** Ends a client's answer so that it sees that it is not complete (`stream.close` would end it properly first). */
function cutAnswer({ response }: HttpCall): void {
  if (response instanceof http2.Http2ServerResponse) response.stream.destroy(new Error('the answer is not complete'));
  else response.destroy();
}

function outgoingHead(call: HttpCall, version: Version, tokenHeader: string): OutgoingHead {
  const { request, upgrade } = call;
  const raw = request.rawHeaders;
  const hasBody = request instanceof http2.Http2ServerRequest ? !request.stream.endAfterHeaders : declaresBody(raw);
  const head = { method: request.method ?? 'GET', path: request.url ?? '/', headers: requestHeaders(raw, { clientAddress: call.clientAddress, tokenHeader }), hasBody };
  return upgrade === undefined || version.serverProtocol === 'h2' ? head : { ...head, upgrade: lastHeaderValue(raw, 'upgrade') ?? '' };
}

/**
 * Forwards a call to the servers of the chosen version: the first that can be connected answers it; others are tried as `spec.retries`
 * says. Resolves when the answer is complete, refused or cut; never rejects for what client or server do.
 */
export async function forwardHttp(call: HttpCall, route: Route, version: Version, hashKey: string | undefined, tools: ForwardTools): Promise<void> {
  const head = outgoingHead(call, version, tools.tokenHeader);
  const body = new RequestBody(call.request, () => trailerPairs(call.request.rawTrailers));
  const { servers, spilled } = tools.pool.order(version, hashKey);
  for (let attempt = 0; ; attempt++) {
    const server = servers[attempt % servers.length];
    if (server === undefined) return refuseHttp(call, { code: 'no-endpoints' }, tools.counters);
    if (attempt >= servers.length) await delay(SAME_SERVER_PAUSE_MS);
    const failure = await tryServer(call, route, version, server, () => tools.counters.addForwarded(route, version, server, spilled), head, body, tools);
    if (failure === undefined || call.gone.aborted) return;
    if (!mayRetry(route, failure, head, body, attempt)) {
      body.discard();
      return refuseHttp(call, { code: REFUSAL[failure.kind] }, tools.counters);
    }
  }
}

/** Once a request was sent, only an idempotent one whose body is still at hand goes to another server (unless `nonIdempotent`). */
function mayRetry({ retries }: Route, failure: UpstreamFailure, head: OutgoingHead, body: RequestBody, attempt: number): boolean {
  if (attempt >= retries.attempts || !retries.on.includes(CONDITION[failure.kind])) return false;
  return failure.kind === 'connect' || (body.replayable && (retries.nonIdempotent || IDEMPOTENT.has(head.method)));
}

/** One attempt. Undefined: the client has its answer (or is gone); a failure: nothing was sent to the client yet. */
async function tryServer(call: HttpCall, route: Route, version: Version, server: Endpoint, onAnswer: () => void, head: OutgoingHead, body: RequestBody, tools: ForwardTools): Promise<UpstreamFailure | undefined> {
  const done = tools.pool.begin(server);
  call.trace.tries(server);
  const open = version.serverProtocol === 'h2' ? tools.openHttp2 : tools.openHttp1;
  let exchange: Exchange | undefined;
  const abort = (): void => exchange?.abort();
  call.gone.addEventListener('abort', abort);
  try {
    exchange = await open(server, head, route.timeout, () => sendContinue(call.response));
    if (call.gone.aborted) return undefined;
    call.trace.connected();
    body.sendTo(exchange);
    const answer = await exchange.response;
    call.trace.answered(answer.status);
    onAnswer();
    if (answer.upgraded === undefined) await sendAnswer(call, answer, body, route.log !== undefined);
    else await switchProtocol(call, answer, answer.upgraded);
    return undefined;
  } catch (failure) {
    if (!(failure instanceof UpstreamFailure)) throw failure;
    if (failure.kind === 'connect') tools.pool.connectFailed(server);
    body.detach();
    return failure;
  } finally {
    call.gone.removeEventListener('abort', abort);
    if (call.gone.aborted) abort();
    done();
  }
}

function sendContinue(response: ClientResponse): void {
  if (!response.headersSent && !response.writableEnded) response.writeContinue();
}

async function sendAnswer(call: HttpCall, answer: IncomingHead, body: RequestBody, measured: boolean): Promise<void> {
  const { response, trace } = call;
  const source = answer.body;
  if (measured) source.on('data', (chunk: Buffer) => (trace.bytesOut += chunk.length));
  writeHead(call, answer.status, answer.statusText, responseHeaders(answer.headers));
  // Without a body at hand the head goes alone: event streams and long polls begin with silence.
  if (!(response instanceof http2.Http2ServerResponse) && source.readableLength === 0 && !source.readableEnded) response.flushHeaders();
  source.pipe(response as NodeJS.WritableStream, { end: false });
  try {
    await finished(source, { writable: false, signal: call.gone });
    if (!answer.complete()) return breakOff(call);
    const trailers = trailerPairs(answer.trailers());
    if (trailers.length > 0) addTrailers(response, trailers);
    response.end();
    body.discard();
  } catch {
    // The server or the client ended in mid-body. Neither may be left waiting for the other.
    breakOff(call);
  }
}

function breakOff(call: HttpCall): void {
  call.trace.aborted(call.gone.aborted ? 'client' : 'server');
  cutAnswer(call);
}

function addTrailers(response: ClientResponse, pairs: [string, string][]): void {
  if (response instanceof http2.Http2ServerResponse) response.addTrailers(http2Headers(pairs.flat()));
  else response.addTrailers(pairs);
}

/** The server agreed to another protocol: its answer goes to the client as it came, then bytes both ways until either side ends. */
async function switchProtocol(call: HttpCall, answer: IncomingHead, upgraded: NonNullable<IncomingHead['upgraded']>): Promise<void> {
  if (call.upgrade === undefined) {
    upgraded.socket.destroy();
    return cutAnswer(call);
  }
  const { socket, head } = call.upgrade;
  const headers = responseHeaders(answer.headers);
  headers.push('Connection', 'Upgrade', 'Upgrade', lastHeaderValue(answer.headers, 'upgrade') ?? '');
  let text = `HTTP/1.1 ${answer.status} ${answer.statusText}\r\n`;
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  socket.write(`${text}\r\n`, 'latin1');
  if (upgraded.head.length > 0) socket.write(upgraded.head);
  if (head.length > 0) upgraded.socket.write(head);
  await joinSockets(socket, upgraded.socket, (reset) => call.trace.aborted(reset === socket ? 'client' : 'server'));
}
