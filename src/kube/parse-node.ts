import ipaddr from 'ipaddr.js';
import type { Locate } from './field-path.ts';
import { ObjectReader, optional } from './object-reader.ts';
import { parseAddress } from './parse-address.ts';
import type { Parsed } from './parsed-object.ts';

const ZONE_LABEL = 'topology.kubernetes.io/zone';
const MAX_ADDRESSES = 64;
/** The API server's own bound: one of each family. */
const MAX_CIDRS = 2;

/** Parses a core/v1 Node: its zone, its internal and external addresses (host names among them are passed over), its gateways to pods. */
export function parseNode(raw: unknown, locate: Locate): Parsed<'Node'> {
  const read = new ObjectReader('Node', raw, locate);
  if (!read.hasValidName()) return read.result();
  const addresses = read.items(['status', 'addresses'], MAX_ADDRESSES).flatMap((path) => {
    const type = read.text([...path, 'type']);
    const text = read.text([...path, 'address']) ?? '';
    if (type !== 'InternalIP' && type !== 'ExternalIP') return [];
    const address = parseAddress(text);
    if (address !== undefined) return [address];
    read.invalid([...path, 'address'], `'${text}' is not an IP address and is left out`, 'write an IPv4 or IPv6 address');
    return [];
  });
  return read.result({
    name: read.name,
    ...optional('zone', read.text(['metadata', 'labels', ZONE_LABEL]) || undefined),
    addresses,
    podGateways: read.items(['spec', 'podCIDRs'], MAX_CIDRS).flatMap((path) => firstAddresses(read.text(path) ?? '')),
    ...optional('origin', read.origin),
  });
}

/** The network address of a CIDR and the one after it; none of a text that is no CIDR. */
function firstAddresses(cidr: string): string[] {
  if (!ipaddr.isValidCIDR(cidr)) return [];
  const network = cidr.includes(':') ? ipaddr.IPv6.networkAddressFromCIDR(cidr) : ipaddr.IPv4.networkAddressFromCIDR(cidr);
  const bytes = network.toByteArray();
  const first = network.toString();
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 1;
  return [first, ipaddr.fromByteArray(bytes).toString()];
}
