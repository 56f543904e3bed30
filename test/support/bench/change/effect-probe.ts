import { Agent, get } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Change } from '../../synthetic/churn.ts';
import { versionLetter } from '../../synthetic/cluster.ts';

const PAUSE_MS = 1;
const CALL_LIMIT_MS = 20_000;

/** Calls a route until a new endpoint answers. */
export class EffectProbe {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #port: number;
  readonly #limitMs: number;

  constructor(port: number, limitMs: number) {
    this.#port = port;
    this.#limitMs = limitMs;
  }

  /** Milliseconds from `sinceMs` until the change's endpoint answered; undefined: it did not within the limit. */
  async until(change: Change, vip: string, sinceMs: number, isOvertaken: () => boolean): Promise<number | 'overtaken' | undefined> {
    const address = change.appeared?.address;
    for (;;) {
      if ((await this.#call(vip, versionLetter(change.version))) === address) return performance.now() - sinceMs;
      if (isOvertaken()) return 'overtaken';
      if (performance.now() - sinceMs > this.#limitMs) return undefined;
      await delay(PAUSE_MS);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #call(host: string, version: string): Promise<string> {
    return new Promise((resolve) => {
      const request = get({ host, port: this.#port, agent: this.#agent, headers: { 'X-Version': version }, timeout: CALL_LIMIT_MS }, (response) => {
        let body = '';
        response.setEncoding('latin1');
        response.on('data', (text: string) => (body += text));
        response.on('end', () => resolve(body));
        response.on('error', () => resolve(''));
      });
      request.on('timeout', () => request.destroy());
      request.on('error', () => resolve(''));
    });
  }
}
