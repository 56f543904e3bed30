import ipaddr from 'ipaddr.js';
import { LOOPBACK_POD_PREFIX, poolContains } from '../model/vip-pool.ts';
import type { VipPool } from '../model/vip-pool.ts';

const LOOPBACK = ipaddr.IPv4.parseCIDR('127.0.0.0/8');
const PODS_ON_LOOPBACK = ipaddr.IPv4.parseCIDR(LOOPBACK_POD_PREFIX);

/**
 * True when a connection from `source` was made by a process of this node outside any pod: a source inside the pool (what a host
 * process that calls a VIP gets), 127/8 and ::1 (127.88/16 are pods), or one of the node's own addresses. IPv4 written as IPv6
 * (`::ffff:...`, on a dual-stack listener) counts as IPv4. Invalid text: false.
 */
export function isHostCaller(source: string, pool: VipPool, ownAddresses: readonly string[]): boolean {
  const [text = ''] = source.split('%'); // link-local with a scope: fe80::1%eth0
  if (!ipaddr.isValid(text)) return false;
  const address = ipaddr.process(text);
  if (address instanceof ipaddr.IPv4 && address.match(LOOPBACK)) return !address.match(PODS_ON_LOOPBACK);
  const canonical = address.toString();
  return canonical === '::1' || poolContains(pool, canonical) || ownAddresses.some((own) => isSame(own, canonical));
}

const isSame = (own: string, canonical: string): boolean => ipaddr.isValid(own) && ipaddr.process(own).toString() === canonical;
