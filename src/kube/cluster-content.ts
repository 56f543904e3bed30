import { byCodeUnit } from '../model/names.ts';
import type { Problem } from '../model/problem.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { TokenCode } from '../model/token.ts';
import { judge, type RefusedRegexes } from './build-snapshot.ts';
import type { Kind, KindTypes, ParsedObject } from './parsed-object.ts';
import { SortedObjects } from './sorted-objects.ts';

/** Objects that changed, by key; undefined: it is gone. */
export type Changes = ReadonlyMap<string, ParsedObject | undefined>;

type Lists = { readonly [K in Kind]: SortedObjects<KindTypes[K]> };

interface JudgedRoute {
  readonly parsed: ParsedObject;
  /** What the proxy said of its regular expressions when it was judged. */
  readonly verdict: string;
}

/**
 * What the API server holds, as it becomes Snapshots: only what changed is touched, lists without a change stay the very same.
 * A ServiceRoute that is invalid stands without its spec (its calls get 503): unlike a file, an object cannot have been written half.
 */
export class ClusterContent {
  readonly #lists: Lists = {
    ServiceRoute: new SortedObjects(),
    Service: new SortedObjects(),
    EndpointSlice: new SortedObjects(),
    Pod: new SortedObjects(),
    Node: new SortedObjects(),
    ServiceAccount: new SortedObjects(),
    Secret: new SortedObjects(),
  };
  /** Routes with regular expressions. */
  readonly #routes = new Map<string, JudgedRoute>();
  /** By kind and key, of objects that have any. */
  readonly #problems = new Map<string, readonly Problem[]>();
  #allProblems: readonly Problem[] | undefined = [];
  /** Both known until a ServiceRoute changes. */
  #patterns: readonly string[] | undefined;
  #judged: RefusedRegexes | undefined;
  #tokenCodes: readonly TokenCode[] = [];
  #snapshot: Snapshot | undefined;

  /** Takes changed objects of one kind. */
  update(kind: Kind, changes: Changes): void {
    if (changes.size === 0) return;
    if (kind === 'ServiceRoute') this.#patterns = this.#judged = undefined;
    const objects = new Map<string, KindTypes[Kind] | undefined>();
    for (const [key, parsed] of changes) {
      objects.set(key, parsed?.object);
      this.#setProblems(kind, key, parsed?.problems ?? []);
      if (kind !== 'ServiceRoute') continue;
      if (parsed?.regexes === undefined || !('regexes' in parsed)) this.#routes.delete(key);
      else this.#routes.set(key, { parsed, verdict: '' });
    }
    this.#update(kind, objects);
  }

  /** Takes all codes as they are now. */
  setTokenCodes(codes: readonly TokenCode[]): void {
    this.#tokenCodes = codes;
  }

  /** The objects of a kind as they stand now, sorted by namespace and name. */
  list<K extends Kind>(kind: K): readonly KindTypes[K][] {
    return this.#lists[kind].list;
  }

  /** Every regular expression in use; the very same list while no ServiceRoute changes. */
  patterns(): readonly string[] {
    return (this.#patterns ??= [...this.#routes.values()].flatMap(({ parsed }) => (parsed.regexes ?? []).map(({ pattern }) => pattern)));
  }

  /** The Snapshot of now; the one before, the very same, when nothing changed but the resourceVersion. */
  build(refused: RefusedRegexes, resourceVersion: string): Snapshot {
    this.#judgeRoutes(refused);
    this.#allProblems ??= [...this.#problems].sort(([a], [b]) => byCodeUnit(a, b)).flatMap(([, problems]) => problems);
    const { ServiceRoute, Service, EndpointSlice, Pod, Node, ServiceAccount } = this.#lists;
    const now = {
      serviceRoutes: ServiceRoute.list,
      services: Service.list,
      endpointSlices: EndpointSlice.list,
      pods: Pod.list,
      nodes: Node.list,
      serviceAccounts: ServiceAccount.list,
      tokenCodes: this.#tokenCodes,
      problems: this.#allProblems,
    };
    const before = this.#snapshot;
    if (before !== undefined && (Object.keys(now) as (keyof typeof now)[]).every((list) => now[list] === before[list])) return before;
    return (this.#snapshot = { ...now, resourceVersion });
  }

  /** Takes the spec from routes whose expressions are refused, and gives it back when they no longer are. */
  #judgeRoutes(refused: RefusedRegexes): void {
    if (refused === this.#judged) return;
    this.#judged = refused;
    const changed = new Map<string, KindTypes[Kind] | undefined>();
    for (const [key, { parsed, verdict: before }] of this.#routes) {
      const verdict = (parsed.regexes ?? []).map(({ pattern }) => refused.get(pattern) ?? '').join('\n').trim();
      if (verdict === before) continue;
      const judged = judge(parsed, refused);
      this.#routes.set(key, { parsed, verdict });
      this.#setProblems('ServiceRoute', key, judged.problems);
      changed.set(key, judged.object);
    }
    if (changed.size > 0) this.#update('ServiceRoute', changed);
  }

  #update(kind: Kind, objects: ReadonlyMap<string, KindTypes[Kind] | undefined>): void {
    // The parser of a kind gives objects of that kind.
    (this.#lists[kind] as SortedObjects<KindTypes[Kind]>).update(objects);
  }

  #setProblems(kind: Kind, key: string, problems: readonly Problem[]): void {
    const id = `${kind} ${key}`;
    if (problems.length === 0) {
      if (this.#problems.delete(id)) this.#allProblems = undefined;
      return;
    }
    this.#problems.set(id, problems);
    this.#allProblems = undefined;
  }
}
