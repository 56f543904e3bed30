import type { AdminResponse } from '../daemon/io/admin-server.ts';
import { sleep } from '../daemon/io/timers.ts';
import type { Logger } from '../daemon/io/logger.ts';
import type { BreakerMode, BreakerState } from '../model/breaker.ts';
import { messageOf } from '../model/coded-error.ts';
import { objectKey } from '../model/names.ts';
import { printable } from '../model/problem.ts';
import type { Proxy } from '../model/proxy.ts';
import type { RouteTable } from '../model/route-table.ts';

/** A proxy that hangs must not keep people from seeing all else. */
const ANSWER_MS = 3_000;
const MODES: readonly BreakerMode[] = ['open', 'close', 'auto'];

/** What is asked by `POST /breaker`: a version by name, as people know it. */
interface BreakerRequest {
  readonly namespace: string;
  readonly route: string;
  readonly version: string;
  readonly mode: BreakerMode;
}

/** The breakers of this node: what they do, and what an operator wants of them. */
export class BreakerControl {
  readonly #proxy: Pick<Proxy, 'breakers' | 'setBreaker'>;
  readonly #table: () => RouteTable | undefined;
  readonly #log: Logger;

  constructor(proxy: Pick<Proxy, 'breakers' | 'setBreaker'>, table: () => RouteTable | undefined, log: Logger) {
    this.#proxy = proxy;
    this.#table = table;
    this.#log = log;
  }

  /** None while the proxy does not say: what is shown besides must not wait for it. */
  async states(): Promise<readonly BreakerState[]> {
    const answered = new AbortController();
    try {
      return await Promise.race([this.#proxy.breakers(), sleep(ANSWER_MS, answered.signal).then(() => [])]);
    } catch (error) {
      this.#log.debug({ error: messageOf(error) }, 'the proxy does not say what its breakers do');
      return [];
    } finally {
      answered.abort();
    }
  }

  /** Serves `POST /breaker` with a BreakerRequest: 200 once the mode is in effect, else 400 or 404 with one line. */
  async answer(body: string): Promise<AdminResponse> {
    const request = parseRequest(body);
    if (request === undefined) return refuse(400, 'give {"namespace", "route", "version", "mode"}, mode one of open, close, auto');
    const { namespace, route, version, mode } = request;
    const key = objectKey({ namespace, name: route });
    const versions = this.#table()?.routes.find((each) => objectKey(each) === key)?.versions;
    if (versions === undefined) return refuse(404, `there is no route ${key}`);
    const index = versions.findIndex(({ name }) => name === version);
    if (index < 0) return refuse(404, `route ${key} has no version ${version}`);
    if ((versions[index]?.breaker?.threshold ?? 0) === 0) return refuse(404, `version ${version} of route ${key} has no breaker (breaker.threshold is 0)`);
    await this.#proxy.setBreaker({ namespace, route, version: index }, mode);
    this.#log.warn({ route: key, version, mode }, mode === 'auto' ? 'a breaker is left to its errors again' : `a breaker is held ${mode === 'open' ? 'open' : 'closed'} by hand`);
    return { contentType: 'application/json', body: `${JSON.stringify({ namespace, route, version, mode })}\n` };
  }
}

const refuse = (status: number, text: string): AdminResponse => ({ status, body: `${printable(text)}\n` });

function parseRequest(body: string): BreakerRequest | undefined {
  try {
    const { namespace, route, version, mode } = JSON.parse(body) as Readonly<Record<string, unknown>>;
    const wanted = MODES.find((each) => each === mode);
    if (typeof namespace !== 'string' || typeof route !== 'string' || typeof version !== 'string' || wanted === undefined) return undefined;
    return { namespace, route, version, mode: wanted };
  } catch {
    return undefined;
  }
}
