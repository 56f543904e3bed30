import ipaddr from 'ipaddr.js';
import { LOOPBACK_POD_PREFIX, type VipPool } from '../model/vip-pool.ts';

/** Who may see more than single records; CIDRs, plain data for the worker thread. */
export interface DnsAccess {
  /** Listeners that answer CH and AXFR. */
  readonly trustedListeners: readonly string[];
  /** Sources that are processes of this node, if not among `podSources`. */
  readonly hostSources: readonly string[];
  readonly podSources: readonly string[];
}

/** Access of a node with this pool and these own addresses: listeners are trusted where other machines cannot reach them. */
export function buildDnsAccess(pool: VipPool, nodeAddresses: readonly string[] = []): DnsAccess {
  const local = [pool.cidr, ...(pool.cidr6 === undefined ? [] : [pool.cidr6]), '127.0.0.0/8', '::1/128'];
  const own = nodeAddresses.filter((address) => ipaddr.isValid(address)).map((address) => `${address}/${address.includes(':') ? 128 : 32}`);
  return { trustedListeners: local, hostSources: [...local, ...own], podSources: [LOOPBACK_POD_PREFIX] };
}

/** True when a listener on this local address answers CH and AXFR. */
export const isTrustedListener = (access: DnsAccess, address: string): boolean => isWithin(address, access.trustedListeners);

/** True when a zone transfer from `source` to the listener on `local` is a host process's. */
export function mayTransfer(access: DnsAccess, source: string, local: string): boolean {
  if (!isTrustedListener(access, local) || isWithin(source, access.podSources)) return false;
  return source === local || isWithin(source, access.hostSources);
}

function isWithin(address: string, cidrs: readonly string[]): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  return cidrs.some((cidr) => {
    const [network, prefix] = ipaddr.parseCIDR(cidr);
    return parsed.kind() === network.kind() && parsed.match(network, prefix);
  });
}
