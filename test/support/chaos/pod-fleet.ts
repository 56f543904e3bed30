import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

const HOST = new URL('pod-host.ts', import.meta.url).pathname;

/** One life of a pod's server. */
interface Life {
  readonly label: string;
  readonly host: string;
  endedMs: number;
}

interface Answer {
  readonly id: number;
  readonly error?: string;
}

/** Processes, each a machine with pods of different versions: killing one is the abrupt death of all of them. Pods are known by address. */
export class PodFleet {
  readonly #hosts = new Map<string, ChildProcess>();
  readonly #lives = new Map<string, Life[]>();
  readonly #addresses = new Map<string, string>();
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #orders = 0;
  #generation = 0;

  async openHost(host: string): Promise<void> {
    const child = fork(HOST, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#hosts.set(host, child);
    child.on('message', (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    await once(child, 'spawn');
  }

  /** Opens a pod; `who` is `namespace/service/pod`, to which the number of this life is added. */
  async openPod(host: string, address: string, who: string): Promise<void> {
    const label = `${who}/${++this.#generation}`;
    this.#addresses.set(label, address);
    // Before it listens: its first answer must not be a surprise.
    const lives = this.#lives.get(address) ?? [];
    this.#lives.set(address, lives);
    lives.push({ label, host, endedMs: Infinity });
    await this.#order(host, { do: 'open', address, label });
  }

  async closePod(address: string, how: 'soft' | 'reset'): Promise<void> {
    const life = this.#lives.get(address)?.at(-1);
    if (life === undefined || life.endedMs !== Infinity) return;
    await this.#order(life.host, { do: 'close', address, how });
    life.endedMs = Date.now();
  }

  /** `kill -9`. */
  async killHost(host: string): Promise<void> {
    const child = this.#hosts.get(host);
    if (child === undefined) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    for (const lives of this.#lives.values()) for (const life of lives) if (life.host === host) life.endedMs = Math.min(life.endedMs, Date.now());
  }

  /** Whether the server with this label lived at this address at some moment after `fromMs`. */
  livedAfter(address: string, label: string, fromMs: number): boolean {
    return this.#lives.get(address)?.some((life) => life.label === label && life.endedMs >= fromMs) ?? false;
  }

  /** Where a label listens or listened. */
  addressOf(label: string): string | undefined {
    return this.#addresses.get(label);
  }

  get pids(): readonly number[] {
    return [...this.#hosts.values()].flatMap(({ pid, exitCode, signalCode }) => (pid === undefined || exitCode !== null || signalCode !== null ? [] : [pid]));
  }

  close(): void {
    for (const child of this.#hosts.values()) child.kill('SIGKILL');
  }

  async #order(host: string, order: { readonly do: 'open' | 'close'; readonly address: string; readonly label?: string; readonly how?: string }): Promise<void> {
    const id = ++this.#orders;
    const answered = new Promise<Answer>((done) => this.#waiting.set(id, done));
    this.#hosts.get(host)?.send({ id, ...order });
    const { error } = await answered;
    if (error !== undefined) throw new Error(`${order.do} ${order.address} on ${host}: ${error}`);
  }
}
