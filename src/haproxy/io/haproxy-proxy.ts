// Invariants:
// - `#exclusive` orders everything that touches the process or its files: apply, restart, close never overlap.
// - `RunningHaproxy` alone knows what runs; here stands what is wanted, and which routes have to be left out of it.
import { setTimeout as sleep } from 'node:timers/promises';
import type { BreakerMode, BreakerRef, BreakerState } from '../../model/breaker.ts';
import { NO_CALLS, type CallCounts } from '../../model/call-counts.ts';
import { messageOf } from '../../model/coded-error.ts';
import { objectKey } from '../../model/names.ts';
import type { Problem } from '../../model/problem.ts';
import type { Proxy } from '../../model/proxy.ts';
import type { RouteTable } from '../../model/route-table.ts';
import { isLateError } from '../breaker-states.ts';
import { logPlace, nodeProblem } from '../describe-refusal.ts';
import { fitListeners } from '../fit-limits.ts';
import { findCulprits } from '../find-culprits.ts';
import type { Culprits } from '../find-culprits.ts';
import { buildLogNames, parseLogLine, type LogNames } from '../parse-log-line.ts';
import { parseStats } from '../parse-stats.ts';
import { countsRefused, REFUSED_TABLE } from '../render-breakers.ts';
import type { ReloadPace } from '../reload-pace.ts';
import { rememberRender } from '../remember-render.ts';
import { renderConfig, type RenderedConfig } from '../render-config.ts';
import type { RenderOptions } from '../render-options.ts';
import { hasFeed } from '../render-log.ts';
import { frontendName } from '../section-names.ts';
import { bisectCulprit } from './bisect-culprit.ts';
import { openConfigCheck } from './check-config.ts';
import type { CheckConfig } from './check-config.ts';
import { askCli } from './cli-socket.ts';
import { openLogFeed, type LogFeed } from './log-feed.ts';
import type { HaproxyEvents, HaproxyStatus } from './haproxy-status.ts';
import type { Master, Sight } from './master.ts';
import { Quarantine } from './quarantine.ts';
import type { RunLock } from './run-lock.ts';
import { RunningHaproxy } from './running-haproxy.ts';
import type { Later, Refused } from './running-haproxy.ts';
import type { TokenDesk } from './token-desk.ts';
import { WorkerBreakers } from './worker-breakers.ts';
import { WorkerWatch } from './worker-watch.ts';

export interface HaproxyProxyParts {
  readonly master: Master;
  readonly binary: string;
  readonly attach: boolean;
  readonly render: RenderOptions;
  readonly lock: RunLock;
  readonly tokens: TokenDesk;
  /** True while another proxy serves in its place: then only `apply` starts it, with what is wanted by then. */
  readonly holdsRestarts?: () => boolean;
  readonly events: HaproxyEvents;
  readonly pace: ReloadPace;
}

const WATCH_MS = 150;
const REPAIR_MS = 60_000;
/** A call in flight may last for hours: its server is asked after more rarely. */
const TIDY_MS = { file: 1_000, servers: 5_000 };

/** Brings the node's HAProxy to a table, and finds the routes that it cannot serve. */
export class HaproxyProxy implements Proxy {
  readonly kind = 'haproxy';
  readonly #parts: HaproxyProxyParts;
  readonly #check: CheckConfig;
  readonly #running: RunningHaproxy;
  readonly #breakers: WorkerBreakers;
  readonly #render: (table: RouteTable) => RenderedConfig;
  /** The table last given, whose names the counters bear. */
  #table: RouteTable | undefined;
  /** Built at the first line after a change. */
  #logNames: LogNames | undefined;
  #unreadable = 0;
  readonly #feed: LogFeed;
  readonly #quarantine = new Quarantine();
  #exclusive: Promise<unknown> = Promise.resolve();
  #busy = 0;
  #closed = false;
  readonly #closing = new AbortController();
  #missed = 0;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #watch: WorkerWatch | undefined;
  #tidying: NodeJS.Timeout | undefined;
  #tidyFault = '';
  readonly #repairing: NodeJS.Timeout;

  constructor(parts: HaproxyProxyParts) {
    this.#parts = parts;
    this.#render = rememberRender(parts.render);
    this.#check = openConfigCheck(parts.binary, parts.render.runDir);
    const { master, attach, render, events, pace } = parts;
    this.#feed = openLogFeed({ socket: master.statsSocket, onLine: (line) => this.#told(line) });
    const onWorker = (): void => parts.tokens.newWorker();
    const carry = new WorkerBreakers({ ask: (command) => askCli(master.statsSocket, command), render });
    this.#breakers = carry;
    this.#repairing = setInterval(() => void this.repair(), REPAIR_MS).unref();
    if (attach) {
      const expected = (): string | undefined => (this.#busy > 0 || this.#running.applied === undefined ? undefined : this.#running.applied.digest);
      const watch = new WorkerWatch({
        look: () => master.look(),
        expected,
        onTrouble: (why) => events.onTrouble(why),
        isKnown: (worker) => this.#running.isKnown(worker),
        onOther: () => void this.#meet(),
      });
      this.#watch = watch;
      this.#running = new RunningHaproxy({ master, attach, render, events, pace, onWorker, carry, check: this.#check, trouble: () => watch.trouble });
    } else {
      this.#timer = setInterval(() => this.#look(), WATCH_MS).unref();
      this.#running = new RunningHaproxy({ master, attach, render, events, pace, onWorker, carry, check: this.#check });
    }
  }

  /** Takes over what runs in the run dir. A worker that is not the one of the files on disk is reloaded by the next apply. */
  adopt(): Promise<void> {
    return this.#running.adopt();
  }

  async apply(table: RouteTable, overtaken?: AbortSignal): Promise<readonly Problem[]> {
    for (;;) {
      const outcome = await this.#alone(() => this.#apply(table));
      this.#tidySoon();
      if (!('dueMs' in outcome)) {
        // Codes that are taken back belong to what is in effect then.
        await this.#parts.tokens.settled();
        return outcome;
      }
      await this.#wait(outcome.dueMs - performance.now(), overtaken);
      if (this.#closed) return [];
    }
  }

  /** @throws the reason of `overtaken` once it is aborted */
  async #wait(ms: number, overtaken?: AbortSignal): Promise<void> {
    overtaken?.throwIfAborted();
    const signals = [this.#closing.signal, ...(overtaken === undefined ? [] : [overtaken])];
    await sleep(Math.max(1, Math.ceil(ms)), undefined, { signal: AbortSignal.any(signals) }).catch(() => undefined);
    overtaken?.throwIfAborted();
  }

  /** Compares what runs with what is applied, and mends it; called each minute. */
  async repair(): Promise<void> {
    try {
      const mended = await this.#alone(() => (this.#closed ? Promise.resolve([]) : this.#running.repair()));
      if (mended.length > 0) this.#parts.events.onFault(`HAProxy did not run what it should; mended: ${mended.slice(0, 5).join(' ')}${mended.length > 5 ? ` and ${mended.length - 5} more` : ''}`);
      this.#tidySoon();
    } catch (error) {
      this.#parts.events.onFault(`what HAProxy runs could not be compared with what it should run: ${messageOf(error)}`);
    }
  }

  /** Attached: the supervisor has started HAProxy again. The files that it loaded may be a second behind what the one before had. */
  async #meet(): Promise<void> {
    await this.#alone(async () => {
      // What is wanted, not what was applied last: that may be older than what it has just loaded.
      if (!this.#closed && this.#table !== undefined && this.#running.applied !== undefined) await this.#apply(this.#table);
    }).catch((error: unknown) => this.#parts.events.onFault(`a HAProxy that was started anew could not be brought in step: ${messageOf(error)}`));
    this.#tidySoon();
  }

  /** Servers change faster than a file of megabytes should be written, and some leave after their last call. */
  #tidySoon(): void {
    const { untidy } = this.#running;
    if (this.#closed || untidy === undefined || this.#tidying !== undefined) return;
    this.#tidying = setTimeout(() => {
      this.#tidying = undefined;
      void this.#alone(() => this.#running.tidy())
        .then(() => (this.#tidyFault = ''))
        .catch((error: unknown) => this.#tellTidyFault(`haproxy.cfg on disk is behind what HAProxy runs: ${messageOf(error)}`))
        .finally(() => this.#tidySoon());
    }, TIDY_MS[untidy]).unref();
  }

  /** Once until it is well again. */
  #tellTidyFault(line: string): void {
    if (this.#tidyFault === '') this.#parts.events.onFault(line);
    this.#tidyFault = line;
  }

  listeners(): ReadonlySet<string> {
    return this.#running.listeners();
  }

  /** Attached: what is seen to be wrong with HAProxy now. */
  get trouble(): string | undefined {
    return this.#watch?.trouble;
  }

  /** What is seen of the worker now. */
  look(): Promise<Sight> {
    return this.#parts.master.look();
  }

  status(): HaproxyStatus {
    return this.#running.status();
  }

  /** What the breakers of all versions that have one do now. @throws Error when no worker answers. */
  breakers(): Promise<readonly BreakerState[]> {
    return this.#breakers.states();
  }

  /** Holds a breaker open or closed, or leaves it to its errors. @throws Error when no worker answers. */
  setBreaker(ref: BreakerRef, mode: BreakerMode): Promise<void> {
    return this.#alone(() => this.#breakers.set(ref, mode));
  }

  /** What the running worker has counted; nothing while none answers. */
  async calls(): Promise<CallCounts> {
    const table = this.#table;
    const { master, render } = this.#parts;
    const ask = (command: string): Promise<string> => askCli(master.statsSocket, command).catch(() => '');
    const answer = table === undefined ? '' : await ask('show stat');
    if (table === undefined || answer === '') return NO_CALLS;
    return parseStats(answer, table, countsRefused(table, render) ? await ask(`show table ${REFUSED_TABLE}`) : '');
  }

  async close(how: { readonly drainMs: number; readonly leaveRunning: boolean }): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#closing.abort();
    clearInterval(this.#timer);
    clearTimeout(this.#tidying);
    clearInterval(this.#repairing);
    this.#watch?.close();
    this.#breakers.close();
    await this.#alone(async () => {
      const { master, attach, lock, tokens } = this.#parts;
      await this.#running.tidy().catch(() => undefined);
      const running = (await master.processes()) ?? this.#running.processes;
      if (!how.leaveRunning && !attach) await master.stop(running?.master, how.drainMs);
      this.#feed.close();
      await tokens.close();
      await lock.release();
    });
  }

  async #alone<T>(task: () => Promise<T>): Promise<T> {
    this.#busy++;
    const turn = this.#exclusive.then(task);
    this.#exclusive = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.#busy--;
    }
  }

  /** Lines about finished calls that were not read in time, or could not be read. */
  lostLines(): number {
    return this.#feed.dropped() + this.#unreadable;
  }

  #told(line: string): void {
    if (this.#table === undefined) return;
    this.#logNames ??= buildLogNames(this.#table);
    const call = parseLogLine(line, this.#logNames);
    if (call === undefined) this.#unreadable++;
    else if (call.record.atMs + call.record.totalMs >= this.#feed.openedAtMs) {
      if (call.version !== undefined && isLateError(call)) this.#breakers.countError(call.version);
      this.#parts.events.onCall(call);
    }
  }

  async #apply(whole: RouteTable): Promise<readonly Problem[] | Later> {
    this.#table = whole;
    this.#logNames = undefined;
    this.#feed.want(whole.routes.some(hasFeed));
    this.#breakers.use(whole);
    const { render, binary, attach } = this.#parts;
    const log = logPlace(render.runDir, attach);
    const { table, problems: leftOut } = fitListeners(whole, render.fileDescriptors);
    const problems = new Map(leftOut.map((one) => [`${one.object.namespace}/${one.object.name}`, one]));
    for (const [key, held] of await this.#quarantine.keep(table.routes)) problems.set(key, held);
    for (;;) {
      const routes = problems.size === 0 ? table.routes : table.routes.filter((route) => !problems.has(objectKey(route)));
      const desired = this.#render({ ...table, routes });
      try {
        const outcome = await this.#running.bringTo(desired, routes);
        if (outcome.ok) return [...problems.values()];
        if ('dueMs' in outcome) {
          await this.#running.bringWhatLives(desired);
          return outcome;
        }
        const culprits = await this.#culprits(outcome, desired, { ...table, routes });
        if (culprits.size === 0) {
          await this.#running.bringWhatLives(desired);
          return [...problems.values(), nodeProblem(table.node, outcome.rejected ? 'config-rejected' : 'haproxy-failed', outcome.messages, log)];
        }
        for (const [key, found] of this.#quarantine.add(culprits, routes)) problems.set(key, found);
      } catch (error) {
        // The binary cannot be run, the disk is full: nothing about any route.
        return [...problems.values(), nodeProblem(table.node, 'haproxy-failed', `${binary}: ${messageOf(error)}`, log)];
      }
    }
  }

  /** Called by the timer: a dead master or worker means that nobody serves. */
  #look(): void {
    if (this.#closed || this.#busy > 0 || this.#running.applied === undefined || this.#parts.holdsRestarts?.() === true) return;
    // Seen twice: while the master re-executes itself its command line is not readable for a moment.
    this.#missed = this.#running.isAlive() ? 0 : this.#missed + 1;
    if (this.#missed < 2) return;
    this.#missed = 0;
    this.#alone(async () => (this.#closed ? undefined : this.#running.restart())).catch((error: unknown) => this.#parts.events.onFault(`HAProxy ended and could not be started again: ${messageOf(error)}`));
  }

  async #culprits(refused: Refused, desired: RenderedConfig, table: RouteTable): Promise<Culprits> {
    const { render } = this.#parts;
    const routes = table.routes.map((route) => ({ key: objectKey(route), stem: frontendName(route) }));
    const named = findCulprits(refused.messages, desired.config, routes);
    if (named.size > 0 || !refused.rejected) return named;
    return bisectCulprit(table, (part) => this.#check(renderConfig(part, render)));
  }
}
