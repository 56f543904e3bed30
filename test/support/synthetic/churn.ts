import type { SyntheticCluster, SyntheticObject, SyntheticPod } from './cluster.ts';
import { NODES } from './cluster.ts';

/**
 * What happens to a cluster: a pod comes, goes, or another takes its place, loses or regains readiness; a route's shares move, an ACL gets
 * an entry or loses it.
 */
export type ChangeKind = 'add' | 'remove' | 'replace' | 'unready' | 'ready' | 'share' | 'acl';

export interface Change {
  readonly kind: ChangeKind;
  readonly route: number;
  readonly version: number;
  /** The changed object, as it is from now on. */
  readonly object: SyntheticObject;
  /** The pod that takes traffic from now on, if it may: on the first node it does. */
  readonly appeared?: SyntheticPod;
  /** The address that is nobody's from now on. */
  readonly gone?: string;
}

export interface ChurnOptions {
  readonly seed: number;
  /** How often each kind is tried, in relation to the others. Default: changes of endpoints alone. */
  readonly weights?: Partial<Readonly<Record<ChangeKind, number>>>;
  /** Part of the endpoint changes that befall pods of the first node. */
  readonly local?: number;
}

const ENDPOINT_WEIGHTS: Partial<Readonly<Record<ChangeKind, number>>> = { add: 2, remove: 2, replace: 3, unready: 2, ready: 2 };
/** Pods of one slice: more are not added. */
const MAX_PODS = 12;

/**
 * An endless sequence of changes, the same for the same seed. Every slice has its turn before one has a second, so that two changes
 * of one slice lie far apart. A version never loses its last ready pod.
 */
export function* churn(cluster: SyntheticCluster, { seed, weights = ENDPOINT_WEIGHTS, local = 0.75 }: ChurnOptions): Generator<Change, never> {
  const random = seededRandom(seed);
  const { routes, slices } = cluster.shape;
  const places = Array.from({ length: routes * 2 * slices }, (_, i) => i);
  for (;;) {
    shuffle(places, random);
    for (const place of places) {
      const at = { route: Math.floor(place / slices / 2), version: Math.floor(place / slices) % 2, slice: place % slices };
      const change = drawChange(cluster, at, weights, random() < local, random);
      if (change !== undefined) yield change;
    }
  }
}

interface Place {
  readonly route: number;
  readonly version: number;
  readonly slice: number;
}

/** Draws kinds until one is possible here; undefined: none is. */
function drawChange(cluster: SyntheticCluster, place: Place, weights: NonNullable<ChurnOptions['weights']>, isLocal: boolean, random: () => number): Change | undefined {
  const left = new Map(Object.entries(weights) as [ChangeKind, number][]);
  while (left.size > 0) {
    const kind = draw(left, random);
    const change = kind === 'share' || kind === 'acl' ? changeRoute(cluster, place, kind, random) : changePods(cluster, place, kind, isLocal, random);
    if (change !== undefined) return change;
    left.delete(kind);
  }
  return undefined;
}

function changeRoute(cluster: SyntheticCluster, { route, version }: Place, kind: 'share' | 'acl', random: () => number): Change {
  if (kind === 'share') {
    const first = Math.floor(random() * 101);
    cluster.setShares(route, [first, 100 - first]);
  } else cluster.setDenied(route, cluster.isDenied(route) ? undefined : 'nobody');
  return { kind, route, version, object: cluster.serviceRoute(route) };
}

function changePods(cluster: SyntheticCluster, { route, version, slice }: Place, kind: Exclude<ChangeKind, 'share' | 'acl'>, isLocal: boolean, random: () => number): Change | undefined {
  const pods = cluster.pods(route, version, slice);
  const isHere = ({ node }: SyntheticPod): boolean => (node === 0) === isLocal;
  const pick = (candidates: readonly SyntheticPod[]): SyntheticPod | undefined => candidates[Math.floor(random() * candidates.length)];
  const done = (now: readonly SyntheticPod[], appeared?: SyntheticPod, gone?: string): Change => {
    cluster.setPods(route, version, slice, now);
    const object = cluster.slice(route, version, slice);
    return { kind, route, version, object, ...(appeared === undefined ? {} : { appeared }), ...(gone === undefined ? {} : { gone }) };
  };
  const fresh = (node: number): SyntheticPod => ({ address: cluster.freeAddress(route, version), ready: true, node });
  const isLast = pods.filter(({ ready }) => ready).length <= 1;

  switch (kind) {
    case 'add': {
      if (pods.length >= MAX_PODS) return undefined;
      const pod = fresh(isLocal ? 0 : 1 + Math.floor(random() * (NODES - 1)));
      return done([...pods, pod], pod);
    }
    case 'ready': {
      const old = pick(pods.filter((pod) => !pod.ready && isHere(pod)));
      if (old === undefined) return undefined;
      const pod = { ...old, ready: true };
      return done(pods.map((one) => (one === old ? pod : one)), pod);
    }
    case 'remove':
    case 'unready':
    case 'replace': {
      const old = pick(pods.filter((pod) => pod.ready && isHere(pod)));
      if (old === undefined || (isLast && kind !== 'replace')) return undefined;
      if (kind === 'unready') return done(pods.map((one) => (one === old ? { ...one, ready: false } : one)));
      const others = pods.filter((one) => one !== old);
      if (kind === 'remove') return done(others, undefined, old.address);
      const pod = fresh(old.node);
      return done([...others, pod], pod, old.address);
    }
  }
}

function draw(weights: ReadonlyMap<ChangeKind, number>, random: () => number): ChangeKind {
  let at = random() * [...weights.values()].reduce((sum, weight) => sum + weight, 0);
  for (const [kind, weight] of weights) if ((at -= weight) < 0) return kind;
  return [...weights.keys()].at(-1) ?? 'add';
}

/** Fisher and Yates. */
function shuffle(list: number[], random: () => number): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j] ?? 0, list[i] ?? 0];
  }
}

/** Mulberry32: numbers in [0, 1), the same for the same seed. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
