import ipaddr from 'ipaddr.js';
import type { EndpointSlice, Pod, SliceEndpoint, Snapshot } from '../model/snapshot.ts';
import { ipv4ToNumber, poolContains, type VipPool } from '../model/vip-pool.ts';

/** Says why an endpoint must not become a server, or undefined when it may. */
export type EndpointGuard = (slice: EndpointSlice, endpoint: SliceEndpoint, address: string) => string | undefined;

/** IPv4 ranges that only the node itself can reach, or nobody: [first, last, what]. */
const REFUSED_IPV4: readonly (readonly [number, number, string])[] = [
  [ipv4ToNumber('0.0.0.0'), ipv4ToNumber('0.255.255.255'), 'an unspecified address'],
  [ipv4ToNumber('127.0.0.0'), ipv4ToNumber('127.255.255.255'), 'a loopback address'],
  [ipv4ToNumber('169.254.0.0'), ipv4ToNumber('169.254.255.255'), 'a link-local address'],
  [ipv4ToNumber('224.0.0.0'), ipv4ToNumber('255.255.255.255'), 'a multicast or reserved address'],
];

const LOOPBACK_PODS = [ipv4ToNumber('127.88.0.0'), ipv4ToNumber('127.88.255.255')] as const;

/**
 * Builds the guard of one snapshot: a tenant's hand-written slice must not reach what only the node can.
 * A node's address passes when targetRef names a host-network pod of the slice's namespace that has that address, and a gateway's when it
 * names any such pod.
 *
 * A pod of another namespace on this node is refused, too: its NetworkPolicies do not hold for its own node, from where the proxy would
 * call it. Pods of other nodes are not known here; there the caller is a foreign node, as NetworkPolicies see it.
 */
export function buildEndpointGuard(snapshot: Snapshot, pool: VipPool, ownAddresses: readonly string[], podsByKey: ReadonlyMap<string, Pod>): EndpointGuard {
  const clusterIPs = new Set(snapshot.services.flatMap((service) => service.clusterIPs.map(canonical)));
  const apiServer = new Set(
    snapshot.endpointSlices
      .filter((slice) => slice.namespace === 'default' && slice.serviceName === 'kubernetes')
      .flatMap((slice) => slice.endpoints.flatMap((endpoint) => endpoint.addresses.map(canonical))),
  );
  const gateways = new Set(snapshot.nodes.flatMap((node) => node.podGateways));
  const owners = ownersOfAddresses(snapshot.pods);
  const nodes = new Set([...ownAddresses, ...snapshot.nodes.flatMap((node) => node.addresses)].map(canonical));

  return (slice, endpoint, address) => {
    const shown = canonical(address);
    const range = address.includes(':') ? refusedIpv6(address) : refusedIpv4(address, pool.loopback);
    if (range !== undefined) return range;
    const owner = owners.get(shown);
    if (owner !== undefined && owner !== slice.namespace) return 'the address of a pod of another namespace';
    if (pool.loopback) return undefined;
    if (poolContains(pool, address)) return 'an address of the VIP pool';
    if (clusterIPs.has(shown)) return 'the clusterIP of a Service';
    if (apiServer.has(shown)) return "the API server's address";
    const behind = podBehind(slice, endpoint, shown, podsByKey);
    if (nodes.has(shown) && behind?.hostNetwork !== true) return "a node's address, and no host-network pod of this namespace is behind it";
    if (gateways.has(shown) && behind === undefined) return "an address that a node's pod network keeps for the node, and no pod of this namespace has it";
    return undefined;
  };
}

function refusedIpv4(address: string, loopback: boolean): string | undefined {
  const value = ipv4ToNumber(address);
  if (loopback) {
    return value >= LOOPBACK_PODS[0] && value <= LOOPBACK_PODS[1] ? undefined : 'not in 127.88.0.0/16, where pods live on loopback';
  }
  return REFUSED_IPV4.find(([first, last]) => value >= first && value <= last)?.[2];
}

function refusedIpv6(address: string): string | undefined {
  const range = ipaddr.IPv6.parse(address).range();
  return range === 'unicast' || range === 'uniqueLocal' ? undefined : `an IPv6 ${range} address`;
}

/** The pod of the slice's namespace that targetRef names, when it has that address. */
function podBehind(slice: EndpointSlice, { targetRef: ref }: SliceEndpoint, address: string, podsByKey: ReadonlyMap<string, Pod>): Pod | undefined {
  if (ref?.kind !== 'Pod' || ref.namespace !== slice.namespace) return undefined;
  const pod = podsByKey.get(`${ref.namespace}/${ref.name}`);
  return pod?.podIPs.some((ip) => canonical(ip) === address) === true ? pod : undefined;
}

/** Namespace by address of the live pods that have one of their own. An address that pods of two namespaces claim is nobody's. */
function ownersOfAddresses(pods: readonly Pod[]): ReadonlyMap<string, string> {
  const owners = new Map<string, string>();
  const disputed = new Set<string>();
  for (const { namespace, hostNetwork, phase, podIPs } of pods) {
    if (hostNetwork || phase === 'Succeeded' || phase === 'Failed') continue;
    for (const ip of podIPs) {
      const address = canonical(ip);
      if ((owners.get(address) ?? namespace) === namespace) owners.set(address, namespace);
      else disputed.add(address);
    }
  }
  for (const address of disputed) owners.delete(address);
  return owners;
}

/** One spelling per address: IPv6 has several. */
function canonical(address: string): string {
  return address.includes(':') && ipaddr.IPv6.isValid(address) ? ipaddr.IPv6.parse(address).toString() : address;
}
