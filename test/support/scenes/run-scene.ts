import { once } from 'node:events';
import http from 'node:http';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { basename } from 'node:path';
import type { AgentProcess, RoutesView, ShownProblem } from './agent-process.ts';
import { checkOutcome, sharesOutside } from './check-results.ts';
import { changeWorld, EMPTY_WORLD, expandWorld, listPods } from './expand-world.ts';
import type { ScenePod, World } from './expand-world.ts';
import { makeCall } from './scene-client.ts';
import type { OutgoingCall, Result } from './scene-client.ts';
import { SceneServers } from './scene-servers.ts';
import { TokenMint } from './scene-tokens.ts';
import type { CallPlan, ProblemPlan, Scene, Step, WorldPlan } from './scene.ts';

/** Callers that every scene has. */
const CALLERS: WorldPlan = {
  pods: {
    'a/web': { serviceAccount: 'web' },
    'b/client': { serviceAccount: 'client' },
    'ops/ingress': { serviceAccount: 'ingress' },
  },
};
const AT_ONCE = 8;
/** A file that vanished is believed gone after a moment, and its problems with it. */
const PROBLEMS_MS = 4_000;
/** Calls that each caller makes after a change is in effect, before it stops. */
const CALLS_AFTER = 25;
/** Addresses are used again after so many pods: what a proxy remembers of a failed connect is long over by then. */
const ADDRESSES = { first: 20, last: 239 };

/** Where the pods of a stage live: each stage has a /24 of its own. */
export class Stage {
  readonly agent: AgentProcess;
  readonly mint: TokenMint;
  readonly #prefix: string;
  #next = ADDRESSES.first;
  #markers = 0;

  constructor(agent: AgentProcess, prefix: string, mint = new TokenMint()) {
    this.agent = agent;
    this.mint = mint;
    this.#prefix = prefix;
  }

  nextAddress(): string {
    const address = `${this.#prefix}.${this.#next}`;
    this.#next = this.#next === ADDRESSES.last ? ADDRESSES.first : this.#next + 1;
    return address;
  }

  async bring(objects: readonly unknown[]): Promise<RoutesView> {
    return this.agent.bring(objects, `${this.#prefix}.254`, `step-${++this.#markers}`);
  }
}

/**
 * Plays a scene on a running agent: each step's world, then its calls, DNS names and problems.
 * @returns what is not as described, up to the first step in which anything is; empty: all is well
 */
export async function playScene(scene: Scene, stage: Stage): Promise<readonly string[]> {
  const foreign = await Promise.all(scene.foreign.map(listen));
  const play = new Play(stage);
  try {
    for (const [index, step] of scene.steps.entries()) {
      if (step.foreignEnds) await Promise.all(foreign.map(end));
      const faults = await play.step(step);
      if (faults.length > 0) return [...faults.map((fault) => `step ${index + 1}: ${fault}`), `the agent's log ends with\n${stage.agent.log.slice(-1_500)}`];
    }
    return [];
  } finally {
    await play.close();
    await Promise.all(foreign.map(end));
  }
}

async function end(server: Server): Promise<void> {
  if (!server.listening) return;
  server.close();
  await once(server, 'close');
}

async function listen(at: string): Promise<Server> {
  const colon = at.lastIndexOf(':');
  const server = createServer((socket) => socket.destroy()).listen(Number(at.slice(colon + 1)), at.slice(0, colon));
  await once(server, 'listening');
  return server;
}

class Play {
  readonly #stage: Stage;
  readonly #servers = new SceneServers();
  readonly #addresses = new Map<string, string>();
  readonly #files = new Set<string>();
  readonly #tokens = new Map<string, string>();
  #world: World = changeWorld(EMPTY_WORLD, CALLERS);
  #pods: ReadonlyMap<string, ScenePod> = new Map();
  #view: RoutesView | undefined;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  async step(step: Step): Promise<readonly string[]> {
    this.#world = changeWorld(this.#world, step.change);
    this.#pods = listPods(this.#world, (key) => this.#addressOf(key));
    await this.#servers.open([...this.#pods.values()].filter(({ ports }) => ports.length > 0));
    const faults: string[] = [];

    const held = step.held.map((call) => this.#repeat(call, call.times));
    const during = step.during.map((call) => new Background(() => this.#makeOne(call)));
    await Promise.all(during.map((one) => one.made(AT_ONCE)));
    await this.#writeFiles(step.change.files ?? {});
    this.#view = await this.#stage.bring(expandWorld(this.#world, this.#pods));
    for (const pod of step.stop) this.#servers.stop(this.#podKey(pod));
    for (const [i, one] of during.entries()) {
      await one.made(one.count + CALLS_AFTER);
      const call = step.during[i];
      if (call !== undefined) faults.push(...this.#check(call, await one.end(), () => 0));
    }
    for (const [i, results] of held.entries()) {
      const call = step.held[i];
      if (call !== undefined) faults.push(...this.#check(call, await results, () => 0));
    }

    if (step.together) faults.push(...(await Promise.all(step.calls.map((call) => this.#call(call)))).flat());
    else for (const call of step.calls) faults.push(...(await this.#call(call)));
    for (const [name, wanted] of Object.entries(step.dns)) faults.push(...(await this.#checkName(name, wanted)));
    faults.push(...(await this.#checkProblems(step.problems)));
    return faults;
  }

  async close(): Promise<void> {
    this.#servers.close();
    for (const file of this.#files) await this.#stage.agent.removeFile(file);
  }

  #addressOf(key: string): string {
    const address = this.#addresses.get(key) ?? this.#stage.nextAddress();
    this.#addresses.set(key, address);
    return address;
  }

  async #writeFiles(files: Readonly<Record<string, string | null>>): Promise<void> {
    for (const [name, text] of Object.entries(files)) {
      this.#files.add(name);
      if (text === null) await this.#stage.agent.removeFile(name);
      else await this.#stage.agent.writeFile(name, text);
    }
  }

  /** One line of calls. Shares that miss by chance are drawn once more, with four times the calls; a wrong share misses again. */
  async #call(call: CallPlan): Promise<readonly string[]> {
    const before = new Map([...this.#pods.keys()].map((key) => [key, this.#servers.reached(key)]));
    const results = await this.#repeat(call, call.times);
    const faults = this.#check(call, results, (pod) => this.#servers.reached(pod) - (before.get(pod) ?? 0));
    if (this.#shares(call, results).length === 0) return faults;
    return [...faults, ...this.#shares(call, await this.#repeat(call, call.times * 4))];
  }

  #check(call: CallPlan, results: readonly Result[], reached: (pod: string) => number): readonly string[] {
    return checkOutcome({ call, results, reached, from: this.#source(call.from), podKey: (name) => this.#podKey(name) });
  }

  #shares(call: CallPlan, results: readonly Result[]): readonly string[] {
    return sharesOutside({ call, results, reached: () => 0, from: undefined, podKey: (name) => this.#podKey(name) });
  }

  async #repeat(call: CallPlan, times: number): Promise<readonly Result[]> {
    const target = await this.#target(call.to);
    // Many calls share connections, as clients do: a version is chosen by request, not by connection.
    const agent = times > AT_ONCE ? new http.Agent({ keepAlive: true, maxSockets: AT_ONCE }) : undefined;
    const results: Result[] = [];
    const work = Array.from({ length: Math.min(times, AT_ONCE) }, async () => {
      while (results.length < times) {
        const slot = results.push({ status: 0, headers: {}, trailers: {}, body: '', tookMs: 0, cut: 'not made' }) - 1;
        results[slot] = await makeCall({ ...this.#outgoing(call, target), ...(agent === undefined ? {} : { agent }) });
      }
    });
    await Promise.all(work);
    agent?.destroy();
    return results;
  }

  async #makeOne(call: CallPlan): Promise<Result> {
    return makeCall(this.#outgoing(call, await this.#target(call.to)));
  }

  #outgoing(call: CallPlan, target: { readonly address: string; readonly port: number }): OutgoingCall {
    const { via, method, body } = call;
    const headers = call.headers.map(([name, value]) => [name, this.#stage.mint.fill(value, this.#tokens)] as const);
    return { via, method, headers, ...target, from: this.#source(call.from), ...(body === undefined ? {} : { body }) };
  }

  /** `namespace/pod`, an address, or `host`. */
  #source(from: string): string | undefined {
    if (from === 'host') return undefined;
    if (!from.includes('/')) return from;
    const pod = this.#pods.get(from);
    if (pod === undefined) throw new Error(`the scene has no pod ${from}`);
    return pod.address;
  }

  #podKey(name: string): string {
    const keys = [...this.#pods.keys()].filter((key) => key === name || key.endsWith(`/${name}`));
    if (keys.length !== 1) throw new Error(`the scene has ${keys.length} pods called ${name}`);
    return keys[0] ?? '';
  }

  /** `namespace/route`, `global/route` (`:port` if not its own), or a name that DNS is asked for. */
  async #target(to: string): Promise<{ readonly address: string; readonly port: number }> {
    const [where = '', port] = to.split(':');
    if (!where.includes('/')) return { address: await this.#stage.agent.lookUp(where), port: Number(port ?? 8080) };
    return { address: this.#vip(where), port: Number(port ?? this.#route(where)?.listen ?? 8080) };
  }

  #route(where: string): RoutesView['routes'][number] | undefined {
    const [namespace = '', name = ''] = where.split('/');
    return this.#view?.routes.find((route) => route.name === name && (namespace === 'global' ? route.globalVip !== undefined : route.namespace === namespace));
  }

  #vip(where: string): string {
    const route = this.#route(where);
    const vip = where.startsWith('global/') ? route?.globalVip : route?.vip;
    if (vip === undefined) throw new Error(`/routes shows no address of ${where}`);
    return vip;
  }

  async #checkName(name: string, wanted: string): Promise<readonly string[]> {
    const answer = await this.#stage.agent.lookUp(name);
    const expected = wanted.includes('/') ? this.#vip(wanted) : wanted;
    return answer === expected ? [] : [`DNS answers ${answer} for ${name}, not ${expected}`];
  }

  /** Exactly these problems, each with object and remedy, in `/routes` and counted in `/metrics`. A vanished file is believed after a moment. */
  async #checkProblems(wanted: readonly ProblemPlan[]): Promise<readonly string[]> {
    const { agent } = this.#stage;
    const expected = wanted.map(({ code, severity, object }) => `${code} ${severity} ${object}`).sort();
    const read = async (): Promise<readonly ShownProblem[]> => (await agent.routes()).problems;
    const isThere = (shown: readonly ShownProblem[]): boolean => JSON.stringify(shown.map(line).sort()) === JSON.stringify(expected);
    const ask = async (): Promise<readonly ShownProblem[] | undefined> => {
      const shown = await read();
      return isThere(shown) ? shown : undefined;
    };
    const problems = await agent.eventually('problems', ask, PROBLEMS_MS).catch(read);
    const faults: string[] = isThere(problems) ? [] : [`problems are ${JSON.stringify(problems.map((one) => `${line(one)}: ${one.message}`), undefined, 1)}, not ${JSON.stringify(expected)}`];
    for (const { code, object, says } of wanted) {
      const shown = problems.filter((one) => one.code === code && objectText(one) === object);
      if (shown.some(({ message, remedy }) => message === '' || remedy === '')) faults.push(`${code} has no message or no remedy`);
      if (says !== undefined && !shown.some(({ message, remedy }) => `${message}; ${remedy}`.includes(says))) faults.push(`${code} does not say '${says}': ${JSON.stringify(shown)}`);
    }
    const metrics = wanted.length === 0 ? '' : await agent.get('/metrics');
    for (const { code, severity } of wanted) {
      const count = wanted.filter((one) => one.code === code && one.severity === severity).length;
      if (!metrics.includes(`onehop_problems{code="${code}",severity="${severity}"} ${count}\n`)) faults.push(`/metrics does not show ${count} of ${code}`);
    }
    return faults;
  }
}

/** `ServiceRoute b/web`; a file without its folder. */
function objectText({ object: { kind, namespace, name } }: ShownProblem): string {
  if (kind === 'File') return `File ${basename(name)}`;
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}
const line = (one: ShownProblem): string => `${one.code} ${one.severity} ${objectText(one)}`;

/** Calls one after another in a few lines of work, until it is told to end. */
class Background {
  readonly #results: Result[] = [];
  readonly #work: Promise<void>[];
  readonly #waiting: { readonly count: number; readonly done: () => void }[] = [];
  #ending = false;

  constructor(make: () => Promise<Result>) {
    this.#work = Array.from({ length: 4 }, async () => {
      while (!this.#ending) {
        this.#results.push(await make());
        for (const { count, done } of this.#waiting) if (this.count >= count) done();
      }
    });
  }

  get count(): number {
    return this.#results.length;
  }

  /** Resolves once so many calls are through. */
  made(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ count, done: resolve });
      if (this.count >= count) resolve();
    });
  }

  async end(): Promise<readonly Result[]> {
    this.#ending = true;
    await Promise.all(this.#work);
    return this.#results;
  }
}
