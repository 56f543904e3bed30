import { setTimeout as delay } from 'node:timers/promises';
import type { CheckRegexes } from '../../model/proxy.ts';
import type { EndpointSlice, Snapshot } from '../../model/snapshot.ts';
import type { ApiError } from '../api-error.ts';
import { ClusterContent, type Changes } from '../cluster-content.ts';
import { describeTrouble, type Resource } from '../describe-trouble.ts';
import { HostPods } from '../host-pods.ts';
import type { Kind, ParsedObject } from '../parsed-object.ts';
import { allCodes, parsePublishedCodes, type PublishedCodes } from '../published-codes.ts';
import { publishedCodesResource, watchedResources, type WatchedResource } from '../watched-resources.ts';
import type { ApiClient } from './open-api-client.ts';
import { openReflector, type Reflector, type ReflectorMetrics, type ReflectorTiming, type Trouble } from './open-reflector.ts';
import { PodLookup } from './pod-lookup.ts';
import { readRouteSchema } from './read-crd.ts';
import { RegexVerdicts } from './regex-verdicts.ts';

export interface KubernetesSourceOptions {
  /** Closed by whoever opened it, after the source. */
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly globalNamespace: string;
  /** Where the controller publishes the digests of codes. */
  readonly systemNamespace: string;
  /** Asked for each regular expression once. */
  readonly checkRegexes?: CheckRegexes;
  /**
   * Called with each Snapshot that differs from the one before; the first time when every resource was listed. `changedAtMs`: when the
   * oldest of its changes was heard of (`performance.now()`).
   */
  readonly onSnapshot: (snapshot: Snapshot, changedAtMs: number) => void;
  /** Called as long as there is no Snapshot: one line that says why, with the remedy. `refused`: the API server answered and denied. */
  readonly onWaiting?: (why: string, refused: boolean) => void;
  /** Troubles with the API server, each kind once a minute at most; the last state stays in use. */
  readonly onError: (error: Error) => void;
  readonly timing?: Partial<ReflectorTiming>;
}

export interface ResourceStatus extends ReflectorMetrics {
  /** `serviceroutes.paas.io`, `pods`, ... */
  readonly resource: string;
}

export interface KubernetesSource {
  status(): readonly ResourceStatus[];
  /**
   * Up to which resourceVersion ServiceRoutes are known by whoever has this Snapshot. It grows without a new Snapshot: by bookmarks, and by
   * routes that came and went unseen. Addresses of deleted routes wait for nodes to say that they know of the deletion.
   */
  versionOf(snapshot: Snapshot): string | undefined;
  /** No Snapshot is delivered after it was called. */
  close(): Promise<void>;
}

/** How long a Snapshot waits for pods that are read by name: the first one, and any later one. */
const FIRST_LOOKUP_MS = 2_000;
const LOOKUP_MS = 100;
/** The same trouble is told again after this time. */
const REPEAT_MS = 60_000;

/**
 * Opens the objects of a cluster as a source. Resolves at once, whether the API server answers or not.
 * @throws Error only when the CRD of this installation cannot be read
 */
export async function openKubernetesSource(options: KubernetesSourceOptions): Promise<KubernetesSource> {
  const context = { schema: await readRouteSchema(), globalNamespace: options.globalNamespace };
  return new ClusterSource(options, watchedResources(options.nodeName, context));
}

/*
 * Invariants
 * 1. One build runs at a time; changes that come meanwhile lead to another one.
 * 2. No Snapshot before every resource was listed once: what nobody has seen must not be taken for empty.
 * 3. A Snapshot's resourceVersion is never ahead of its ServiceRoutes.
 */
class ClusterSource implements KubernetesSource {
  readonly #options: KubernetesSourceOptions;
  readonly #reflectors: ReadonlyMap<WatchedResource, Reflector<ParsedObject>>;
  readonly #codes: Reflector<PublishedCodes>;
  readonly #regexes: RegexVerdicts;
  readonly #content = new ClusterContent();
  readonly #hostPods = new HostPods();
  readonly #lookup: PodLookup;
  /** Pods of other nodes that were read by name. */
  readonly #looked = new Map<string, ParsedObject>();
  readonly #pending = new Map<Kind, Map<string, ParsedObject | undefined>>();
  #codesChanged = false;
  /** Since when something waits for the next build. */
  #changedAtMs: number | undefined;
  readonly #waiting = new Map<Resource, string>();
  readonly #toldAtMs = new Map<string, number>();
  #last: Snapshot | undefined;
  #building: Promise<void> | undefined;
  #closed = false;

  constructor(options: KubernetesSourceOptions, resources: readonly WatchedResource[]) {
    this.#options = options;
    this.#regexes = new RegexVerdicts(options.checkRegexes, options.onError);
    this.#lookup = new PodLookup({
      client: options.client,
      onChange: (changes) => this.#takeLooked(changes),
      onTrouble: (error) => void this.#tell({ name: 'pods', path: '/api/v1/pods' }, 'get', error),
    });
    this.#reflectors = new Map(resources.map((resource) => [resource, this.#open(resource)]));
    this.#codes = this.#openCodes();
  }

  status(): readonly ResourceStatus[] {
    return [...[...this.#reflectors].map(([{ name }, reflector]) => ({ resource: name, ...reflector.metrics() })), { resource: 'token-codes', ...this.#codes.metrics() }];
  }

  versionOf(snapshot: Snapshot): string | undefined {
    if (snapshot !== this.#last || this.#pending.size > 0 || this.#building !== undefined) return snapshot.resourceVersion;
    return this.#routesVersion();
  }

  #routesVersion(): string | undefined {
    for (const [{ kind }, reflector] of this.#reflectors) if (kind === 'ServiceRoute') return reflector.resourceVersion;
    return undefined;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#lookup.close(), this.#codes.close(), ...[...this.#reflectors.values()].map((reflector) => reflector.close())]);
    await this.#building;
  }

  #open(resource: WatchedResource): Reflector<ParsedObject> {
    const { kind, path, fieldSelector, parse } = resource;
    const { client, timing } = this.#options;
    const reflector = openReflector<ParsedObject>({
      client,
      path,
      query: { fieldSelector },
      slim: parse,
      onChange: (dirty, sinceMs) => {
        for (const key of dirty) this.#note(kind, key, reflector.items().get(key) ?? (kind === 'Pod' ? this.#looked.get(key) : undefined));
        this.#waiting.delete(resource);
        this.#schedule(sinceMs);
      },
      onTrouble: (trouble) => this.#wait(resource, trouble),
      ...(timing === undefined ? {} : { timing }),
    });
    return reflector;
  }

  #openCodes(): Reflector<PublishedCodes> {
    const { client, timing, systemNamespace } = this.#options;
    const resource = publishedCodesResource(systemNamespace);
    return openReflector<PublishedCodes>({
      client,
      path: resource.path,
      query: { fieldSelector: resource.fieldSelector },
      slim: parsePublishedCodes,
      onChange: (_, sinceMs) => {
        this.#codesChanged = true;
        this.#waiting.delete(resource);
        this.#schedule(sinceMs);
      },
      onTrouble: (trouble) => this.#wait(resource, trouble),
      ...(timing === undefined ? {} : { timing }),
    });
  }

  /** Tells a trouble, and without a Snapshot yet also that it is what is waited for. */
  #wait(resource: Resource, { error, during }: Trouble): void {
    const line = this.#tell(resource, during, error);
    if (this.#last !== undefined) return;
    this.#waiting.set(resource, line);
    this.#options.onWaiting?.([...new Set(this.#waiting.values())].join(' | '), error.status >= 400 && error.status < 500);
  }

  #note(kind: Kind, key: string, parsed: ParsedObject | undefined): void {
    const changes = this.#pending.get(kind) ?? new Map<string, ParsedObject | undefined>();
    this.#pending.set(kind, changes.set(key, parsed));
  }

  /** The node's own pods are known better by the watch. */
  #takeLooked(changes: ReadonlyMap<string, ParsedObject | undefined>): void {
    for (const [key, pod] of changes) {
      if (pod === undefined) this.#looked.delete(key);
      else this.#looked.set(key, pod);
      if (!this.#isOwnPod(key)) this.#note('Pod', key, pod);
    }
    this.#schedule(performance.now());
  }

  #isOwnPod(key: string): boolean {
    for (const [{ kind }, reflector] of this.#reflectors) if (kind === 'Pod') return reflector.items().has(key);
    return false;
  }

  #schedule(sinceMs: number): void {
    this.#changedAtMs = Math.min(sinceMs, this.#changedAtMs ?? Infinity);
    if (this.#closed || this.#building !== undefined || ![...this.#reflectors.values(), this.#codes].every(({ synced }) => synced)) return;
    this.#building = this.#build();
  }

  async #build(): Promise<void> {
    try {
      while (!this.#closed && (this.#pending.size > 0 || this.#codesChanged || this.#last === undefined)) {
        const sinceMs = this.#changedAtMs;
        this.#changedAtMs = undefined;
        // What was told up to here is in `#pending` or in the content already.
        const resourceVersion = this.#routesVersion() ?? '';
        for (const kind of ['ServiceRoute', 'Service', 'Node'] as const) this.#take(kind);
        await this.#lookUpPods(this.#take('EndpointSlice'));
        this.#take('Pod');
        if (this.#codesChanged) this.#content.setTokenCodes(allCodes(this.#codes.items().values()));
        this.#codesChanged = false;
        const refused = await this.#regexes.ask(this.#content.patterns());
        if (this.#closed) return;
        const changedAtMs = sinceMs ?? this.#changedAtMs ?? performance.now();
        // What came meanwhile is part of this Snapshot, unless it is pending.
        if (this.#pending.size === 0 && !this.#codesChanged) this.#changedAtMs = undefined;
        const snapshot = this.#content.build(refused, resourceVersion);
        if (snapshot === this.#last) continue;
        this.#last = snapshot;
        this.#options.onSnapshot(snapshot, changedAtMs);
      }
    } catch (error) {
      this.#options.onError(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#building = undefined; // no await since the check above: a change cannot fall between them
    }
  }

  #take(kind: Kind): Changes {
    const changes: Changes = this.#pending.get(kind) ?? new Map<string, ParsedObject | undefined>();
    this.#pending.delete(kind);
    this.#content.update(kind, changes);
    return changes;
  }

  /** Asks for the pods behind nodes' addresses, and gives them a moment to come. */
  async #lookUpPods(slices: Changes): Promise<void> {
    this.#hostPods.updateSlices(new Map([...slices].map(([key, parsed]) => [key, parsed?.object as EndpointSlice | undefined])));
    this.#hostPods.updateContext(this.#content.list('Node'), this.#content.list('ServiceRoute'));
    this.#lookup.want(new Map([...this.#hostPods.wanted()].filter(([key]) => !this.#isOwnPod(key))));
    const enough = new AbortController();
    const limitMs = this.#last === undefined ? FIRST_LOOKUP_MS : LOOKUP_MS;
    await Promise.race([this.#lookup.settled(), delay(limitMs, undefined, { signal: enough.signal }).catch(() => undefined)]);
    enough.abort();
  }

  /** Tells a trouble unless the same one was told lately; its line. */
  #tell(resource: Resource, verb: 'list' | 'watch' | 'get', error: ApiError): string {
    const { message, remedy } = describeTrouble(resource, verb, this.#options.client.server, error);
    const line = `${message}; ${remedy}`;
    // A server that is away is one trouble, not one for each resource.
    const kind = `${error.status === 0 ? '' : `${resource.name} ${verb}`} ${error.status} ${error.reason}`;
    if (performance.now() - (this.#toldAtMs.get(kind) ?? -Infinity) > REPEAT_MS) {
      this.#toldAtMs.set(kind, performance.now());
      this.#options.onError(new Error(line));
    }
    return line;
  }
}
