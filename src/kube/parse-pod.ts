import { isSubdomain } from '../model/names.ts';
import type { Locate } from './field-path.ts';
import { ObjectReader, optional } from './object-reader.ts';
import { parseAddress } from './parse-address.ts';
import type { Parsed } from './parsed-object.ts';

/** Parses a core/v1 Pod: who it is, where it runs, and its addresses (`status.podIPs`, else `status.podIP`). */
export function parsePod(raw: unknown, locate: Locate): Parsed<'Pod'> {
  const read = new ObjectReader('Pod', raw, locate);
  if (!read.hasValidName()) return read.result();
  const listed = read.items(['status', 'podIPs'], 2).map((path) => [...path, 'ip']);
  const paths = listed.length > 0 ? listed : [['status', 'podIP']];
  const podIPs = paths.flatMap((path) => {
    const text = read.text(path) ?? '';
    if (text === '') return [];
    const address = parseAddress(text);
    if (address !== undefined) return [address];
    read.invalid(path, `'${text}' is not an IP address and is left out`, 'write an IPv4 or IPv6 address');
    return [];
  });
  // Who a pod is must never be guessed: under a name that cannot be its ServiceAccount's it would be `default`, or nothing that can be shown.
  const account = ['spec', 'serviceAccountName'];
  const serviceAccount = read.has(account) ? read.text(account) : 'default';
  if (serviceAccount === undefined || (serviceAccount !== '' && !isSubdomain(serviceAccount))) {
    read.invalid(account, 'this is not the name of a ServiceAccount', "use a-z, 0-9, '-' and '.', at most 253 characters");
    return read.result();
  }
  return read.result({
    namespace: read.namespace,
    name: read.name,
    ...optional('uid', read.text(['metadata', 'uid'])),
    labels: read.texts(['metadata', 'labels']) ?? {},
    ...optional('nodeName', read.text(['spec', 'nodeName']) || undefined),
    serviceAccount: serviceAccount || 'default',
    hostNetwork: read.flag(['spec', 'hostNetwork']) ?? false,
    phase: read.text(['status', 'phase']) ?? 'Unknown',
    podIPs,
    ...optional('origin', read.origin),
  });
}
