import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderCaller, renderMark, renderNode, renderRoute, renderService, renderSlice, routeKey } from './chaos-objects.ts';
import type { ChaosCaller, ChaosPod, ChaosRoute } from './chaos-objects.ts';
import { Timeline } from './timeline.ts';

/** Names of Services that only callers' labels stand behind. */
const CALLER_SERVICE = 'web';
const CALLERS = 'callers';

interface Pending {
  readonly file: string;
  readonly count: number;
  readonly seen: (nowMs: number) => void;
}

/**
 * The objects in the folder, and what they said when. A change is made in memory, then written; its window is open until
 * `sawMarks` is told that every agent has the file.
 */
export class ChaosWorld {
  readonly folder: string;
  readonly routes = new Map<string, ChaosRoute>();
  readonly pods = new Map<string, ChaosPod>();
  readonly callers = new Map<string, ChaosCaller>();
  readonly #routeTimes = new Map<string, Timeline<ChaosRoute | undefined>>();
  readonly #podTimes = new Map<string, Timeline<ChaosPod | undefined>>();
  readonly #callerTimes = new Map<string, Timeline<ChaosCaller | undefined>>();
  readonly #namespaces: readonly string[];
  readonly #marks = new Map<string, number>();
  /** Files whose text is broken now: what is written meanwhile is not taken in. */
  readonly #broken = new Map<string, string>();
  /** Routes whose text is broken now: text of the object. */
  readonly #brokenRoutes = new Map<string, object>();
  #pending: Pending[] = [];
  /** Text that waits until the folder can be written again, by file; undefined: nothing is hidden. */
  #held: Map<string, string | undefined> | undefined;

  constructor(folder: string, namespaces: readonly string[]) {
    this.folder = folder;
    this.#namespaces = namespaces;
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o755);
  }

  /** Writes everything for the first time. */
  writeAll(): void {
    this.#put('nodes', [renderNode('n1', 'z1'), renderNode('n2', 'z1'), renderNode('n3', 'z2')]);
    for (const file of [...this.#namespaces, CALLERS]) this.write(file);
  }

  /** Brings the folder, and the timelines, to what the maps say of these files: namespaces, or `callers`. */
  write(...files: readonly string[]): void {
    for (const file of files) {
      const nowMs = Date.now();
      const count = (this.#marks.get(file) ?? 0) + 1;
      this.#marks.set(file, count);
      const seen = file === CALLERS ? note(this.callers, this.#callerTimes, nowMs, () => true) : this.#noteNamespace(file, nowMs);
      this.#pending.push({ file, count, seen: (seenMs) => seen.forEach((one) => one(seenMs)) });
      const broken = this.#broken.get(file);
      if (broken !== undefined) this.#putText(file, broken);
      else this.#put(file, [...(file === CALLERS ? this.#callerObjects() : this.#namespaceObjects(file)), renderMark(file, count)]);
    }
  }

  /** Lets a file hold this text instead of its objects; undefined: its objects again. */
  breakFile(file: string, text: string | undefined): void {
    if (text === undefined) this.#broken.delete(file);
    else this.#broken.set(file, text);
    this.write(file);
  }

  /** Writes another object in the place of a route's; undefined: the route's own again. What was good of it goes on meanwhile. */
  breakRoute(route: ChaosRoute, object: object | undefined): void {
    if (object === undefined) this.#brokenRoutes.delete(routeKey(route));
    else this.#brokenRoutes.set(routeKey(route), object);
    this.write(route.namespace);
  }

  /** A file of its own beside the others; undefined: removes it. */
  putExtra(name: string, text: string | undefined): void {
    this.#putText(name, text);
  }

  /** Nobody can read the folder, for want of rights or because it is not there; what is written meanwhile waits. */
  hide(how: 'no rights' | 'not there'): void {
    this.#held = new Map();
    if (how === 'no rights') chmodSync(this.folder, 0o000);
    else renameSync(this.folder, `${this.folder}.aside`);
  }

  show(how: 'no rights' | 'not there'): void {
    if (how === 'no rights') chmodSync(this.folder, 0o755);
    else renameSync(`${this.folder}.aside`, this.folder);
    const held = this.#held ?? new Map<string, string | undefined>();
    this.#held = undefined;
    for (const [file, text] of held) this.#putText(file, text);
  }

  /** Marks that an agent must show to have everything that is written. */
  get waitingFor(): readonly { readonly file: string; readonly count: number }[] {
    return this.#pending;
  }

  /** Every agent shows at least these counts. Returns how long the slowest of the changes took that are in effect now. */
  sawMarks(counts: ReadonlyMap<string, number>, nowMs: number): number {
    const done = this.#pending.filter(({ file, count }) => (counts.get(file) ?? 0) >= count);
    this.#pending = this.#pending.filter((one) => !done.includes(one));
    for (const { seen } of done) seen(nowMs);
    return done.length;
  }

  /** The count that stands in a file now. */
  countOf(file: string): number {
    return this.#marks.get(file) ?? 0;
  }

  routesAt(key: string, fromMs: number, toMs: number): readonly (ChaosRoute | undefined)[] {
    return this.#routeTimes.get(key)?.possible(fromMs, toMs) ?? [undefined];
  }

  podsAt(address: string, fromMs: number, toMs: number): readonly (ChaosPod | undefined)[] {
    return this.#podTimes.get(address)?.possible(fromMs, toMs) ?? [undefined];
  }

  callersAt(address: string, fromMs: number, toMs: number): readonly (ChaosCaller | undefined)[] {
    return this.#callerTimes.get(address)?.possible(fromMs, toMs) ?? [undefined];
  }

  podsOf(namespace: string, service: string): readonly ChaosPod[] {
    return [...this.pods.values()].filter((pod) => pod.namespace === namespace && pod.service === service);
  }

  #noteNamespace(namespace: string, nowMs: number): readonly ((seenMs: number) => void)[] {
    return [
      ...note(this.routes, this.#routeTimes, nowMs, (route) => route.namespace === namespace),
      ...note(this.pods, this.#podTimes, nowMs, (pod) => pod.namespace === namespace),
    ];
  }

  #namespaceObjects(namespace: string): readonly object[] {
    const pods = [...this.pods.values()].filter((pod) => pod.namespace === namespace);
    const routes = [...this.routes.values()].filter((route) => route.namespace === namespace);
    const services = new Set([...pods.map(({ service }) => service), ...routes.flatMap(({ to }) => to.map(({ name }) => name))]);
    return [
      ...[...services].flatMap((service) => [renderService(namespace, service), renderSlice(namespace, service, pods.filter((pod) => pod.service === service))]),
      ...routes.map((route) => this.#brokenRoutes.get(routeKey(route)) ?? renderRoute(route)),
    ];
  }

  #callerObjects(): readonly object[] {
    const callers = [...this.callers.values()];
    const selecting = new Set(callers.filter(({ app }) => app !== undefined).map(({ namespace }) => namespace));
    return [...[...selecting].map((namespace) => renderService(namespace, CALLER_SERVICE)), ...callers.map(renderCaller)];
  }

  #put(file: string, objects: readonly object[]): void {
    this.#putText(file, objects.map((object) => `${JSON.stringify(object)}\n`).join('---\n'));
  }

  /** In one step, as kubelet and git do. */
  #putText(file: string, text: string | undefined): void {
    if (this.#held !== undefined) {
      this.#held.set(file, text);
      return;
    }
    const path = join(this.folder, `${file}.yaml`);
    if (text === undefined) return rmSync(path, { force: true });
    const aside = `${this.folder}.${file}.new`;
    writeFileSync(aside, text);
    renameSync(aside, path);
  }
}

/** Notes in the timelines what is not as it was. */
function note<T>(now: ReadonlyMap<string, T>, times: Map<string, Timeline<T | undefined>>, nowMs: number, isHere: (value: T) => boolean): ((seenMs: number) => void)[] {
  const seen: ((seenMs: number) => void)[] = [];
  for (const key of new Set([...times.keys(), ...now.keys()])) {
    const value = now.get(key);
    const time = times.get(key) ?? new Timeline<T | undefined>(undefined);
    if (value === time.latest) continue;
    if (!isHere(value ?? (time.latest as T))) continue;
    times.set(key, time);
    seen.push(time.write(value, nowMs));
  }
  return seen;
}
