import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../model/coded-error.ts';
import { ApiError } from '../api-error.ts';
import { isRecord, valueAt } from '../field-path.ts';
import { LineSplitter } from '../line-splitter.ts';
import { ObjectStore, type Slim } from '../object-store.ts';
import { parseWatchEvent } from '../parse-watch-event.ts';
import { RetryPlan, type Outcome, type RetryLimits, type Step } from '../plan-retry.ts';
import type { ApiClient, Query } from './open-api-client.ts';

/*
 * Invariants
 * 1. One loop: at any time one list or one watch or one pause. Nothing that it meets ends it, or leaves it, but `close`.
 * 2. What is held is what the server had at one resourceVersion; it is kept while there is no connection, and never goes back in time.
 * 3. `resourceVersion` is never ahead of what `onChange` has told.
 * 4. The first `onChange` comes when the first list is complete, also when it is empty; `synced` is true from then on.
 */

export interface ReflectorOptions<T> {
  readonly client: Pick<ApiClient, 'request' | 'stream' | 'onAnswer'>;
  /** Of the resource, over all namespaces or one: `/api/v1/pods`, `/apis/paas.io/v1/serviceroutes`. */
  readonly path: string;
  /** `fieldSelector`, `labelSelector`. */
  readonly query?: Query;
  /** What is kept of an object; everything else of it is let go at once. */
  readonly slim: Slim<T>;
  /**
   * Keys (`namespace/name`, or `name`) that appeared, changed or went: told after 5 ms, and every 20 ms at most. `sinceMs`: when the first
   * of them was heard of (`performance.now()`).
   */
  readonly onChange: (dirty: ReadonlySet<string>, sinceMs: number) => void;
  /** Each failed attempt, and when the next one is made. What it or `onChange` throws is dropped. */
  readonly onTrouble?: (trouble: Trouble) => void;
  readonly timing?: Partial<ReflectorTiming>;
}

export interface Trouble {
  readonly error: ApiError;
  readonly during: 'list' | 'watch';
  readonly retryInMs: number;
}

/** Every waiting time, for tests that cannot wait. */
export interface ReflectorTiming {
  readonly retry: RetryLimits;
  readonly silenceMs: number;
  /** Between two calls of `onChange`, at least; the first after a rest comes sooner. */
  readonly coalesceMs: number;
  /** `timeoutSeconds` of a watch is drawn from here. */
  readonly watchSeconds: readonly [number, number];
}

export interface ReflectorMetrics {
  readonly synced: boolean;
  /** Objects held. */
  readonly objects: number;
  /** Since the last list, event or bookmark; undefined before the first. */
  readonly lastEventAgeMs: number | undefined;
  /** Lists after the first. */
  readonly relists: number;
  /** Watches after the first. */
  readonly reconnects: number;
}

export interface Reflector<T> {
  /** The living map; it may be ahead of `resourceVersion` by what `onChange` has still to tell. */
  items(): ReadonlyMap<string, T>;
  /** Up to where `onChange` has told everything; undefined before the first list. */
  readonly resourceVersion: string | undefined;
  readonly synced: boolean;
  metrics(): ReflectorMetrics;
  /** Resolves when the loop has ended; nothing is told any more from the call on. */
  close(): Promise<void>;
}

/** Objects per page: 500 of the largest EndpointSlices that Kubernetes itself makes have 17 MB, which the next bound cuts into pages of half. */
const PAGE = 500;
const MAX_PAGE_BYTES = 8 * 1024 * 1024;
/** One object alone: etcd takes 1.5 MB of it, JSON is longer than etcd's form. */
const MAX_OBJECT_BYTES = 16 * 1024 * 1024;
/** A page of this many objects may take so long that the thread's other work waits: slimming pauses after each. */
const SLICE = 100;
/** A watch that lasted this long was worth its connection. */
const WORTH_MS = 10_000;
/** What happens at once comes in several events. */
const GATHER_MS = 5;
/** Bookmarks come about once a minute: a connection without a byte for longer is dead, though no one has said so. */
const TIMING: Omit<ReflectorTiming, 'retry'> = { silenceMs: 90_000, coalesceMs: 20, watchSeconds: [240, 480] };

/**
 * Keeps a copy of one resource of the API server, by LIST and WATCH.
 *
 * Lists are paged and without a resourceVersion: consistent, so that neither a restart nor a relist (perhaps at another API server) goes back
 * in time. `resourceVersion=0` is not used: the server then ignores `limit` and sends everything in one answer, and may answer with a state
 * that is older than what this node has served. From Kubernetes 1.31 on both are served from its watch cache and cost etcd next to nothing;
 * before that, a crowd of agents is slowed by API Priority and Fairness, whose 429 and Retry-After are obeyed.
 */
export function openReflector<T>(options: ReflectorOptions<T>): Reflector<T> {
  return new ListWatch(options);
}

class ListWatch<T> implements Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #timing: Omit<ReflectorTiming, 'retry'>;
  readonly #plan: RetryPlan;
  readonly #store: ObjectStore<T>;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #synced = false;
  /** Up to where the store knows, and up to where it was told. */
  #known: string | undefined;
  #told: string | undefined;
  #dirty = new Set<string>();
  #dirtySinceMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #flushedAtMs = -Infinity;
  #page = PAGE;
  #lastEventMs: number | undefined;
  #lists = 0;
  #watches = 0;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
    this.#plan = new RetryPlan(Math.random, options.timing?.retry);
    this.#store = new ObjectStore(options.slim);
    this.#running = this.#run();
  }

  items(): ReadonlyMap<string, T> {
    return this.#store.values;
  }

  get resourceVersion(): string | undefined {
    return this.#dirty.size === 0 ? this.#known : this.#told;
  }

  get synced(): boolean {
    return this.#synced;
  }

  metrics(): ReflectorMetrics {
    return {
      synced: this.#synced,
      objects: this.#store.values.size,
      lastEventAgeMs: this.#lastEventMs === undefined ? undefined : performance.now() - this.#lastEventMs,
      relists: Math.max(0, this.#lists - 1),
      reconnects: Math.max(0, this.#watches - 1),
    };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let action: 'list' | 'watch' = 'list';
    while (!signal.aborted) {
      const outcome = await (action === 'list' ? this.#list() : this.#watch());
      if (signal.aborted) return;
      const step = this.#plan.after(outcome);
      if ('error' in outcome) this.#tell(() => this.#options.onTrouble?.({ error: outcome.error, during: action, retryInMs: step.delayMs }));
      action = step.action;
      if (step.delayMs > 0) await this.#pause(step);
    }
  }

  /** Over early when the server is seen to answer others. */
  async #pause({ delayMs, returnMs }: Step): Promise<void> {
    const { signal } = this.#closing;
    const answered = new AbortController();
    const untilMs = performance.now() + delayMs;
    const forget = returnMs === undefined ? undefined : this.#options.client.onAnswer(() => answered.abort());
    await delay(delayMs, undefined, { signal: AbortSignal.any([signal, answered.signal]) }).catch(() => undefined);
    forget?.();
    if (answered.signal.aborted) await delay(Math.max(0, Math.min(returnMs ?? 0, untilMs - performance.now())), undefined, { signal }).catch(() => undefined);
  }

  async #list(): Promise<Outcome> {
    this.#lists++;
    try {
      this.#store.beginList();
      let next: string | undefined;
      let resourceVersion: string | undefined;
      do {
        const page = await this.#readPage(next);
        for (const [i, item] of page.items.entries()) {
          if (isRecord(item)) this.#store.list(item);
          if (i % SLICE === SLICE - 1) await delay(0, undefined, { signal: this.#closing.signal });
        }
        ({ next, resourceVersion } = page);
      } while (next !== undefined);
      for (const key of this.#store.endList()) this.#note(key);
      this.#known = resourceVersion;
      this.#lastEventMs = performance.now();
      const first = !this.#synced;
      this.#synced = true;
      if (first) this.#flush();
      else if (this.#dirty.size > 0) this.#flushSoon();
      return { kind: 'listed' };
    } catch (error) {
      return { kind: 'failed', during: 'list', error: asApiError(error), progressed: false };
    }
  }

  /** One page; a page that is too large is asked for again with half as many objects. */
  async #readPage(next: string | undefined): Promise<{ readonly items: readonly unknown[]; readonly next: string | undefined; readonly resourceVersion: string }> {
    const { client, path, query } = this.#options;
    for (;;) {
      try {
        const answer = await client.request('GET', path, {
          query: { ...query, limit: this.#page, continue: next },
          signal: this.#closing.signal,
          maxBytes: this.#page === 1 ? 2 * MAX_OBJECT_BYTES : MAX_PAGE_BYTES,
        });
        const [items, more, resourceVersion] = [valueAt(answer, ['items']), valueAt(answer, ['metadata', 'continue']), valueAt(answer, ['metadata', 'resourceVersion'])];
        if ((items !== null && !Array.isArray(items)) || typeof resourceVersion !== 'string') {
          throw new ApiError({ status: 0, reason: 'Unreadable', message: `GET ${path} did not answer with a list` });
        }
        return { items: items ?? [], next: typeof more === 'string' && more !== '' ? more : undefined, resourceVersion };
      } catch (error) {
        if (!(error instanceof ApiError) || error.reason !== 'TooLarge' || this.#page === 1) throw error;
        this.#page = Math.max(1, Math.floor(this.#page / 2));
      }
    }
  }

  async #watch(): Promise<Outcome> {
    this.#watches++;
    const { client, path, query } = this.#options;
    const { silenceMs, watchSeconds } = this.#timing;
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(), silenceMs);
    const startMs = performance.now();
    let told = false;
    const progressed = (): boolean => told || performance.now() - startMs > WORTH_MS;
    try {
      const [least, most] = watchSeconds;
      const stream = await client.stream(path, {
        query: {
          ...query,
          watch: true,
          allowWatchBookmarks: true,
          resourceVersion: this.#known,
          timeoutSeconds: Math.round(least + Math.random() * (most - least)),
        },
        signal: AbortSignal.any([this.#closing.signal, silence.signal]),
      });
      const lines = new LineSplitter(MAX_OBJECT_BYTES);
      for await (const chunk of stream as AsyncIterable<Uint8Array>) {
        timer.refresh();
        for (const line of lines.push(chunk)) {
          if (line === undefined) return { kind: 'too-long' };
          const bad = this.#take(line);
          if (bad !== undefined) return { kind: 'bad-event', error: bad, progressed: told };
          told = true;
        }
      }
      return { kind: 'ended', progressed: progressed() };
    } catch (error) {
      if (silence.signal.aborted) return { kind: 'ended', progressed: told };
      return { kind: 'failed', during: 'watch', error: asApiError(error), progressed: progressed() };
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  /** Takes one line of the watch; what is wrong with it, if anything. */
  #take(line: string): ApiError | undefined {
    const event = parseWatchEvent(line);
    if (event === undefined) return new ApiError({ status: 0, reason: 'Unreadable', message: `a line of the watch is no event: ${line.slice(0, 80)}` });
    if (event.type === 'error') return event.error;
    const key = event.type === 'changed' ? this.#store.set(event.object) : event.type === 'deleted' ? this.#store.delete(event.object) : undefined;
    if (key !== undefined) this.#note(key);
    this.#known = event.resourceVersion;
    this.#lastEventMs = performance.now();
    if (key !== undefined) this.#flushSoon();
    return undefined;
  }

  /** A key has to be told: from the first one on, what is known runs ahead of what is told. */
  #note(key: string): void {
    if (this.#dirty.size === 0) {
      this.#told = this.#known;
      this.#dirtySinceMs = performance.now();
    }
    this.#dirty.add(key);
  }

  #flushSoon(): void {
    this.#timer ??= setTimeout(() => this.#flush(), Math.max(GATHER_MS, this.#flushedAtMs + this.#timing.coalesceMs - performance.now()));
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#flushedAtMs = performance.now();
    const dirty = this.#dirty;
    this.#dirty = new Set();
    const sinceMs = dirty.size === 0 ? this.#flushedAtMs : this.#dirtySinceMs;
    this.#tell(() => this.#options.onChange(dirty, sinceMs));
  }

  /** Calls a listener; what it throws is its own matter. */
  #tell(call: () => void): void {
    if (this.#closing.signal.aborted) return;
    try {
      call();
    } catch {
      // The reflector goes on: its next change tells the listener again.
    }
  }
}

/** What comes out of a stream that broke is an error of the system. */
const asApiError = (error: unknown): ApiError =>
  error instanceof ApiError ? error : new ApiError({ status: 0, reason: 'Unreachable', message: `the connection was lost: ${messageOf(error)}` }, error);

