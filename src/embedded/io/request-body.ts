import type { Readable } from 'node:stream';
import type { Exchange } from './exchange.ts';

/** A body up to this size can be sent a second time; HAProxy's limit is its buffer, of the same size. */
const REPLAY_BYTES = 16_384;

/** Streams a request's body to a server with back-pressure, and keeps its beginning so that another server can be tried. */
export class RequestBody {
  readonly #source: Readable;
  readonly #trailers: () => readonly [string, string][];
  #kept: Buffer[] | undefined = [];
  #keptBytes = 0;
  #ended = false;
  #exchange: Exchange | undefined;

  constructor(source: Readable, trailers: () => readonly [string, string][]) {
    this.#source = source;
    this.#trailers = trailers;
    source.pause();
    source.on('data', (chunk: Buffer) => this.#keep(chunk));
    source.on('end', () => {
      this.#ended = true;
      this.#finish();
    });
  }

  /** Whether all that was read of the body is still kept. */
  get replayable(): boolean {
    return this.#kept !== undefined;
  }

  sendTo(exchange: Exchange): void {
    const { requestBody } = exchange;
    // A server may answer and close before it has read the body: its answer counts, not the failed write.
    requestBody.on('error', () => this.detach());
    this.#exchange = exchange;
    for (const chunk of this.#kept ?? []) requestBody.write(chunk);
    if (this.#ended) this.#finish();
    else this.#source.pipe(requestBody, { end: false });
  }

  /** Stops sending; what the client still sends waits. */
  detach(): void {
    if (this.#exchange === undefined) return;
    this.#source.unpipe(this.#exchange.requestBody);
    this.#source.pause();
    this.#exchange = undefined;
  }

  /** Reads and drops the rest, so that the client's connection can carry its next request. */
  discard(): void {
    this.detach();
    this.#kept = undefined;
    this.#source.resume();
  }

  #keep(chunk: Buffer): void {
    this.#keptBytes += chunk.length;
    if (this.#keptBytes > REPLAY_BYTES) this.#kept = undefined;
    this.#kept?.push(chunk);
  }

  #finish(): void {
    this.#exchange?.sendTrailers(this.#trailers());
    this.#exchange?.requestBody.end();
  }
}
