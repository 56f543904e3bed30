import { setTimeout as sleep } from 'node:timers/promises';
import type { CallJudge } from './call-judge.ts';
import { Connections, runCall, type CallPlan } from './chaos-client.ts';
import { routeKey, type ChaosCaller, type ChaosRoute } from './chaos-objects.ts';
import type { ChaosWorld } from './chaos-world.ts';
import { expectOutcome } from './expect-outcome.ts';
import { CALLERS, FLEETING_ROUTES, MOVING, STRANGER, type PlannedRoute } from './make-world.ts';
import type { Random } from './random.ts';

export interface LoadOptions {
  readonly callsPerSecond: number;
  readonly workers: number;
  /** Clients that think for seconds between two calls, on kept connections of their own. */
  readonly sleepers: number;
}

/** Old workers wait for connections that are silent, and only so many of them are kept. */
const LONGEST_THINK_MS = 4_000;
const HEADERS = ['v1', 'v2', 'v3', 'v4', 'none', undefined] as const;

/** Keeps calls going over all routes, from all callers, and lets each be judged. */
export class ChaosLoad {
  readonly connections = new Connections();
  readonly #world: ChaosWorld;
  readonly #planned: readonly PlannedRoute[];
  readonly #judge: CallJudge;
  readonly #random: Random;
  readonly #options: LoadOptions;
  #running: Promise<unknown> = Promise.resolve();
  #stopping = new AbortController();
  #slotMs = 0;
  #calls = 0;
  /** Calls from the address that changes hands; none begins while it has nobody. */
  #movingPaused = false;
  #movingInFlight = 0;

  constructor(world: ChaosWorld, planned: readonly PlannedRoute[], judge: CallJudge, random: Random, options: LoadOptions) {
    this.#world = world;
    this.#planned = planned;
    this.#judge = judge;
    this.#random = random;
    this.#options = options;
  }

  start(): void {
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.#running = Promise.all([
      ...Array.from({ length: this.#options.workers }, () => this.#work(signal)),
      ...Array.from({ length: this.#options.sleepers }, (_, i) => this.#sleepAndCall(signal, `sleeper-${i}-`)),
      this.#callAsStranger(signal),
    ]);
    // Told by `stop`.
    this.#running.catch(() => undefined);
  }

  /** Ends when the last call has ended; kept connections are closed then. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.connections.drop();
  }

  /** Lets the address that changes hands be nobody's: its calls have ended and its connections are closed. */
  async silenceMoving(): Promise<void> {
    this.#movingPaused = true;
    while (this.#movingInFlight > 0) await sleep(20);
    this.connections.drop(MOVING.address);
  }

  resumeMoving(): void {
    this.#movingPaused = false;
  }

  async #work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#slot();
      const plan = this.#plan();
      const moves = plan.from === MOVING.address;
      if (moves) this.#movingInFlight++;
      this.#judge.judge(plan, await runCall(plan, this.connections));
      if (moves) this.#movingInFlight--;
    }
  }

  /** A client that is silent for longer than a few changes, then speaks on the connection that it has. */
  async #sleepAndCall(signal: AbortSignal, lane: string): Promise<void> {
    while (!signal.aborted) {
      const route = this.#random.pick(this.#planned.filter(({ route, sort }) => route.protocol === 'http' && sort !== 'firm'));
      const caller = this.#callerOf(route.route, 0);
      for (let calls = this.#random.whole(2, 4); calls > 0 && !signal.aborted; calls--) {
        const plan = this.#callPlan('sleeper', this.#latest(route.route), caller, { global: false, keepAlive: true, post: route.sort === 'calm' && this.#random.chance(0.3) });
        this.#judge.judge(plan, await runCall(plan, this.connections, lane));
        await sleep(this.#random.whole(500, LONGEST_THINK_MS), undefined, { signal }).catch(() => undefined);
      }
      this.connections.drop(caller.address, lane);
    }
  }

  async #callAsStranger(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { route } = this.#random.pick(this.#planned);
      const plan = this.#callPlan('stranger', this.#latest(route), { address: STRANGER }, { global: false, keepAlive: false, post: false });
      this.#judge.judge(plan, await runCall(plan, this.connections));
      await sleep(this.#random.whole(200, 2_000), undefined, { signal }).catch(() => undefined);
    }
  }

  /** Evenly spaced; what could not be made in time is not made up for. */
  async #slot(): Promise<void> {
    const nowMs = performance.now();
    this.#slotMs = Math.max(this.#slotMs, nowMs - 100) + 1000 / this.#options.callsPerSecond;
    const waitMs = this.#slotMs - nowMs;
    if (waitMs > 1) await sleep(waitMs);
  }

  #plan(): CallPlan {
    const random = this.#random;
    if (random.chance(0.02)) return this.#callPlan('fleeting', random.pick(FLEETING_ROUTES), this.#callerOf(FLEETING_ROUTES[0], 0.1), { global: false, keepAlive: random.chance(0.5), post: false });
    const { route: first, sort } = random.pick(this.#planned);
    const route = this.#latest(first);
    const global = route.globalVip !== undefined && random.chance(0.5);
    const caller = random.chance(0.03) && !this.#movingPaused ? MOVING : this.#callerOf(route, global ? 1 : 0.15);
    return this.#callPlan('', route, caller, { global, keepAlive: random.chance(0.6), post: sort === 'calm' && random.chance(0.3), long: sort === 'calm' });
  }

  /** As the object is now: a route that is edited keeps its addresses. */
  #latest(route: ChaosRoute): ChaosRoute {
    return this.#world.routes.get(routeKey(route)) ?? route;
  }

  /** Mostly of the route's namespace. */
  #callerOf(route: ChaosRoute | undefined, anybody: number): ChaosCaller {
    const own = CALLERS.filter(({ namespace }) => namespace === route?.namespace);
    return this.#random.pick(own.length === 0 || this.#random.chance(anybody) ? CALLERS : own);
  }

  #callPlan(
    kind: string,
    route: ChaosRoute,
    caller: Pick<ChaosCaller, 'address'>,
    how: { readonly global: boolean; readonly keepAlive: boolean; readonly post: boolean; readonly long?: boolean },
  ): CallPlan {
    const random = this.#random;
    const header = route.type === 'Header' || random.chance(0.02) ? random.pick(HEADERS) : undefined;
    const isLong = how.long === true && !how.post && route.protocol === 'http' && random.chance(0.03);
    // Enough that a pod which dies has some of them: only these need more than another connection.
    const isSlow = !isLong && !how.post && route.protocol === 'http' && random.chance(0.15);
    const expected = expectOutcome(route, this.#world.callers.get(caller.address), { global: how.global, header });
    const isRefused = expected.services.length === 0;
    const connection = how.keepAlive ? 'keep-alive' : 'connection per call';
    const usual = route.protocol === 'tcp' ? 'tcp' : how.post ? `POST, ${connection}` : isLong ? 'long answer' : isSlow ? 'slow answer' : route.type === 'Header' ? `by header, ${connection}` : connection;
    return {
      kind: kind !== '' ? kind : isRefused ? `to be refused (${route.protocol})` : usual,
      route: routeKey(route),
      protocol: route.protocol,
      address: how.global && route.globalVip !== undefined ? route.globalVip : route.vip,
      global: how.global,
      from: caller.address,
      method: how.post && route.protocol === 'http' ? 'POST' : 'GET',
      path: `/c/${++this.#calls}`,
      query: isLong ? `?parts=${random.whole(5, 40)}` : isSlow ? `?slow=${random.whole(20, 600)}` : '',
      header,
      keepAlive: how.keepAlive && route.protocol === 'http',
    };
  }
}
