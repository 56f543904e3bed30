import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../../src/model/coded-error.ts';
import { eventually } from '../lab/run.ts';
import { CallJudge } from './call-judge.ts';
import { runCall } from './chaos-client.ts';
import { newest, type ChaosContext } from './chaos-context.ts';
import { ChaosLoad } from './chaos-load.ts';
import { routeKey } from './chaos-objects.ts';
import { ChaosWorld } from './chaos-world.ts';
import { EffectWatch } from './effect-watch.ts';
import { EventLog } from './event-log.ts';
import { runFaults, type Schedule } from './fault-schedule.ts';
import { HaproxySamples } from './haproxy-samples.ts';
import { readHoldings, settle, type Holdings } from './leaks.ts';
import { LongConnections, type LongState } from './long-connections.ts';
import { CALLERS, CALM_HOSTS, FIRM_HOST, MOVING, NAMESPACES, planRoutes, PodNames, WILD_HOSTS } from './make-world.ts';
import { hideFolder, killAgent, moveAddress, reloadHaproxy, writeHostile } from './node-faults.ts';
import { Generation } from './node-under-test.ts';
import { killHost, resetPod, restFirmPod, rollPod } from './pod-faults.ts';
import { PodFleet } from './pod-fleet.ts';
import { Random } from './random.ts';
import { breakFile, breakRoute, changeAcl, changeField, changeVersions, moveHeaders, moveSplit, toggleGlobal, toggleRoute } from './route-faults.ts';

export interface ChaosOptions {
  readonly seed: number;
  /** It ends when so many calls were made, or after so long. */
  readonly calls: number;
  readonly seconds: number;
  readonly callsPerSecond: number;
  /** The folder with logs stays. */
  readonly keep: boolean;
}

export interface ChaosResult {
  readonly folder: string;
  readonly seed: number;
  readonly seconds: number;
  readonly load: number;
  readonly judge: CallJudge;
  readonly faults: ReadonlyMap<string, number>;
  readonly reloads: number;
  readonly retries: number;
  readonly mostOldWorkers: number;
  readonly slowestEffectMs: number;
  /** Of the first part: connections that lived through all of it, and how many reloads that were. */
  readonly long: { readonly state: LongState; readonly reloads: number };
  readonly outagesMs: readonly number[];
  readonly handOvers: number;
  /** Problems of the node that no fault explains. */
  readonly troubles: readonly string[];
  readonly leaks: readonly string[];
  /** What could not be done, or ended otherwise than it should. */
  readonly errors: readonly string[];
}

const LONG_CONNECTIONS = 20;
const LEAST_RELOADS = 10;
const LEAST_KILLS = 3;
const LEAST_HAND_OVERS = 2;
const SETTLE_MS = 90_000;
/** After this long a part of the run ends even if it has not seen what it should: the test says so then. */
const PATIENCE = 3;
const LEAST_PATIENCE_MS = 300_000;

const CHURN: Schedule['kinds'] = {
  'pods killed with their host': { draw: killHost, weight: 4 },
  'pod reset': { draw: resetPod, weight: 3 },
  'pod replaced': { draw: rollPod, weight: 4 },
  'pod not ready for a moment': { draw: restFirmPod, weight: 1 },
  'split moved': { draw: moveSplit, weight: 5 },
  'headers moved': { draw: moveHeaders, weight: 3 },
  'ACL changed': { draw: changeAcl, weight: 5 },
  'route edited': { draw: changeField, weight: 2 },
  'version added or removed': { draw: changeVersions, weight: 2 },
  'global name taken or given': { draw: toggleGlobal, weight: 1 },
  'route added or removed': { draw: toggleRoute, weight: 2 },
  'file broken': { draw: breakFile, weight: 2 },
  'route broken': { draw: breakRoute, weight: 2 },
  'hostile file': { draw: writeHostile, weight: 1 },
  'folder unreadable': { draw: hideFolder, weight: 1 },
  'address changes hands': { draw: moveAddress, weight: 2 },
  'agent killed': { draw: killAgent, weight: 1 },
  'HAProxy reloaded by somebody': { draw: reloadHaproxy, weight: 1 },
};

/** The whole run, part by part: an agent with a HAProxy of its own; the same HAProxy killed; generations that hand over. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const root = mkdtempSync(join(tmpdir(), 'oh-chaos-'));
  chmodSync(root, 0o755);
  const run = new ChaosRun(root, options);
  try {
    return await run.play();
  } finally {
    await run.close();
    if (!options.keep) rmSync(root, { recursive: true, force: true });
  }
}

class ChaosRun {
  readonly #root: string;
  readonly #options: ChaosOptions;
  readonly #events: EventLog;
  readonly #context: ChaosContext;
  readonly #samples = new HaproxySamples();
  readonly #generations: Generation[] = [];
  readonly #errors: string[] = [];
  readonly #leaks: string[] = [];
  readonly #startMs = Date.now();
  #handOvers = 0;
  #long: LongConnections | undefined;

  constructor(root: string, options: ChaosOptions) {
    this.#root = root;
    this.#options = options;
    this.#events = new EventLog(join(root, 'events.log'));
    const random = new Random(options.seed);
    const planned = planRoutes();
    const world = new ChaosWorld(join(root, 'objects'), NAMESPACES);
    const fleet = new PodFleet();
    const judge = new CallJudge(world, fleet, this.#events, (fromMs, toMs) => this.#samples.changedBetween(fromMs, toMs));
    const load = new ChaosLoad(world, planned, judge, random.fork(), { callsPerSecond: options.callsPerSecond, workers: 40, sleepers: 10 });
    const effect = new EffectWatch(world, this.#events);
    this.#context = { world, fleet, names: new PodNames(), planned, load, judge, effect, events: this.#events, random, serving: [] };
  }

  async play(): Promise<ChaosResult> {
    const { judge, load, effect } = this.#context;
    await this.#openWorld();
    const long = await this.#churn();
    const outagesMs = await this.#killHaproxys();
    await this.#handOver();
    await load.stop();
    await this.#samples.close();
    return {
      folder: this.#root,
      seed: this.#options.seed,
      seconds: Math.round((Date.now() - this.#startMs) / 1000),
      load: loadavg()[0] ?? 0,
      judge,
      faults: this.#events.counts(),
      reloads: this.#samples.reloads,
      retries: this.#samples.retries,
      mostOldWorkers: this.#samples.mostOldWorkers,
      slowestEffectMs: effect.slowestMs,
      long,
      outagesMs,
      handOvers: this.#handOvers,
      troubles: [...effect.troubles],
      leaks: this.#leaks,
      errors: this.#errors,
    };
  }

  async close(): Promise<void> {
    this.#long?.close();
    const { load, effect, fleet } = this.#context;
    load.connections.drop();
    for (const generation of this.#generations) generation.destroy();
    fleet.close();
    await effect.close();
    await this.#samples.close();
  }

  /** Pods, then objects: no call meets a version without a server. */
  async #openWorld(): Promise<void> {
    const { world, fleet, names, planned } = this.#context;
    const hosts = [...WILD_HOSTS, ...CALM_HOSTS, FIRM_HOST];
    await Promise.all(hosts.map((host) => fleet.openHost(host)));
    let turn = 0;
    for (const { route, sort, far } of planned) {
      const own = sort === 'wild' ? WILD_HOSTS : sort === 'calm' ? CALM_HOSTS : [FIRM_HOST];
      world.routes.set(routeKey(route), route);
      for (const { name } of route.to) {
        const count = sort === 'wild' ? 2 + (turn % 2) : 2;
        turn++;
        for (let i = 0; i < count; i++) {
          const pod = names.make(route.namespace, name, own[(turn + i) % own.length] ?? own[0] ?? '', far && i > 0 ? (i === 1 ? 'n2' : 'n3') : 'n1');
          world.pods.set(pod.address, pod);
        }
      }
    }
    for (const caller of [...CALLERS, MOVING]) world.callers.set(caller.address, caller);
    await Promise.all([...world.pods.values()].map(({ host, address, namespace, service, name }) => fleet.openPod(host, address, `${namespace}/${service}/${name}`)));
    world.writeAll();
  }

  /** Everything but the death of HAProxy, while connections live on. */
  async #churn(): Promise<ChaosResult['long']> {
    const { load, judge } = this.#context;
    const generation = await this.#begin(false);
    const before = await readHoldings(generation);
    const long = await this.#openLong();
    load.start();
    const until = this.#budget(0.6);
    const reloads = async (): Promise<number> => (await generation.reloads()) ?? 0;
    let seen = 0;
    const counting = setInterval(() => void reloads().then((count) => (seen = Math.max(seen, count))), 500);
    await this.#faults({ kinds: CHURN, atOnce: 4, longestPauseMs: 500, isOver: () => (until.isOver() && seen >= LEAST_RELOADS) || until.isLate() });
    clearInterval(counting);
    this.#events.note(`the first part is over: ${judge.calls} calls, ${seen} reloads`);
    await load.stop();
    const { state } = long;
    long.close();
    await this.#findLeaks('after the first part', generation, before);
    return { state, reloads: seen };
  }

  /** HAProxy is killed again and again; what was in flight is counted apart. */
  async #killHaproxys(): Promise<readonly number[]> {
    const { load, random, judge, events, effect } = this.#context;
    const generation = newest(this.#context);
    const { 'split moved': split = { draw: moveSplit, weight: 1 } } = CHURN;
    const until = this.#budget(0.7);
    const before = await readHoldings(generation);
    load.start();
    const long = await this.#openLong();
    let kills = 0;
    const lengths: number[] = [];
    const isOver = (): boolean => (until.isOver() && kills >= LEAST_KILLS) || until.isLate();
    const faults = this.#faults({ kinds: { 'split moved': split }, atOnce: 1, longestPauseMs: 3_000, isOver });
    while (!isOver()) {
      await sleep(random.whole(2_500, 4_000));
      const which = random.pick(['master', 'worker', 'both'] as const);
      const outage = { fromMs: Date.now(), toMs: Infinity };
      judge.outages.push(outage);
      effect.excuse();
      events.add('HAProxy killed', which);
      const killed = generation.killHaproxy(which);
      kills++;
      // A worker serves on for the moment in which it has not noticed that its master is gone.
      await eventually('end of the killed HAProxy', async () => !generation.haproxyPids().some((pid) => killed.includes(pid)));
      outage.toMs = await this.#untilServed();
      lengths.push(outage.toMs - outage.fromMs);
      events.note(`served again after ${outage.toMs - outage.fromMs} ms`);
      await generation.untilReady().catch((error: unknown) => this.#errors.push(messageOf(error)));
      await effect.inEffect();
    }
    await faults;
    await load.stop();
    long.close();
    await this.#findLeaks('after kills of HAProxy', generation, before);
    await this.#end([generation]);
    return lengths;
  }

  /** HAProxy beside the agent, and generations that take each other's place. */
  async #handOver(): Promise<void> {
    const { load, effect, events } = this.#context;
    await this.#begin(true);
    load.start();
    const until = this.#budget(1);
    const isOver = (): boolean => (until.isOver() && this.#handOvers >= LEAST_HAND_OVERS) || until.isLate();
    const { 'pod not ready for a moment': _firm, 'agent killed': agent, ...kinds } = CHURN;
    const faults = this.#faults({ kinds: { ...kinds, ...(agent === undefined ? {} : { 'agent killed': { ...agent, weight: 1 } }), 'generation handed over': { draw: () => ({ locks: ['agent', 'source', 'folder'], run: () => this.#replace() }), weight: 12 } }, atOnce: 3, longestPauseMs: 700, isOver });
    await faults;
    await load.stop();
    events.note('the last part is over');
    await effect.inEffect();
    const last = newest(this.#context);
    await this.#findLeaks('after the hand-overs', last, undefined);
    await this.#end([last]);
  }

  async #replace(): Promise<void> {
    const before = newest(this.#context);
    const next = this.#make(true);
    this.#serve([before, next]);
    await next.start();
    this.#events.note(`generation ${next.runDir} is ready`);
    await this.#context.effect.inEffect();
    await sleep(this.#context.random.whole(0, 2_000));
    this.#events.note(`generation ${before.runDir} is asked to stop`);
    const stopping = before.stop();
    // Its agent is gone before its HAProxy accepts no more: no change is in effect in between.
    await before.untilClosed();
    this.#serve([next]);
    const codes = await stopping;
    if (codes.some((code) => code !== 0)) this.#errors.push(`a generation ended with ${codes.join(' and ')}: ${before.logTail()}`);
    this.#handOvers++;
  }

  async #begin(attached: boolean): Promise<Generation> {
    const generation = this.#make(attached);
    this.#serve([generation]);
    await generation.start();
    await this.#context.effect.inEffect();
    return generation;
  }

  #make(attached: boolean): Generation {
    const generation = new Generation(this.#root, this.#context.world.folder, attached, this.#events);
    this.#generations.push(generation);
    return generation;
  }

  #serve(serving: readonly Generation[]): void {
    this.#context.serving = serving;
    this.#context.effect.agents = serving;
    this.#samples.serving = serving;
  }

  async #openLong(): Promise<LongConnections> {
    const { planned } = this.#context;
    const vipOf = (key: string): string => planned.find(({ route }) => routeKey(route) === key)?.route.vip ?? '';
    this.#long?.close();
    this.#long = new LongConnections(this.#events);
    await this.#long.open(LONG_CONNECTIONS, { address: vipOf('shop/echo'), from: '127.88.98.1' }, { address: vipOf('blog/live'), from: '127.88.98.5' });
    return this.#long;
  }

  async #faults(schedule: Schedule): Promise<void> {
    this.#errors.push(...(await runFaults(this.#context, schedule)));
  }

  /** Until this share of the calls was made, or of the time is over. */
  #budget(share: number): { isOver: () => boolean; isLate: () => boolean } {
    const { judge } = this.#context;
    const { calls, seconds } = this.#options;
    const beganMs = Date.now();
    const leftMs = Math.max(10_000, this.#startMs + share * seconds * 1000 - beganMs);
    return {
      isOver: () => judge.calls >= share * calls || Date.now() >= beganMs + leftMs,
      isLate: () => Date.now() >= beganMs + Math.max(LEAST_PATIENCE_MS, PATIENCE * leftMs),
    };
  }

  /** Asks a route of firm pods, connection by connection. */
  async #untilServed(): Promise<number> {
    const { planned, load } = this.#context;
    const route = planned.find(({ route }) => routeKey(route) === 'blog/live')?.route;
    for (const end = Date.now() + 60_000; Date.now() < end; await sleep(5)) {
      const { label } = await runCall({ kind: 'probe', route: 'blog/live', protocol: 'http', address: route?.vip ?? '', global: false, from: '127.88.98.5', method: 'GET', path: '/c/0', query: '', keepAlive: false }, load.connections);
      if (label !== undefined) return Date.now();
    }
    this.#errors.push('HAProxy did not come back within 60 s');
    return Date.now();
  }

  /** With every call ended and the routes as they were at the beginning. */
  async #findLeaks(when: string, generation: Generation, before: Holdings | undefined): Promise<void> {
    const { world, planned, effect } = this.#context;
    for (const key of world.routes.keys()) world.routes.delete(key);
    for (const { route } of planned) world.routes.set(routeKey(route), route);
    world.write(...NAMESPACES);
    await effect.inEffect();
    const judge = (now: Holdings): readonly string[] => [
      ...(now.haproxyProcesses === 2 ? [] : [`${now.haproxyProcesses} HAProxy processes`]),
      ...(before === undefined || now.agentDescriptors <= before.agentDescriptors + 4 ? [] : [`the agent has ${now.agentDescriptors} descriptors, ${before.agentDescriptors} before`]),
      ...(before === undefined || now.haproxyDescriptors <= before.haproxyDescriptors + 12 ? [] : [`HAProxy has ${now.haproxyDescriptors} descriptors, ${before.haproxyDescriptors} before`]),
      ...Object.entries(now.connections).map(([state, count]) => `${count} connections are ${state}`),
      ...now.strangeServers,
      ...now.straysInMaps.map((file) => `${file} is no map of haproxy.cfg`),
      ...(before === undefined || now.files.join() === before.files.join() ? [] : [`files ${now.files.join(' ')}; before ${before.files.join(' ')}`]),
    ];
    this.#leaks.push(...(await settle(generation, judge, SETTLE_MS)).map((what) => `${when}: ${what}`));
  }

  /** Asks them to stop: nothing of them is left. */
  async #end(generations: readonly Generation[]): Promise<void> {
    for (const generation of generations) {
      const codes = await generation.stop();
      if (codes.some((code) => code !== 0)) this.#errors.push(`ended with ${codes.join(' and ')}: ${generation.logTail()}`);
      const left = generation.haproxyPids();
      if (left.length > 0) this.#leaks.push(`HAProxy runs on after the end: ${left.join(' ')}`);
    }
    this.#serve([]);
  }
}
