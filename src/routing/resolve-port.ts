import type { Protocol } from '../model/service-route.ts';
import type { Service, ServicePort } from '../model/snapshot.ts';

export type PortResolution =
  | { readonly kind: 'found'; readonly port: ServicePort }
  | { readonly kind: 'refused'; readonly message: string; readonly remedy: string };

/** `80-tcp`: how exporters of older meshes name a port by number. */
const NUMBER_AND_PROTOCOL = /^(\d{1,5})-([a-z]{2,5})$/i;

/**
 * The port of `service` that `targetPort` means: a port's name; else a number: the Service's `port`, else its `targetPort`;
 * else `<number>-<protocol>` read as that number. Absent: the only port. Only TCP ports count.
 */
export function resolvePort(service: Service, targetPort: string | number | undefined): PortResolution {
  const ports = service.ports.filter((port) => port.protocol === 'TCP');
  const known = ports.map((port) => `${port.name ?? 'unnamed'} (${port.port})`).join(', ') || 'none';
  if (targetPort === undefined) {
    return one(ports, `Service ${service.name} has ${ports.length} TCP ports: ${known}`, 'name one in spec.port.targetPort');
  }
  const text = String(targetPort);
  const named = ports.filter((port) => port.name === text);
  if (named.length > 0) return one(named, `two ports of Service ${service.name} are named ${text}`, 'rename one');
  const number = portNumber(text);
  const byPort = ports.filter((port) => port.port === number);
  const matches = byPort.length > 0 ? byPort : ports.filter((port) => port.targetPort === number);
  return one(
    matches,
    matches.length === 0 ? `Service ${service.name} has no TCP port ${text}; it has ${known}` : `${matches.length} ports of Service ${service.name} match ${text}: ${known}`,
    "write a port's name or number of the Service in spec.port.targetPort",
  );
}

function portNumber(text: string): number | undefined {
  if (/^\d{1,5}$/.test(text)) return Number(text);
  const parts = NUMBER_AND_PROTOCOL.exec(text);
  return parts?.[2]?.toLowerCase() === 'tcp' ? Number(parts[1]) : undefined;
}

function one(matches: readonly ServicePort[], message: string, remedy: string): PortResolution {
  const [port, second] = matches;
  return port !== undefined && second === undefined ? { kind: 'found', port } : { kind: 'refused', message, remedy };
}

/** What a port speaks, from its `appProtocol` (Kubernetes standard names, KEP-3726): anything unknown is opaque bytes. */
export function portProtocol(port: ServicePort): { readonly protocol: Protocol; readonly serverProtocol: 'h1' | 'h2' } {
  switch (port.appProtocol) {
    case undefined:
    case 'http':
    case 'kubernetes.io/ws':
      return { protocol: 'http', serverProtocol: 'h1' };
    case 'kubernetes.io/h2c':
    case 'grpc':
      return { protocol: 'http', serverProtocol: 'h2' };
    default:
      return { protocol: 'tcp', serverProtocol: 'h1' };
  }
}

/** True for a port that is probably TLS though nothing says so: it would be served as clear-text HTTP. */
export const looksLikeTls = (port: ServicePort): boolean =>
  port.appProtocol === undefined && (port.name === 'https' || port.port === 443);
