import { extname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { BreakerMode, BreakerRef, BreakerState } from '../../model/breaker.ts';
import type { CallRecord } from '../../model/call-record.ts';
import { objectKey } from '../../model/names.ts';
import type { Problem } from '../../model/problem.ts';
import type { Proxy } from '../../model/proxy.ts';
import type { Route, RouteTable, Version } from '../../model/route-table.ts';
import type { OnTokensChanged, TokenVerdict, VerifyToken } from '../../model/token.ts';
import { planTransfer } from '../serve-table.ts';
import type { BreakerOrder, IdleConnections, WorkerAnswer, WorkerCalls, WorkerNote, WorkerOrder, WorkerQuestion, WorkerSettings } from '../worker-messages.ts';
import { Counters } from './counters.ts';
import type { EmbeddedStatus } from './counters.ts';

export interface EmbeddedProxyOptions {
  /** Removed from requests before they are forwarded. Default `X-Onehop-Token`. */
  readonly tokenHeader?: string;
  /** Absent: every token is refused. */
  readonly verifyToken?: VerifyToken;
  readonly onTokensChanged?: OnTokensChanged;
  /** Calls for the access log, as the routes' `log` wants them; `lost`: how many more there was no room for. */
  readonly onCalls?: (records: readonly CallRecord[], lost: number) => void;
  /** It stands in for a HAProxy of this uid, which gets all new connections of an IPv4 address from the moment in which it binds it. */
  readonly givesWay?: boolean;
  /** Told when the worker died; it is started again with the last table. */
  readonly onFault?: (error: Error) => void;
}

export interface EmbeddedProxy extends Proxy {
  readonly kind: 'embedded';
  /** Counters, read from shared memory: never waits. */
  status(): EmbeddedStatus;
  /** `idle` connections are ended at once unless given. Asked again while it drains, it may not take longer than said then. */
  close(how: { readonly drainMs: number; readonly leaveRunning?: boolean; readonly idle?: IdleConnections }): Promise<void>;
}

/** `.ts` in a checkout, `.js` when compiled. */
const WORKER_FILE = new URL(`./worker${extname(fileURLToPath(import.meta.url))}`, import.meta.url);
/** A worker that grows beyond it ends and is started again; the agent itself goes on. */
const MAX_HEAP_MB = 512;
/** Between the end of a worker and the start of the next, so that one that cannot live does not use up the machine. */
const RESTART_PAUSE_MS = 100;
const RESTART_PAUSE_MAX_MS = 5_000;

const hasBreaker = ({ breaker }: Version): boolean => (breaker?.threshold ?? 0) > 0;

/** Opens the embedded proxy: its worker thread runs, without listeners until the first `apply`. */
export function openEmbeddedProxy(options: EmbeddedProxyOptions = {}): Promise<EmbeddedProxy> {
  return Promise.resolve(new WorkerProxy(options));
}

/**
 * The agent's side. Invariants: at most one worker lives; an order that a dying worker left unanswered is sent to the next one; a new
 * worker gets the last table first; after `close` none is started.
 */
class WorkerProxy implements EmbeddedProxy {
  readonly kind = 'embedded';
  readonly #options: EmbeddedProxyOptions;
  readonly #counters = new Counters();
  #worker: Worker | undefined;
  #table: RouteTable | undefined;
  /** The routes that the living worker has been sent. */
  #sent: ReadonlyMap<string, Route> = new Map();
  #listeners: ReadonlySet<string> = new Set();
  /** Breakers that are held by hand, by `namespace/route/version`. */
  readonly #modes = new Map<string, BreakerOrder>();
  readonly #waiting = new Map<number, (answer: WorkerAnswer) => void>();
  #nextId = 0;
  /** Counts the changes of keys and codes. */
  #tokenEpoch = 0;
  #restarts = 0;
  #faultsInARow = 0;
  #closed = false;
  #closing: Promise<void> | undefined;
  #restartTimer: NodeJS.Timeout | undefined;

  constructor(options: EmbeddedProxyOptions) {
    this.#options = options;
    options.onTokensChanged?.(() => {
      this.#tokenEpoch++;
      this.#worker?.postMessage({ kind: 'forget' } satisfies WorkerNote);
    });
    this.#start();
  }

  async apply(table: RouteTable): Promise<readonly Problem[]> {
    if (this.#closed) return [];
    this.#table = table;
    this.#forgetModes(table);
    const { problems } = await this.#sendTable(table);
    return problems;
  }

  /** None before the first table, and while no worker lives: what it knew of errors died with it. */
  async breakers(): Promise<readonly BreakerState[]> {
    if (this.#closed || this.#worker === undefined || this.#table === undefined) return [];
    return (await this.#order((id) => ({ kind: 'breakers', id }))).breakers;
  }

  /** What an operator wants outlives the worker, not the version. */
  async setBreaker(ref: BreakerRef, mode: BreakerMode): Promise<void> {
    const set = this.#orderFor(ref, mode);
    if (this.#closed || set === undefined) return;
    const key = `${set.route}/${set.version}`;
    if (mode === 'auto') this.#modes.delete(key);
    else this.#modes.set(key, set);
    if (this.#worker !== undefined) await this.#order((id) => ({ kind: 'breakers', id, set }));
  }

  #orderFor({ namespace, route: name, version: index }: BreakerRef, mode: BreakerMode): BreakerOrder | undefined {
    const route = objectKey({ namespace, name });
    const version = this.#table?.routes.find((each) => objectKey(each) === route)?.versions[index]?.name;
    return version === undefined ? undefined : { route, version, mode };
  }

  #forgetModes(table: RouteTable): void {
    if (this.#modes.size === 0) return;
    const kept = new Set(table.routes.flatMap((route) => route.versions.filter(hasBreaker).map(({ name }) => `${objectKey(route)}/${name}`)));
    for (const key of this.#modes.keys()) if (!kept.has(key)) this.#modes.delete(key);
  }

  listeners(): ReadonlySet<string> {
    return this.#listeners;
  }

  status(): EmbeddedStatus {
    return this.#counters.read(this.#restarts);
  }

  async close({ drainMs, idle = 'end' }: { readonly drainMs: number; readonly idle?: IdleConnections }): Promise<void> {
    if (this.#closing === undefined) return (this.#closing = this.#end(drainMs, idle));
    const ended = new AbortController();
    await Promise.race([this.#closing.finally(() => ended.abort()), sleep(drainMs, undefined, { signal: ended.signal }).catch(() => undefined)]);
    // What it was asked first is answered by its end.
    await this.#worker?.terminate();
    await this.#closing;
  }

  async #end(drainMs: number, idle: IdleConnections): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#restartTimer);
    if (this.#worker !== undefined) await this.#order((id) => ({ kind: 'close', id, drainMs, idle }));
    await this.#worker?.terminate();
    this.#worker = undefined;
    this.#listeners = new Set();
  }

  #start(): void {
    const settings: WorkerSettings = { tokenHeader: this.#options.tokenHeader ?? 'X-Onehop-Token', counters: this.#counters.memory, givesWay: this.#options.givesWay ?? false };
    const worker = new Worker(WORKER_FILE, { workerData: settings, name: 'onehop-embedded', execArgv: [], resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB } });
    worker.on('message', (message: WorkerAnswer | WorkerCalls | WorkerQuestion) => {
      if ('verify' in message) void this.#verify(message, worker);
      else if ('calls' in message) this.#options.onCalls?.(message.calls, message.lost);
      else this.#answered(message);
    });
    let fault: Error | undefined;
    worker.on('error', (error) => {
      fault = error instanceof Error ? error : new Error(String(error));
    });
    worker.on('exit', (code) => this.#ended(fault ?? new Error(`the embedded proxy's worker ended with code ${code}`)));
    this.#worker = worker;
  }

  async #verify({ verify: token, id }: WorkerQuestion, worker: Worker): Promise<void> {
    const epoch = this.#tokenEpoch;
    const { verifyToken } = this.#options;
    const verdict: TokenVerdict = verifyToken === undefined ? { ok: false, why: 'nothing is set up to verify it' } : await verifyToken(token);
    // One that died meanwhile asks no more, and the next one has questions of its own.
    if (this.#worker === worker) this.#worker?.postMessage({ kind: 'verdict', id, verdict, keep: epoch === this.#tokenEpoch } satisfies WorkerNote);
  }

  #ended(fault: Error): void {
    this.#worker = undefined;
    this.#listeners = new Set();
    this.#sent = new Map();
    if (this.#closed) {
      this.#answerAll();
      return;
    }
    this.#options.onFault?.(fault);
    const pauseMs = Math.min(RESTART_PAUSE_MS * 2 ** this.#faultsInARow, RESTART_PAUSE_MAX_MS);
    this.#faultsInARow++;
    this.#restarts++;
    this.#restartTimer = setTimeout(() => this.#restart(), pauseMs);
  }

  #restart(): void {
    this.#start();
    if (this.#table === undefined) return;
    // Orders left unanswered by the last worker wanted this table or an older one: one answer serves them all.
    const unanswered = [...this.#waiting.values()];
    this.#waiting.clear();
    void this.#sendTable(this.#table, [...this.#modes.values()]).then((answer) => {
      for (const answered of unanswered) answered(answer);
    });
  }

  #sendTable(table: RouteTable, modes: readonly BreakerOrder[] = []): Promise<WorkerAnswer> {
    const change = planTransfer(this.#sent, table);
    if (this.#worker !== undefined) this.#sent = new Map(table.routes.map((route) => [objectKey(route), route]));
    return this.#order((id) => ({ kind: 'apply', id, change, modes }));
  }

  /** Without a worker the order waits; the next one is sent the last table. */
  #order(order: (id: number) => WorkerOrder): Promise<WorkerAnswer> {
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker?.postMessage(order(id));
    });
  }

  #answered(answer: WorkerAnswer): void {
    this.#listeners = new Set(answer.listeners);
    this.#faultsInARow = 0;
    this.#waiting.get(answer.id)?.(answer);
    this.#waiting.delete(answer.id);
  }

  #answerAll(): void {
    const answers = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const answered of answers) answered({ id: -1, problems: [], listeners: [], breakers: [] });
  }
}
