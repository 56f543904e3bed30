import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Change } from '../../synthetic/churn.ts';
import { isHeaderRoute, ownerOf, versionLetter, type SyntheticCluster, type SyntheticPod } from '../../synthetic/cluster.ts';
import type { ToldByServers, ToldToServers } from './pod-servers.ts';

export interface RollingUpdateParts {
  readonly cluster: SyntheticCluster;
  readonly tell: (change: Pick<Change, 'object'>) => void;
  readonly servers: ChildProcess;
  readonly vipOf: (route: number) => string;
  readonly port: number;
  readonly pause: (ms: number) => Promise<void>;
}

export interface RollingUpdateResult {
  readonly calls: number;
  /** Refused, broken, late by 10 s, or answered by a pod of something else. */
  readonly failed: number;
  /** Of each old pod that was called at all: its last call, ms after it stopped being ready; sorted. */
  readonly lastCallsMs: readonly number[];
}

const ROUTES = 5;
const PODS = 10;
const VERSION = 0;
/** One pod after the other, of all routes together. */
const STEP_MS = 100;
const SHUTDOWN_MS = 2_000;
/** Callers of each route: half of them keep their connection. */
const CALLERS = 4;
const CALL_PAUSE_MS = 5;
const CALL_LIMIT_MS = 10_000;

/**
 * Rolls versions of ten pods, all on this node, as a Deployment does: a new pod is ready, an old one stops being so and serves for 2 s more
 * (Kubernetes: EndpointSlices, "ready" is false for a terminating pod). Callers call by the version's header all the time.
 */
export async function rollPods(parts: RollingUpdateParts): Promise<RollingUpdateResult> {
  const { cluster, servers, pause } = parts;
  const routes = Array.from({ length: cluster.shape.routes }, (_, route) => route).filter((route) => isHeaderRoute(cluster.shape, route)).slice(0, ROUTES);
  const set = (route: number, pods: readonly SyntheticPod[]): void => {
    cluster.setPods(route, VERSION, 0, pods);
    parts.tell({ object: cluster.slice(route, VERSION, 0) });
  };
  const send = (told: ToldToServers): void => void servers.send(told);
  const add = (route: number): SyntheticPod => {
    const address = cluster.freeAddress(route, VERSION);
    send({ comes: address });
    return { address, ready: true, node: 0 };
  };
  for (const route of routes) {
    const before = cluster.pods(route, VERSION, 0);
    set(route, Array.from({ length: PODS }, () => add(route)));
    for (const { address } of before) send({ goes: address });
  }
  await pause(SHUTDOWN_MS);

  const callers = routes.flatMap((route) => Array.from({ length: CALLERS }, (_, i) => new Caller(parts, route, i % 2 === 0)));
  await pause(500);
  const old = new Map(routes.map((route) => [route, cluster.pods(route, VERSION, 0)]));
  const ends: Promise<void>[] = [];
  for (let i = 0; i < PODS; i++) {
    for (const route of routes) {
      const one = old.get(route)?.[i];
      if (one === undefined) continue;
      const fresh = add(route);
      const others = cluster.pods(route, VERSION, 0).filter((pod) => pod.address !== one.address);
      const atMs = performance.timeOrigin + performance.now();
      set(route, [...others, fresh, { ...one, ready: false }]);
      send({ goes: one.address, watchedFromMs: atMs });
      ends.push(pause(SHUTDOWN_MS).then(() => set(route, cluster.pods(route, VERSION, 0).filter((pod) => pod.address !== one.address))));
      await pause(STEP_MS);
    }
  }
  await Promise.all(ends);
  const counts = await Promise.all(callers.map((caller) => caller.end()));
  send('count');
  const [{ lastCallsMs }] = (await once(servers, 'message')) as [ToldByServers];
  return {
    calls: counts.reduce((sum, { calls }) => sum + calls, 0),
    failed: counts.reduce((sum, { failed }) => sum + failed, 0),
    lastCallsMs: lastCallsMs.toSorted((a, b) => a - b),
  };
}

/** Calls one version of a route until it is told to end. */
class Caller {
  readonly #parts: RollingUpdateParts;
  readonly #route: number;
  readonly #agent: Agent;
  readonly #running: Promise<void>;
  #ending = false;
  #calls = 0;
  #failed = 0;

  constructor(parts: RollingUpdateParts, route: number, keepAlive: boolean) {
    this.#parts = parts;
    this.#route = route;
    this.#agent = new Agent({ keepAlive });
    this.#running = this.#run();
  }

  async end(): Promise<{ readonly calls: number; readonly failed: number }> {
    this.#ending = true;
    await this.#running;
    this.#agent.destroy();
    return { calls: this.#calls, failed: this.#failed };
  }

  async #run(): Promise<void> {
    while (!this.#ending) {
      const owner = ownerOf(this.#parts.cluster.shape, await this.#call());
      this.#calls++;
      if (owner?.route !== this.#route || owner.version !== VERSION) this.#failed++;
      await delay(CALL_PAUSE_MS);
    }
  }

  /** The address that answered; empty: none did. */
  #call(): Promise<string> {
    return new Promise((resolve) => {
      const options = { host: this.#parts.vipOf(this.#route), port: this.#parts.port, agent: this.#agent, headers: { 'X-Version': versionLetter(VERSION) }, timeout: CALL_LIMIT_MS };
      const request = get(options, (response) => {
        let body = '';
        response.setEncoding('latin1');
        response.on('data', (text: string) => (body += text));
        response.on('end', () => resolve(response.statusCode === 200 ? body : ''));
        response.on('error', () => resolve(''));
      });
      request.on('timeout', () => request.destroy());
      request.on('error', () => resolve(''));
    });
  }
}
