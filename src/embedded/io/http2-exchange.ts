import http2 from 'node:http2';
import { once } from 'node:events';
import type { Endpoint } from '../../model/route-table.ts';
import { listenerKey } from '../../model/proxy.ts';
import { http2Headers, lastHeaderValue } from '../headers.ts';
import { UpstreamFailure } from './exchange.ts';
import type { Exchange, IncomingHead, OpenExchange, OutgoingHead, Timeouts } from './exchange.ts';

const IDLE_SESSION_MS = 60_000;

/** Clear-text HTTP/2 (prior knowledge) to the servers: one session per server, opened when it is needed. */
export function openHttp2Client(): { readonly open: OpenExchange; readonly close: () => void } {
  const sessions = new Map<string, http2.ClientHttp2Session>();

  async function sessionOf(server: Endpoint, connectMs: number): Promise<http2.ClientHttp2Session> {
    const key = listenerKey(server.address, server.port);
    let session = sessions.get(key);
    if (session === undefined || session.closed || session.destroyed) {
      session = connect(key);
      sessions.set(key, session);
    }
    if (session.connecting) {
      try {
        await once(session, 'connect', { signal: AbortSignal.timeout(connectMs) });
      } catch (cause) {
        session.destroy();
        throw new UpstreamFailure('connect', cause);
      }
    }
    return session;
  }

  function connect(key: string): http2.ClientHttp2Session {
    const session = http2.connect(`http://${key}`);
    const forget = (): void => {
      if (sessions.get(key) === session) sessions.delete(key);
    };
    // A session that may not take new streams is replaced at the next call; those it carries go on.
    session.on('goaway', forget);
    session.on('close', forget);
    session.on('error', forget);
    session.setTimeout(IDLE_SESSION_MS, () => session.close());
    return session;
  }

  return {
    open: async (server, head, timeouts, onContinue) => {
      const session = await sessionOf(server, timeouts.connectMs);
      try {
        return openExchange(session, head, timeouts, onContinue);
      } catch (cause) {
        // The session ended between the look-up and the request: nothing was sent.
        throw new UpstreamFailure('connect', cause);
      }
    },
    close: () => {
      for (const session of sessions.values()) session.destroy();
    },
  };
}

function openExchange(session: http2.ClientHttp2Session, head: OutgoingHead, timeouts: Timeouts, onContinue: () => void): Exchange {
  const { host, ...headers } = http2Headers(head.headers);
  const pseudo = {
    ':method': head.method,
    ':scheme': 'http',
    ':path': head.path.replace(/^https?:\/\/[^/?]*(?=\/|$)/i, '') || '/',
    ...(lastHeaderValue(head.headers, 'host') === undefined ? {} : { ':authority': Array.isArray(host) ? host[0] : host }),
  };
  const stream = session.request({ ...pseudo, ...headers }, { endStream: !head.hasBody, waitForTrailers: head.hasBody });
  let requestTrailers: readonly [string, string][] = [];
  stream.on('wantTrailers', () => stream.sendTrailers(http2Headers(requestTrailers.flat())));
  stream.on('continue', onContinue);
  stream.setTimeout(timeouts.requestMs);
  const response = awaitResponse(stream);
  response.catch(() => {});
  return {
    requestBody: stream,
    response,
    sendTrailers: (pairs) => {
      requestTrailers = pairs;
    },
    abort: () => {
      // Not `close`: Node ends the stream before it resets it, and half an upload would look complete to the server.
      if (!stream.closed) stream.destroy(new Error('given up'));
    },
  };
}

function awaitResponse(stream: http2.ClientHttp2Stream): Promise<IncomingHead> {
  return new Promise((resolve, reject) => {
    let trailers: string[] = [];
    stream.on('error', (cause) => reject(new UpstreamFailure('reset', cause)));
    stream.on('timeout', () => {
      reject(new UpstreamFailure('timeout'));
      // An answer that has begun ends as an error, so that the client sees that it is cut.
      stream.destroy(new Error('the server was silent for too long'));
    });
    stream.on('trailers', (headers) => {
      trailers = Object.entries(headers).flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).flatMap((line) => [name, String(line)]));
    });
    stream.on('response', (headers, _flags, rawHeaders?: string[]) => {
      resolve({ status: headers[':status'] ?? 502, statusText: '', headers: rawHeaders ?? [], body: stream, trailers: () => trailers, complete: () => (stream.rstCode ?? 0) === 0 });
    });
    stream.on('close', () => reject(new UpstreamFailure('reset')));
  });
}
