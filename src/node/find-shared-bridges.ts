import ipaddr from 'ipaddr.js';
import { CodedError } from '../model/coded-error.ts';
import type { NodeRoute } from './find-pool-conflicts.ts';

/**
 * Bridges that these pods of this node share: the device of the most specific route to a pod's address is a bridge. On one broadcast
 * domain a pod that may send raw packets answers ARP for another's address and is then taken for it; with a route per pod (Calico, Cilium,
 * kindnet, the ptp plugin) the node itself decides which pod an address is.
 * @param bridges names of devices of kind bridge
 */
export function findSharedBridges(pods: readonly string[], routes: readonly NodeRoute[], bridges: ReadonlySet<string>): readonly string[] {
  const networks = routes.filter(isPlain).flatMap(({ dst, dev }) => (dev === undefined ? [] : { dev, cidr: parseDestination(dst) }));
  const found = new Set<string>();
  for (const pod of pods.filter((address) => ipaddr.isValid(address))) {
    const address = ipaddr.parse(pod);
    let best: { readonly dev: string; readonly bits: number } | undefined;
    for (const { dev, cidr } of networks) {
      if (cidr === undefined || cidr[0].kind() !== address.kind() || cidr[1] <= (best?.bits ?? 0) || !address.match(cidr[0], cidr[1])) continue;
      best = { dev, bits: cidr[1] };
    }
    if (best !== undefined && bridges.has(best.dev)) found.add(best.dev);
  }
  return [...found].sort();
}

/** Of the main table: what the node itself has been told, not what it derives (local, broadcast). */
const isPlain = ({ type, table }: NodeRoute): boolean => type === 'unicast' && (table === undefined || table === 'main');

function parseDestination(dst: string): [ipaddr.IPv4 | ipaddr.IPv6, number] | undefined {
  if (ipaddr.isValidCIDR(dst)) return ipaddr.parseCIDR(dst);
  if (!ipaddr.isValid(dst)) return undefined; // `default`
  const address = ipaddr.parse(dst);
  return [address, address.kind() === 'ipv6' ? 128 : 32];
}

/** On a shared bridge a server answers the caller directly, past the node's routing, and HAProxy never hears of it (tried: 503). */
export function describeBridges(bridges: readonly string[]): CodedError | undefined {
  if (bridges.length === 0) return undefined;
  return new CodedError({
    code: 'client-ip-bridge',
    message: `--client-ip preserve cannot work on a bridge that pods share (${bridges.join(', ')}): a server answers a caller beside it directly, and not HAProxy`,
    remedy: 'use a pod network with a route for each pod (for example the ptp plugin, see docs/install.md), or leave out --client-ip',
  });
}
