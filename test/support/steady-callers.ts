import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** What became of the calls of one phase. */
export interface Tally {
  ok: number;
  /** By what went wrong: an error's code, else the status. */
  readonly failed: Record<string, number>;
}

/** Of a client between two calls: without one, the clients would take most of the processor time themselves. */
const PAUSE_MS = 4;

/** Clients that call one route again and again, until stopped: some on a connection that they keep, some on a new one for each call. */
export class SteadyCallers {
  readonly #to: { readonly host: string; readonly port: number; readonly from: string };
  readonly #phases = new Map<string, Tally>();
  readonly #agents: http.Agent[] = [];
  readonly #clients: Promise<void>[] = [];
  #phase = 'start';
  #stopped = false;

  constructor(to: { readonly host: string; readonly port: number; readonly from: string }, { keepAlive, perCall }: { readonly keepAlive: number; readonly perCall: number }) {
    this.#to = to;
    for (let i = 0; i < keepAlive; i++) this.#clients.push(this.#call(this.#agentOfOne()));
    for (let i = 0; i < perCall; i++) this.#clients.push(this.#call(false));
  }

  /** Calls that begin from now on count for `phase`. */
  phase(phase: string): void {
    this.#phase = phase;
  }

  tally(phase: string): Tally {
    const found = this.#phases.get(phase) ?? { ok: 0, failed: {} };
    this.#phases.set(phase, found);
    return found;
  }

  /** Waits until `calls` more of `phase` were answered. */
  async answered(phase: string, calls: number): Promise<void> {
    const enough = this.tally(phase).ok + calls;
    for (const end = Date.now() + 60_000; this.tally(phase).ok < enough; await sleep(20)) {
      if (Date.now() > end) throw new Error(`${phase}: not ${calls} calls in 60 s: ${JSON.stringify([...this.#phases])}`);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    for (const agent of this.#agents) agent.destroy();
  }

  #agentOfOne(): http.Agent {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1, timeout: 20_000 });
    this.#agents.push(agent);
    return agent;
  }

  async #call(agent: http.Agent | false): Promise<void> {
    while (!this.#stopped) {
      const tally = this.tally(this.#phase);
      const outcome = await this.#one(agent);
      if (outcome === '200') tally.ok++;
      else tally.failed[outcome] = (tally.failed[outcome] ?? 0) + 1;
      // A refused call comes back at once: no need to fill the tally with them.
      await sleep(outcome === 'ECONNREFUSED' ? 20 : PAUSE_MS);
    }
  }

  #one(agent: http.Agent | false): Promise<string> {
    const { host, port, from } = this.#to;
    return new Promise((resolve) => {
      const asked = http.get({ host, port, agent, localAddress: from, timeout: 15_000 }, (response) => {
        response.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
        response.on('end', () => resolve(String(response.statusCode))).resume();
      });
      asked.on('timeout', () => asked.destroy(new Error('timeout')));
      asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
  }
}
