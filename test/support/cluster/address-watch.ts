import type { ApiClient } from '../../../src/kube/io/open-api-client.ts';
import { LineSplitter } from '../../../src/kube/line-splitter.ts';
import { parseWatchEvent } from '../../../src/kube/parse-watch-event.ts';
import { valueAt } from '../../../src/kube/field-path.ts';

/**
 * Watches ServiceRoutes and Services event by event, which is the order in which every node sees them, and notes what must never be:
 * one address on two routes, or an address that moves. It survives an API server that goes away.
 */
export class AddressWatch {
  /** How often each access point was made, changed and deleted: `namespace/name` -> events. */
  readonly accessPointEvents = new Map<string, string[]>();
  readonly #client: ApiClient;
  /** What must not be, in words. */
  readonly #faults: string[] = [];
  readonly #closing = new AbortController();
  readonly #running: Promise<unknown>;
  /** Address -> `namespace/name field`. */
  readonly #holders = new Map<string, string>();
  readonly #held = new Map<string, string>();
  readonly #points = new Set<string>();

  constructor(client: ApiClient) {
    this.#client = client;
    this.#running = Promise.all([
      this.#follow('/apis/paas.io/v1/serviceroutes', (object, isDeleted) => this.#noteRoute(object, isDeleted)),
      this.#follow('/api/v1/services', (object, isDeleted) => this.#noteService(object, isDeleted)),
    ]);
  }

  /** Every address that is in a status now, with its holder. */
  get holders(): ReadonlyMap<string, string> {
    return this.#holders;
  }

  /** @throws Error with what was seen that must never be */
  check(): void {
    if (this.#faults.length > 0) throw new Error(this.#faults.join('\n'));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #follow(path: string, note: (object: unknown, isDeleted: boolean) => void): Promise<void> {
    const { signal } = this.#closing;
    let resourceVersion = '';
    while (!signal.aborted) {
      try {
        if (resourceVersion === '') {
          const list = await this.#client.request('GET', path);
          for (const item of (valueAt(list, ['items']) ?? []) as readonly unknown[]) note(item, false);
          resourceVersion = String(valueAt(list, ['metadata', 'resourceVersion']));
        }
        const lines = new LineSplitter(4 * 1024 * 1024);
        for await (const chunk of (await this.#client.stream(path, { signal, query: { watch: true, resourceVersion, timeoutSeconds: 3_000 } })) as AsyncIterable<Uint8Array>) {
          for (const line of lines.push(chunk)) {
            const event = parseWatchEvent(line ?? '');
            if (event?.type === 'error') throw event.error;
            if (event?.type !== 'changed' && event?.type !== 'deleted') continue;
            resourceVersion = event.resourceVersion;
            note(event.object, event.type === 'deleted');
          }
        }
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  #noteRoute(object: unknown, isDeleted: boolean): void {
    const key = `${String(valueAt(object, ['metadata', 'namespace']))}/${String(valueAt(object, ['metadata', 'name']))}`;
    for (const field of ['vip', 'globalVip']) {
      const place = `${key} ${field}`;
      const given = isDeleted ? undefined : valueAt(object, ['status', field]);
      const before = this.#held.get(place);
      if (given === before) continue;
      if (before !== undefined) {
        this.#held.delete(place);
        if (this.#holders.get(before) === place) this.#holders.delete(before);
        if (given !== undefined) this.#faults.push(`${place} moved from ${before} to ${JSON.stringify(given)}`);
      }
      if (typeof given !== 'string') continue;
      const other = this.#holders.get(given);
      if (other !== undefined) this.#faults.push(`${given} is on ${other} and ${place}`);
      this.#holders.set(given, place);
      this.#held.set(place, given);
    }
  }

  #noteService(object: unknown, isDeleted: boolean): void {
    if (valueAt(object, ['metadata', 'labels', 'app.kubernetes.io/managed-by']) !== 'onehop-controller') return;
    const place = `${String(valueAt(object, ['metadata', 'namespace']))}/${String(valueAt(object, ['metadata', 'name']))}`;
    const events = this.accessPointEvents.get(place) ?? [];
    this.accessPointEvents.set(place, events);
    events.push(isDeleted ? 'deleted' : this.#points.has(place) ? 'changed' : 'made');
    if (isDeleted) this.#points.delete(place);
    else this.#points.add(place);
  }
}
