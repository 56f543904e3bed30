import type { ServicePort } from '../model/snapshot.ts';
import type { FieldPath, Locate } from './field-path.ts';
import { ObjectReader, optional } from './object-reader.ts';
import { parseAddress } from './parse-address.ts';
import type { Parsed } from './parsed-object.ts';

const MAX_PORTS = 256;

/** Parses a core/v1 Service. Ports that cannot be read are left out, each with a Problem. */
export function parseService(raw: unknown, locate: Locate): Parsed<'Service'> {
  const read = new ObjectReader('Service', raw, locate);
  if (!read.hasValidName()) return read.result();
  const selector = read.texts(['spec', 'selector']);
  return read.result({
    namespace: read.namespace,
    name: read.name,
    ports: read.items(['spec', 'ports'], MAX_PORTS).flatMap((path) => parsePort(read, path)),
    ...optional('selector', selector),
    clusterIPs: parseClusterIPs(read),
    type: read.text(['spec', 'type']) ?? 'ClusterIP',
    ...optional('origin', read.origin),
  });
}

function parsePort(read: ObjectReader<'Service'>, path: FieldPath): ServicePort[] {
  const port = read.port([...path, 'port']);
  if (port === undefined) {
    if (!read.has([...path, 'port'])) read.invalid([...path, 'port'], 'it is missing', 'set port to a number from 1 to 65535');
    return [];
  }
  return [
    {
      ...optional('name', read.text([...path, 'name']) || undefined),
      port,
      targetPort: read.intOrText([...path, 'targetPort']) ?? port,
      protocol: read.text([...path, 'protocol']) ?? 'TCP',
      ...optional('appProtocol', read.text([...path, 'appProtocol'])),
    },
  ];
}

/** `clusterIPs`, else `clusterIP`; "None" and "" are no addresses. */
function parseClusterIPs(read: ObjectReader<'Service'>): string[] {
  const listed = read.items(['spec', 'clusterIPs'], 2);
  const paths: readonly FieldPath[] = listed.length > 0 ? listed : [['spec', 'clusterIP']];
  return paths.flatMap((path) => {
    const text = read.text(path) ?? '';
    if (text === '' || text === 'None') return [];
    const address = parseAddress(text);
    if (address !== undefined) return [address];
    read.invalid(path, `'${text}' is not an IP address`, 'write an IPv4 or IPv6 address, or None');
    return [];
  });
}
