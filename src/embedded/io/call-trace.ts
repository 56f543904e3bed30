import type { RefusalCode } from '../../model/refusal.ts';
import type { Endpoint, Version } from '../../model/route-table.ts';
import { isServerError } from '../build-call-record.ts';
import type { CallFacts } from '../build-call-record.ts';

/** Follows one call (tcp: one connection) from its beginning to its end. */
export class CallTrace {
  readonly atMs = Date.now();
  readonly #begunMs = performance.now();
  #forwardedMs = this.#begunMs;
  #connectedMs: number | undefined;
  #facts: Omit<CallFacts, 'atMs' | 'totalMs' | 'bytesOut'> = {};
  #onServerError: (() => void) | undefined;
  bytesOut = 0;

  /** The call goes to a version. `onServerError` hears, at most once, that it failed: before the client sees it, so that no call slips by. */
  forwarded(version: Version, onServerError: () => void): void {
    this.#forwardedMs = performance.now();
    this.#onServerError = onServerError;
    this.#note({ version });
  }

  /** A server is tried; the last one that was tried is the one that is told. */
  tries(server: Endpoint): void {
    this.#note({ server });
  }

  connected(): void {
    this.#connectedMs = performance.now();
    this.#note({ connectMs: Math.round(this.#connectedMs - this.#forwardedMs) });
  }

  answered(status: number): void {
    this.#note({ status, responseMs: Math.round(performance.now() - (this.#connectedMs ?? this.#forwardedMs)) });
  }

  refused(reason: RefusalCode, status?: number): void {
    this.#note(status === undefined ? { reason } : { reason, status });
  }

  /** The first side that broke it off is the one that is told. */
  aborted(by: 'server' | 'client'): void {
    if (this.#facts.aborted === undefined) this.#note({ aborted: by });
  }

  end(): CallFacts {
    return { ...this.#facts, atMs: this.atMs, totalMs: performance.now() - this.#begunMs, bytesOut: this.bytesOut };
  }

  #note(facts: Partial<CallFacts>): void {
    this.#facts = { ...this.#facts, ...facts };
    if (this.#onServerError === undefined || !isServerError(this.#facts)) return;
    this.#onServerError();
    this.#onServerError = undefined;
  }
}
