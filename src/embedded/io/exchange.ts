import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { Endpoint } from '../../model/route-table.ts';
import type { RawHeaders } from '../headers.ts';

/** What is sent to a server. `requestHeaders` made the headers; `hasBody`: a body follows. */
export interface OutgoingHead {
  readonly method: string;
  readonly path: string;
  readonly headers: string[];
  readonly hasBody: boolean;
  /** Asked to become another protocol (WebSocket); HTTP/1.1 only. */
  readonly upgrade?: string;
}

export interface IncomingHead {
  readonly status: number;
  readonly statusText: string;
  readonly headers: RawHeaders;
  readonly body: Readable;
  /** Known once the body has ended. */
  readonly trailers: () => RawHeaders;
  /** Whether a body that has ended is whole (HTTP/2 ends the body of a stream that was reset as any other). */
  readonly complete: () => boolean;
  /** Set when the server changed protocol (101): the connection itself, and what it sent already. */
  readonly upgraded?: { readonly socket: Socket; readonly head: Buffer };
}

/** One request on its way to one server that is connected. */
export interface Exchange {
  /** Takes the request's body; `end` it in any case. */
  readonly requestBody: Writable;
  /** Rejects with an UpstreamFailure. */
  readonly response: Promise<IncomingHead>;
  /** To be called before `requestBody.end()`. */
  readonly sendTrailers: (pairs: readonly [string, string][]) => void;
  /** Frees the connection; safe at any time. */
  readonly abort: () => void;
}

export interface Timeouts {
  readonly connectMs: number;
  /** Silence of the server, before its answer and within it. */
  readonly requestMs: number;
}

/** Opens an exchange. Rejects with an UpstreamFailure of kind `connect`; `onContinue`: the server sent 100. */
export type OpenExchange = (server: Endpoint, head: OutgoingHead, timeouts: Timeouts, onContinue: () => void) => Promise<Exchange>;

/**
 * Why a server did not answer. `connect`: nothing was sent. `reset`: it closed first. `timeout`: it was silent for too long.
 */
export class UpstreamFailure extends Error {
  readonly kind: 'connect' | 'reset' | 'timeout';
  constructor(kind: UpstreamFailure['kind'], cause?: unknown) {
    super(`upstream ${kind}`, { cause });
    this.kind = kind;
  }
}
