import type { EndpointSlice, SliceEndpoint } from '../model/snapshot.ts';
import { valueAt } from './field-path.ts';
import type { FieldPath, Locate } from './field-path.ts';
import { ObjectReader, optional } from './object-reader.ts';
import { parseAddress } from './parse-address.ts';
import type { Parsed } from './parsed-object.ts';

const SERVICE_LABEL = 'kubernetes.io/service-name';
/** The API server's own bounds (discovery.k8s.io/v1): 1,000 endpoints, 100 addresses each, 100 ports. */
const MAX_ENDPOINTS = 1000;
const MAX_ADDRESSES = 100;
const MAX_PORTS = 100;

/**
 * Parses a discovery.k8s.io/v1 EndpointSlice. Undefined for one without the label of its Service: it belongs to nobody.
 * An endpoint whose addresses are none of the slice's type is left out with a Problem; the others go on.
 */
export function parseEndpointSlice(raw: unknown, locate: Locate): Parsed<'EndpointSlice'> | undefined {
  const label = ['metadata', 'labels', SERVICE_LABEL];
  if ((valueAt(raw, label) ?? undefined) === undefined) return undefined;
  const read = new ObjectReader('EndpointSlice', raw, locate);
  if (!read.hasValidName()) return read.result();
  const serviceName = read.text(label);
  const addressType = parseAddressType(read);
  if (serviceName === undefined || addressType === undefined) return read.result();
  return read.result({
    namespace: read.namespace,
    name: read.name,
    serviceName,
    addressType,
    ports: read.items(['ports'], MAX_PORTS).map((path) => ({
      ...optional('name', read.text([...path, 'name']) || undefined),
      ...optional('port', read.port([...path, 'port'])),
      protocol: read.text([...path, 'protocol']) ?? 'TCP',
      ...optional('appProtocol', read.text([...path, 'appProtocol'])),
    })),
    endpoints: read.items(['endpoints'], MAX_ENDPOINTS).flatMap((path) => parseEndpoint(read, path, addressType)),
    ...optional('origin', read.origin),
  });
}

function parseAddressType(read: ObjectReader<'EndpointSlice'>): EndpointSlice['addressType'] | undefined {
  const text = read.text(['addressType']);
  if (text === 'IPv4' || text === 'IPv6' || text === 'FQDN') return text;
  read.invalid(['addressType'], text === undefined ? 'it is missing' : `'${text}' is no address type`, 'set it to IPv4 or IPv6');
  return undefined;
}

function parseEndpoint(read: ObjectReader<'EndpointSlice'>, path: FieldPath, type: EndpointSlice['addressType']): SliceEndpoint[] {
  const addresses = read.items([...path, 'addresses'], MAX_ADDRESSES).flatMap((item) => {
    const text = read.text(item) ?? '';
    const address = addressOf(type, text);
    if (address !== undefined) return [address];
    read.invalid(item, `'${text}' is not an ${type} address and is left out`, `write an ${type} address`);
    return [];
  });
  if (addresses.length === 0) return [];
  const kind = read.text([...path, 'targetRef', 'kind']);
  const name = read.text([...path, 'targetRef', 'name']);
  const namespace = read.text([...path, 'targetRef', 'namespace']) ?? read.namespace;
  return [
    {
      // flatMap leaves room for 16 more in each list: 1.3 MB for 10,000 endpoints.
      addresses: addresses.slice(),
      ...optional('ready', read.flag([...path, 'conditions', 'ready'])),
      ...optional('serving', read.flag([...path, 'conditions', 'serving'])),
      ...optional('terminating', read.flag([...path, 'conditions', 'terminating'])),
      ...optional('nodeName', read.text([...path, 'nodeName'])),
      ...optional('zone', read.text([...path, 'zone'])),
      ...optional('targetRef', kind === undefined || name === undefined ? undefined : { kind, namespace, name, ...optional('uid', read.text([...path, 'targetRef', 'uid'])) }),
    },
  ];
}

/** The address when it is one of the slice's type. Names (FQDN) are kept as they are: nothing connects to them. */
function addressOf(type: EndpointSlice['addressType'], text: string): string | undefined {
  if (type === 'FQDN') return text === '' ? undefined : text;
  const address = parseAddress(text);
  return address?.includes(':') === (type === 'IPv6') ? address : undefined;
}
