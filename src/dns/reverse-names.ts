import ipaddr from 'ipaddr.js';
import type { VipPool } from '../model/vip-pool.ts';

/** Name of the PTR record of an IPv4 or IPv6 address (RFC 1035 section 3.5, RFC 3596 section 2.5). The text must be valid. */
export function reverseName(address: string): string {
  if (!address.includes(':')) return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  const nibbles = ipaddr.IPv6.parse(address).toByteArray().flatMap((byte) => [(byte >> 4).toString(16), (byte & 15).toString(16)]);
  return `${nibbles.reverse().join('.')}.ip6.arpa`;
}

/**
 * Apexes of the pool's reverse zones. A zone cut falls on whole labels (8 bits in IPv4, 4 in IPv6), so a pool
 * between two cuts is several zones: a /19 is 32 zones of a /24 each.
 */
export function reverseApexes(pool: VipPool): string[] {
  return [...apexesOf(pool.cidr, 8), ...(pool.cidr6 === undefined ? [] : apexesOf(pool.cidr6, 4))];
}

function apexesOf(cidr: string, labelBits: number): string[] {
  const [network, prefix] = ipaddr.parseCIDR(cidr);
  const labels = Math.ceil(prefix / labelBits);
  const zoneCount = 2 ** (labels * labelBits - prefix);
  const labelsPerByte = 8 / labelBits;
  const hostLabels = network.toByteArray().length * labelsPerByte - labels;
  return Array.from({ length: zoneCount }, (_, index) => {
    const bytes = network.toByteArray();
    // The last label of the cut is the low or the high nibble of its byte, or the whole byte.
    const at = Math.ceil(labels / labelsPerByte) - 1;
    const shift = labels % labelsPerByte === 0 ? 0 : labelBits;
    bytes[at] = (bytes[at] ?? 0) | (index << shift);
    return reverseName(ipaddr.fromByteArray(bytes).toString()).split('.').slice(hostLabels).join('.');
  });
}
