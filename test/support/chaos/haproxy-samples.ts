import { setTimeout as sleep } from 'node:timers/promises';
import type { Generation } from './node-under-test.ts';

const PERIOD_MS = 250;

/** Looks at the HAProxys that serve, again and again: what they count is lost with each worker. */
export class HaproxySamples {
  readonly #retries = new Map<string, number>();
  readonly #reloads = new Map<string, number>();
  serving: readonly Generation[] = [];
  /** A worker seen for the first time, and when its predecessor was seen last. */
  readonly #changes: { readonly afterMs: number; readonly seenMs: number }[] = [];
  readonly #last = new Map<string, { readonly pid: string; readonly atMs: number }>();
  mostOldWorkers = 0;
  #closed = false;
  readonly #running: Promise<void>;

  constructor() {
    this.#running = this.#watch();
  }

  /** Whether another worker may have come to serve between the two, as far as one saw. */
  changedBetween(fromMs: number, toMs: number): boolean {
    return this.#changes.some((change) => change.seenMs >= fromMs && change.afterMs <= toMs);
  }

  /** Retries and redispatches that were seen; the last moments of each worker are missing. */
  get retries(): number {
    return sum(this.#retries);
  }

  get reloads(): number {
    return sum(this.#reloads);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async look(): Promise<void> {
    await Promise.all(this.serving.map((one) => this.#lookAt(one).catch(() => undefined)));
  }

  async #watch(): Promise<void> {
    for (; !this.#closed; await sleep(PERIOD_MS)) await this.look();
  }

  async #lookAt(generation: Generation): Promise<void> {
    const processes = await generation.master('show proc');
    const [, master, reloads] = /^(\d+)\s+master\s+(\d+)/m.exec(processes) ?? [];
    if (master !== undefined) raise(this.#reloads, master, Number(reloads));
    this.mostOldWorkers = Math.max(this.mostOldWorkers, await generation.oldWorkers());
    const pid = /^Pid: (\d+)$/m.exec(await generation.runtime('show info'))?.[1] ?? '';
    this.#notePid(generation.runDir, pid);
    const [head = '', ...rows] = (await generation.runtime('show stat -1 2 -1')).split('\n');
    const columns = head.replace('# ', '').split(',');
    let retries = 0;
    for (const row of rows) {
      const fields = row.split(',');
      retries += Number(fields[columns.indexOf('wretr')] ?? 0) + Number(fields[columns.indexOf('wredis')] ?? 0);
    }
    raise(this.#retries, pid, retries);
  }

  #notePid(runDir: string, pid: string): void {
    const atMs = Date.now();
    const last = this.#last.get(runDir);
    if (last?.pid !== pid) this.#changes.push({ afterMs: last?.atMs ?? 0, seenMs: atMs });
    this.#last.set(runDir, { pid, atMs });
  }
}

const sum = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((total, count) => total + count, 0);

function raise(counts: Map<string, number>, key: string, count: number): void {
  counts.set(key, Math.max(counts.get(key) ?? 0, count));
}
