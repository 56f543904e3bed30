import { Agent, get } from 'node:http';
import process from 'node:process';
import type { ClusterShape } from '../../synthetic/cluster.ts';
import { isHeaderRoute, ownerOf } from '../../synthetic/cluster.ts';

/** What a load is told: `rate` calls a second in all, evenly over the routes, half on connections that are kept. */
export interface CallLoadOptions {
  readonly shape: Omit<ClusterShape, 'vip'>;
  readonly vips: readonly string[];
  readonly port: number;
  readonly rate: number;
}

export interface CallCounts {
  readonly calls: number;
  readonly failed: number;
  /** Answered by a pod of another route or version than the one asked for. */
  readonly wrong: number;
  /** Of the first few that failed. */
  readonly failures: readonly string[];
  /** Milliseconds from the begin of a call to its whole answer; sorted. */
  readonly latenciesMs: readonly number[];
}

/**
 * Process: `call-load`, told its {@link CallLoadOptions} first, then `'begin'` and `'end'`, which it answers with {@link CallCounts} of the calls
 * that began in between. Calls come at fixed times, whether those before them were answered or not.
 */
const TICK_MS = 5;
const TIMEOUT_MS = 20_000;
const MAX_FAILURES = 10;
const kept = new Agent({ keepAlive: true, maxSockets: Infinity });

class Round {
  readonly #begunMs = performance.now();
  readonly #latencies: number[] = [];
  readonly #failures: string[] = [];
  #calls = 0;
  #failed = 0;
  #wrong = 0;
  #pending = 0;

  /** How many calls are due by now and have not begun. */
  due(rate: number): number {
    return Math.floor(((performance.now() - this.#begunMs) * rate) / 1000) - this.#calls;
  }

  call({ shape, vips, port }: CallLoadOptions, at: number): void {
    const route = at % vips.length;
    // By turns over all routes with either kind of connection: the two counters have no common divisor.
    const isKept = Math.floor(at / vips.length) % 2 === at % 2;
    const version = Math.floor(at / 4) % 2;
    const begunMs = performance.now();
    this.#calls++;
    this.#pending++;
    let isOver = false;
    const over = (failure?: string): void => {
      if (isOver) return;
      isOver = true;
      this.#pending--;
      this.#latencies.push(performance.now() - begunMs);
      if (failure === undefined) return;
      this.#failed++;
      if (this.#failures.length < MAX_FAILURES) this.#failures.push(`route ${route} version ${version}${isKept ? '' : ', own connection'}: ${failure}`);
    };
    const byHeader = isHeaderRoute(shape, route);
    const request = get({ host: vips[route], port, agent: isKept ? kept : false, timeout: TIMEOUT_MS, headers: byHeader ? { 'X-Version': 'ab'[version] } : {} }, (response) => {
      let body = '';
      response.setEncoding('latin1');
      response.on('data', (text: string) => (body += text));
      response.on('end', () => {
        const owner = ownerOf(shape, body);
        if (response.statusCode !== 200) over(`${response.statusCode} ${String(response.headers['x-onehop-reason'] ?? '')}`);
        else {
          if (owner === undefined || owner.route !== route || (byHeader && owner.version !== version)) this.#wrong++;
          over();
        }
      });
      response.on('error', (error) => over(error.message));
    });
    request.on('timeout', () => request.destroy(new Error('no answer in 20 s')));
    request.on('error', (error) => over(error.message));
  }

  get isDone(): boolean {
    return this.#pending === 0;
  }

  counts(): CallCounts {
    return { calls: this.#calls, failed: this.#failed, wrong: this.#wrong, failures: this.#failures, latenciesMs: this.#latencies.toSorted((a, b) => a - b) };
  }
}

let options: CallLoadOptions | undefined;
let round: Round | undefined;
let at = 0;
setInterval(() => {
  if (options === undefined || round === undefined) return;
  for (let due = round.due(options.rate); due > 0; due--) round.call(options, at++);
}, TICK_MS);

process.on('message', (told: CallLoadOptions | 'begin' | 'end') => {
  if (typeof told === 'object') {
    options = told;
    process.send?.('ready');
  } else if (told === 'begin') {
    round = new Round();
  } else {
    const ended = round;
    round = undefined;
    const timer = setInterval(() => {
      if (ended?.isDone !== true) return;
      clearInterval(timer);
      process.send?.(ended.counts());
    }, TICK_MS);
  }
});
process.on('disconnect', () => process.exit());
