// Invariants:
// - HAProxy is always brought to the newest table that was applied; its answer is waited for only while nothing stands in for it.
// - At most one embedded proxy stands in; earlier ones only drain. None begins after `keepOut`.
// - Whether one stands in is decided in `#look` alone, one look at a time.
import type { Logger } from '../daemon/io/logger.ts';
import type { BreakerMode, BreakerRef, BreakerState } from '../model/breaker.ts';
import { messageOf } from '../model/coded-error.ts';
import { objectKey } from '../model/names.ts';
import { problem, problemLine, type Problem } from '../model/problem.ts';
import type { Proxy } from '../model/proxy.ts';
import type { RouteTable } from '../model/route-table.ts';
import { StandInJudge, type Seen, type StandInTiming } from './judge-stand-in.ts';

/** A proxy that is opened to stand in and closed when it is over. */
export type Substitute = Pick<Proxy, 'apply' | 'listeners' | 'breakers' | 'setBreaker'> & {
  /** `keep`: connections without a call stay until the answer to their next one. Asked again, it may not take longer than said then. */
  close(how: { readonly drainMs: number; readonly idle?: 'end' | 'keep' }): Promise<void>;
};

export interface StandInParts {
  readonly haproxy: Proxy;
  readonly look: () => Promise<Seen>;
  /** Another supervisor starts HAProxy, from the files that each apply writes; else each apply tries to start it. */
  readonly attach: boolean;
  readonly open: () => Promise<Substitute>;
  /** Why nothing may stand in now, one line; undefined: it may. */
  readonly obstacle: () => Promise<string | undefined>;
  /** What a person can do about a HAProxy that is gone. */
  readonly remedy: string;
  /** It begins (with the reason) or ends (undefined): the table should be applied anew. */
  readonly onChange: (why: string | undefined) => void;
  readonly log: Logger;
  /** How long connections may last that are open when HAProxy is back. */
  readonly drainMs: number;
  readonly timing: StandInTiming;
}

const LOOK_MS = 500;
/** A HAProxy that does not start is tried again after 1, 2, 4, ... s. */
const RETRY_MS = { first: 1_000, most: 30_000 };
/** After a substitute that could open nothing. */
const FAILED_PAUSE_MS = 30_000;
/** More that drain at the same time are cut: each has a thread and its memory. */
const MAX_DRAINING = 2;

/** HAProxy, and another proxy in its place while it is gone and not coming back. */
export class StandIn implements Proxy {
  readonly #parts: StandInParts;
  readonly #judge: StandInJudge;
  #table: RouteTable | undefined;
  #standing: { readonly proxy: Substitute; readonly why: string } | undefined;
  readonly #draining = new Set<Substitute>();
  /** Resolved while one stands in. */
  #began = Promise.withResolvers<void>();
  #bringing: Promise<readonly Problem[]> | undefined;
  /** Ends the wait of the apply that runs, when another table is about to be given. */
  #overtake = new AbortController();
  #haproxyProblems: readonly Problem[] = [];
  #inStepAtMs: number | undefined;
  /** The table is the one that HAProxy was adopted with: it has that or a newer one, in memory and on disk. */
  #adopted = false;
  #retry = { atMs: 0, pauseMs: 0 };
  #failed: { readonly why: string; readonly againAtMs: number } | undefined;
  #obstacle: string | undefined;
  /** What an operator wants of breakers, by `namespace/route/version`; `auto` only while HAProxy has not been told. */
  readonly #modes = new Map<string, { readonly namespace: string; readonly route: string; readonly version: string; readonly mode: BreakerMode; told: boolean }>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #out = false;
  #times = 0;

  constructor(parts: StandInParts) {
    this.#parts = parts;
    this.#judge = new StandInJudge(parts.timing);
  }

  /** The one that serves. */
  get kind(): Proxy['kind'] {
    return this.#standing === undefined ? 'haproxy' : 'embedded';
  }

  /** HAProxy is started by `apply` alone, with the newest table. One that was adopted starts with the files that it had. */
  get holdsRestarts(): boolean {
    return this.#standing !== undefined && !this.#adopted;
  }

  /** How often one has stood in, and how many live: the one that does, and those that drain. */
  status(): { readonly times: number; readonly living: number } {
    return { times: this.#times, living: this.#draining.size + (this.#standing === undefined ? 0 : 1) };
  }

  async apply(table: RouteTable, overtaken?: AbortSignal): Promise<readonly Problem[]> {
    const newer = table !== this.#table;
    this.#table = table;
    this.#adopted = false;
    if (newer) this.#overtake.abort();
    this.#watch();
    const brought = this.#standing === undefined || this.#parts.attach || performance.now() >= this.#retry.atMs ? this.#bring(overtaken) : undefined;
    await Promise.race([brought, this.#began.promise]);
    const standing = this.#standing;
    if (standing === undefined) return [...((await brought) ?? this.#haproxyProblems), ...this.#failedProblem(table)];
    return [this.#notice(table, standing.why), ...(await standing.proxy.apply(table))];
  }

  /**
   * HAProxy was adopted and has `table` or a newer one: it is not brought to it, not even when it was gone and comes back with its own files.
   * What stands in for it meanwhile serves `table`.
   */
  async adopt(table: RouteTable): Promise<readonly Problem[]> {
    this.#table = table;
    this.#adopted = true;
    this.#watch();
    const standing = this.#standing;
    return standing === undefined ? this.#failedProblem(table) : [this.#notice(table, standing.why), ...(await standing.proxy.apply(table))];
  }

  listeners(): ReadonlySet<string> {
    const own = this.#parts.haproxy.listeners();
    return this.#standing === undefined ? own : new Set([...own, ...this.#standing.proxy.listeners()]);
  }

  breakers(): Promise<readonly BreakerState[]> {
    return (this.#standing?.proxy ?? this.#parts.haproxy).breakers();
  }

  async setBreaker(ref: BreakerRef, mode: BreakerMode): Promise<void> {
    const version = this.#routeOf(ref)?.versions[ref.version]?.name;
    const standing = this.#standing;
    await (standing?.proxy ?? this.#parts.haproxy).setBreaker(ref, mode);
    if (version === undefined) return;
    const { namespace, route } = ref;
    const key = `${objectKey({ namespace, name: route })}/${version}`;
    if (mode === 'auto' && standing === undefined) this.#modes.delete(key);
    else this.#modes.set(key, { namespace, route, version, mode, told: standing === undefined });
  }

  /** From now on nothing begins to stand in: the node's agent ends, and so may HAProxy. */
  keepOut(): void {
    this.#out = true;
    clearInterval(this.#timer);
  }

  async close(how: { readonly drainMs: number; readonly leaveRunning: boolean }): Promise<void> {
    this.keepOut();
    await this.#looking;
    const substitutes = [...this.#draining, ...(this.#standing === undefined ? [] : [this.#standing.proxy])];
    this.#standing = undefined;
    // The HAProxy of another generation may serve already: then nobody needs to be hurried.
    const idle = how.leaveRunning ? 'keep' : 'end';
    await Promise.all([this.#parts.haproxy.close(how), ...substitutes.map((one) => one.close({ drainMs: how.drainMs, idle }))]);
  }

  /** One apply of HAProxy at a time, always followed by one for the newest table. Rejects with the reason of `overtaken` alone. */
  #bring(overtaken?: AbortSignal): Promise<readonly Problem[]> {
    this.#bringing ??= this.#bringNewest().finally(() => (this.#bringing = undefined));
    const end = (): void => this.#overtake.abort(overtaken?.reason);
    if (overtaken?.aborted === true) end();
    else overtaken?.addEventListener('abort', end, { once: true });
    return this.#bringing;
  }

  async #bringNewest(): Promise<readonly Problem[]> {
    for (;;) {
      const table = this.#table;
      if (table === undefined) return [];
      this.#overtake = new AbortController();
      const problems = await this.#bringHaproxy(table, this.#overtake.signal);
      if (problems === undefined) continue;
      this.#haproxyProblems = problems;
      const pauseMs = Math.min(RETRY_MS.most, Math.max(RETRY_MS.first, this.#retry.pauseMs * 2));
      const failed = nodeProblemOf(problems) !== undefined;
      if (failed) this.#retry = { atMs: performance.now() + pauseMs, pauseMs };
      else this.#inStepAtMs = performance.now();
      if (table === this.#table || (failed && !this.#parts.attach)) return problems;
    }
  }

  /** Undefined: it waited for a reload when a newer table came. @throws the signal's reason when that is yet to come */
  async #bringHaproxy(table: RouteTable, overtaken: AbortSignal): Promise<readonly Problem[] | undefined> {
    try {
      return await this.#parts.haproxy.apply(table, overtaken);
    } catch (error) {
      if (table === this.#table) throw error;
      return undefined;
    }
  }

  #watch(): void {
    if (!this.#out) this.#timer ??= setInterval(() => this.#lookAgain(), LOOK_MS).unref();
  }

  #lookAgain(): void {
    this.#looking ??= this.#look()
      .catch((error: unknown) => this.#parts.log.error({ error: messageOf(error) }, 'HAProxy was looked at in vain'))
      .finally(() => (this.#looking = undefined));
  }

  async #look(): Promise<void> {
    const seen = await this.#parts.look();
    if (this.#out) return;
    const nowMs = performance.now();
    if (this.#adopted && seen === 'serves') this.#inStepAtMs = nowMs;
    const verdict = this.#judge.see({ atMs: nowMs, seen, inStepAtMs: this.#inStepAtMs }, this.#standing !== undefined);
    if (verdict === 'begin') await this.#begin(nowMs);
    else if (verdict === 'end') await this.#end();
    else if (seen === 'serves' && this.#standing === undefined) this.#failed = this.#obstacle = undefined;
    if (this.#standing === undefined || this.#out || this.#adopted) return;
    if (this.#judge.isBehind(this.#inStepAtMs) || (!this.#parts.attach && seen === 'gone' && nowMs >= this.#retry.atMs)) void this.#bring().catch(() => undefined);
  }

  async #begin(nowMs: number): Promise<void> {
    const { log, open, obstacle, onChange } = this.#parts;
    if (this.#table === undefined || (this.#failed !== undefined && nowMs < this.#failed.againAtMs)) return;
    const hindered = await obstacle();
    if (hindered !== undefined && hindered !== this.#obstacle) log.warn(`HAProxy does not serve, and the embedded proxy does not stand in: ${hindered}`);
    this.#obstacle = hindered;
    if (hindered !== undefined || this.#out) return;
    const proxy = await open();
    const table = this.#table;
    const problems = await proxy.apply(table);
    if (this.#out) return proxy.close({ drainMs: 0 });
    if (proxy.listeners().size === 0 && table.routes.length > 0) {
      await proxy.close({ drainMs: 0 });
      const [first] = problems;
      const why = first === undefined ? 'it opened no listener' : first.message;
      if (this.#failed?.why !== why) log.error(`HAProxy does not serve, and the embedded proxy cannot stand in: ${first === undefined ? why : problemLine(first)}`);
      this.#failed = { why, againAtMs: nowMs + FAILED_PAUSE_MS };
      return;
    }
    this.#failed = undefined;
    for (const wanted of this.#modes.values()) if (wanted.mode !== 'auto') await this.#tell(proxy, wanted);
    const why = nodeProblemOf(this.#haproxyProblems)?.message ?? 'nobody answers on its socket';
    this.#standing = { proxy, why };
    this.#times++;
    this.#retry = { atMs: nowMs + RETRY_MS.first, pauseMs: RETRY_MS.first };
    this.#began.resolve();
    log.warn(`HAProxy is gone and not coming back: the embedded proxy stands in (${why})`);
    onChange(why);
  }

  async #end(): Promise<void> {
    const { haproxy, log, onChange, drainMs } = this.#parts;
    const proxy = this.#standing?.proxy;
    if (proxy === undefined) return;
    for (const [key, wanted] of this.#modes) {
      if (!wanted.told) await this.#tell(haproxy, wanted);
      wanted.told = true;
      if (wanted.mode === 'auto') this.#modes.delete(key);
    }
    this.#standing = undefined;
    this.#began = Promise.withResolvers();
    log.info('HAProxy serves again: the embedded proxy takes no new connections and ends with those that it has');
    const [oldest] = this.#draining;
    if (oldest !== undefined && this.#draining.size >= MAX_DRAINING) void oldest.close({ drainMs: 0 });
    this.#draining.add(proxy);
    void proxy.close({ drainMs, idle: 'keep' }).finally(() => this.#draining.delete(proxy));
    onChange(undefined);
  }

  async #tell(proxy: Pick<Proxy, 'setBreaker'>, { namespace, route, version: name, mode }: { readonly namespace: string; readonly route: string; readonly version: string; readonly mode: BreakerMode }): Promise<void> {
    const version = this.#routeOf({ namespace, route })?.versions.findIndex((one) => one.name === name) ?? -1;
    if (version < 0) return;
    await proxy.setBreaker({ namespace, route, version }, mode).catch((error: unknown) => this.#parts.log.warn({ error: messageOf(error) }, 'a breaker that is held by hand is not held by the proxy that takes over'));
  }

  #routeOf({ namespace, route: name }: Pick<BreakerRef, 'namespace' | 'route'>): RouteTable['routes'][number] | undefined {
    const key = objectKey({ namespace, name });
    return this.#table?.routes.find((one) => objectKey(one) === key);
  }

  #notice({ node }: RouteTable, why: string): Problem {
    const message = `the embedded proxy stands in for HAProxy, which is gone: ${why}`;
    return problem({ code: 'standing-in', severity: 'warning', object: { kind: 'Node', name: node }, message, remedy: this.#parts.remedy });
  }

  #failedProblem({ node }: RouteTable): readonly Problem[] {
    if (this.#failed === undefined) return [];
    const message = `the embedded proxy cannot stand in for HAProxy: ${this.#failed.why}`;
    return [problem({ code: 'stand-in-failed', object: { kind: 'Node', name: node }, message, remedy: this.#parts.remedy })];
  }
}

const nodeProblemOf = (problems: readonly Problem[]): Problem | undefined => problems.find(({ object, severity }) => object.kind === 'Node' && severity === 'error');
