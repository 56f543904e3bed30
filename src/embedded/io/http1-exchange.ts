import http from 'node:http';
import type { Endpoint } from '../../model/route-table.ts';
import { UpstreamFailure } from './exchange.ts';
import type { Exchange, IncomingHead, OpenExchange, OutgoingHead, Timeouts } from './exchange.ts';

/** Below the 5 s after which Node's own servers close an idle connection, the shortest in common use. */
const IDLE_CONNECTION_MS = 4_000;

/** HTTP/1.1 to the servers, over kept connections. */
export function openHttp1Client(): { readonly open: OpenExchange; readonly close: () => void } {
  const agent = new http.Agent({ keepAlive: true, maxFreeSockets: 64, timeout: IDLE_CONNECTION_MS });
  return { open: (server, head, timeouts, onContinue) => openExchange(agent, server, head, timeouts, onContinue), close: () => agent.destroy() };
}

async function openExchange(agent: http.Agent, server: Endpoint, head: OutgoingHead, timeouts: Timeouts, onContinue: () => void): Promise<Exchange> {
  const headers = [...head.headers];
  if (head.upgrade !== undefined) headers.push('Connection', 'Upgrade', 'Upgrade', head.upgrade);
  const bodyLengthUnknown = head.hasBody && !headers.some((name, i) => i % 2 === 0 && name.toLowerCase() === 'content-length');
  if (bodyLengthUnknown) headers.push('Transfer-Encoding', 'chunked');
  const request = http.request({ agent, host: server.address, port: server.port, method: head.method, path: head.path, headers, setHost: false });
  // Without it Node announces a chunked body for every POST that has none.
  request.useChunkedEncodingByDefault = bodyLengthUnknown;
  request.on('continue', onContinue);
  request.setTimeout(timeouts.requestMs);
  // Settles nothing by itself: until `connected` an error is a failed connect, after it the response's.
  const response = awaitResponse(request);
  response.catch(() => {});
  await connected(request, timeouts.connectMs);
  return {
    requestBody: request,
    response,
    sendTrailers: (pairs) => bodyLengthUnknown && pairs.length > 0 && request.addTrailers(pairs),
    abort: () => request.destroy(),
  };
}

function connected(request: http.ClientRequest, connectMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void => {
      clearTimeout(timer);
      request.destroy();
      reject(new UpstreamFailure('connect', cause));
    };
    const succeed = (): void => {
      clearTimeout(timer);
      request.off('error', fail);
      resolve();
    };
    const timer = setTimeout(() => fail(new Error('connect timeout')), connectMs);
    request.on('error', fail);
    request.once('socket', (socket) => (socket.connecting ? socket.once('connect', succeed) : succeed()));
  });
}

function awaitResponse(request: http.ClientRequest): Promise<IncomingHead> {
  return new Promise((resolve, reject) => {
    const incoming = (message: http.IncomingMessage): IncomingHead => ({
      status: message.statusCode ?? 502,
      statusText: message.statusMessage ?? '',
      headers: message.rawHeaders,
      body: message,
      trailers: () => message.rawTrailers,
      complete: () => message.complete,
    });
    // The listener also stays for errors after the response began: those reach its body, and none may be uncaught.
    request.on('error', (cause) => reject(new UpstreamFailure('reset', cause)));
    request.on('timeout', () => {
      reject(new UpstreamFailure('timeout'));
      request.destroy();
    });
    request.on('response', (message) => resolve(incoming(message)));
    request.on('upgrade', (message, socket, head) => resolve({ ...incoming(message), upgraded: { socket, head } }));
    request.on('close', () => reject(new UpstreamFailure('reset')));
  });
}
