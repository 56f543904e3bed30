import type { Locate } from './field-path.ts';
import { ObjectReader, optional } from './object-reader.ts';
import { parseAddress } from './parse-address.ts';
import type { Parsed } from './parsed-object.ts';

const ZONE_LABEL = 'topology.kubernetes.io/zone';
const MAX_ADDRESSES = 64;

/** Parses a core/v1 Node: its zone, and its internal and external addresses. Host names among them are passed over. */
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
    ...optional('origin', read.origin),
  });
}
