import { byCodeUnit } from '../model/names.ts';
import type { Endpoint, Spill, Tier } from '../model/route-table.ts';
import type { Locality } from '../model/service-route.ts';
import type { EndpointSlice, Node, Pod, ServicePort, SliceEndpoint } from '../model/snapshot.ts';
import type { EndpointGuard } from './endpoint-guard.ts';

/** At most so many servers of a farther tier are rendered per version: enough to spread, few enough for any cluster size. */
export const MAX_FAR_SERVERS = 16;

/**
 * The same for this node's own tier. A kubelet runs 110 pods by default and some hundreds at most: more "local" endpoints than that are
 * a tenant's invention, and each server of HAProxy takes memory and a descriptor from everybody's.
 */
export const MAX_NEAR_SERVERS = 256;

const TIERS: readonly Tier[] = ['node', 'zone', 'any'];

/** Where this node stands, and what it knows of the others. */
export interface NodeView {
  readonly name: string;
  readonly zone?: string;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly podsByKey: ReadonlyMap<string, Pod>;
}

/** Endpoints that the guard refused in one slice: the first address, why, and how many there were. */
export interface RefusedEndpoints {
  readonly slice: EndpointSlice;
  readonly address: string;
  readonly why: string;
  readonly count: number;
}

/** All endpoints of one version, nearest first. A dual-stack Service's IPv6 slices repeat its pods: they count only without IPv4. */
export function listEndpoints(
  slices: readonly EndpointSlice[],
  port: ServicePort,
  view: NodeView,
  guard: EndpointGuard,
): { readonly endpoints: readonly Endpoint[]; readonly refused: readonly RefusedEndpoints[] } {
  const refused: RefusedEndpoints[] = [];
  const found = new Map<string, Endpoint>();
  const usable = slices.some((slice) => slice.addressType === 'IPv4' && slice.endpoints.length > 0) ? 'IPv4' : 'IPv6';
  for (const slice of slices) {
    const number = slice.ports.find((candidate) => (candidate.name ?? '') === (port.name ?? '') && candidate.protocol === 'TCP')?.port;
    if (slice.addressType !== usable || number === undefined) continue;
    let first: { readonly address: string; readonly why: string } | undefined;
    let count = 0;
    for (const endpoint of slice.endpoints) {
      // Kubernetes: all addresses of one endpoint are the same backend, only the first is used.
      const address = endpoint.addresses[0];
      if (address === undefined) continue;
      const why = guard(slice, endpoint, address);
      if (why !== undefined) {
        first ??= { address, why };
        count++;
        continue;
      }
      const seen = buildEndpoint(slice, endpoint, address, number, view);
      const key = `${address} ${number}`;
      const other = found.get(key);
      if (other === undefined || rank(seen) < rank(other)) found.set(key, seen);
    }
    if (first !== undefined) refused.push({ slice, ...first, count });
  }
  const endpoints = [...found.values()].sort(
    (a, b) => TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier) || byCodeUnit(a.address, b.address) || a.port - b.port,
  );
  return { endpoints, refused };
}

function buildEndpoint(slice: EndpointSlice, endpoint: SliceEndpoint, address: string, port: number, view: NodeView): Endpoint {
  // A slice's word for pods of its own namespace only: it must not put another tenant's name on its endpoints.
  const { targetRef: ref } = endpoint;
  const pod = ref?.kind === 'Pod' && ref.namespace === slice.namespace ? `${ref.namespace}/${ref.name}` : undefined;
  const node = endpoint.nodeName ?? (pod === undefined ? undefined : view.podsByKey.get(pod)?.nodeName);
  const zone = endpoint.zone ?? (node === undefined ? undefined : view.nodes.get(node)?.zone);
  return {
    address,
    port,
    tier: node === view.name ? 'node' : zone !== undefined && zone === view.zone ? 'zone' : 'any',
    state: readiness(endpoint),
    ...(pod === undefined ? {} : { pod }),
    ...(node === undefined ? {} : { node }),
  };
}

/** EndpointSlice conditions: a null `ready` means ready, a null `serving` follows `ready`. */
function readiness(endpoint: SliceEndpoint): Endpoint['state'] {
  const ready = endpoint.ready ?? true;
  if (ready) return 'ready';
  return endpoint.terminating === true && endpoint.serving === true ? 'terminating' : 'not-ready';
}

const rank = (endpoint: Endpoint): number => ['ready', 'terminating', 'not-ready'].indexOf(endpoint.state);

/**
 * What takes the traffic, what stands by, and all tiers beyond the first. PreferLocal: the nearest tier with a usable endpoint, then the next one.
 * Local: this node only. Cluster: all tiers at once. Usable: ready; without any ready one in the allowed tiers, terminating ones that still serve.
 */
export function selectServers(
  endpoints: readonly Endpoint[],
  locality: Locality,
  nodeName: string,
): { readonly active: readonly Endpoint[]; readonly backup: readonly Endpoint[]; readonly farther: Spill['tiers'] } {
  const allowed = locality === 'Local' ? endpoints.filter((endpoint) => endpoint.tier === 'node') : endpoints;
  const ready = allowed.filter((endpoint) => endpoint.state === 'ready');
  const usable = ready.length > 0 ? ready : allowed.filter((endpoint) => endpoint.state === 'terminating');
  const tiers = TIERS.map((tier) => pickStable(usable.filter((endpoint) => endpoint.tier === tier), tier, nodeName)).filter((tier) => tier.length > 0);
  if (locality === 'Cluster') return { active: tiers.flat(), backup: [], farther: [] };
  const [active = [], ...farther] = tiers;
  return { active, backup: farther[0] ?? [], farther };
}

/** Rendezvous hashing: each node keeps its own choice while endpoints come and go, and nodes spread over all endpoints. */
function pickStable(endpoints: readonly Endpoint[], tier: Tier, nodeName: string): readonly Endpoint[] {
  const most = tier === 'node' ? MAX_NEAR_SERVERS : MAX_FAR_SERVERS;
  if (endpoints.length <= most) return endpoints;
  const scored = endpoints.map((endpoint) => ({ endpoint, score: mix(`${nodeName}|${endpoint.address}:${endpoint.port}`) }));
  const kept = new Set(scored.sort((a, b) => b.score - a.score || byCodeUnit(a.endpoint.address, b.endpoint.address)).slice(0, most).map((one) => one.endpoint));
  return endpoints.filter((endpoint) => kept.has(endpoint));
}

/** FNV-1a with a final avalanche (murmur3's fmix32): without it close addresses would score in order. */
function mix(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
