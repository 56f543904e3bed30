import type { Endpoint, Version } from '../../model/route-table.ts';
import { orderServers, serverKey, type ServerOrder } from '../choose-server.ts';

/** A server whose connect failed is passed over for this long while there are others, as HAProxy's `downinter 1s` does. */
const PASS_OVER_MS = 1_000;

interface ServerRecord {
  inFlight: number;
  passOverUntil: number;
}

const IDLE: ServerRecord = { inFlight: 0, passOverUntil: 0 };

/** What the calls of this worker know of the servers: calls in flight, failed connects. Servers without either have no record. */
export class ServerPool {
  readonly #records = new Map<string, ServerRecord>();
  readonly #turns = new WeakMap<Version, number>();

  /** The servers of a version in the order in which this call tries them; to be begun at once, so that the next call sees it. */
  order(version: Version, hashKey: string | undefined): ServerOrder {
    const turn = this.#turns.get(version) ?? 0;
    this.#turns.set(version, turn + 1);
    const now = performance.now();
    const load = (key: string) => {
      const { inFlight, passOverUntil } = this.#records.get(key) ?? IDLE;
      return { inFlight, passedOver: passOverUntil > now };
    };
    return orderServers(version, { load, hashKey, turn, draw: Math.random() });
  }

  /** Counts a call in; the result counts it out (once, however often it is called). */
  begin(server: Endpoint): () => void {
    const key = serverKey(server);
    const record = this.#records.get(key) ?? { ...IDLE };
    this.#records.set(key, record);
    record.inFlight++;
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      record.inFlight--;
      if (record.inFlight === 0 && record.passOverUntil <= performance.now()) this.#records.delete(key);
    };
  }

  connectFailed(server: Endpoint): void {
    const record = this.#records.get(serverKey(server));
    if (record !== undefined) record.passOverUntil = performance.now() + PASS_OVER_MS;
  }

  /** Drops the records of failed connects that are over. */
  prune(): void {
    const now = performance.now();
    for (const [key, record] of this.#records) if (record.inFlight === 0 && record.passOverUntil <= now) this.#records.delete(key);
  }
}
