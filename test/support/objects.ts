import type { RouteSpec, ServiceRoute, VersionSpec } from '../../src/model/service-route.ts';
import type { EndpointSlice, Node, Pod, Service, ServicePort, SliceEndpoint, Snapshot } from '../../src/model/snapshot.ts';

/** Builders of model objects for tests: every field has a default, tests name only what they are about. */

export function spec(over: Partial<Omit<RouteSpec, 'to'>> & { to?: readonly VersionSpec[] } = {}): RouteSpec {
  return {
    rule: { type: '' },
    global: false,
    acl: { defaultAllow: true, entries: [] },
    to: [{ name: 'web' }],
    port: {},
    locality: 'PreferLocal',
    timeout: { connectMs: 250, requestMs: 60_000 },
    retries: { attempts: 3, on: ['connect-failure', 'empty-response', 'response-timeout'], nonIdempotent: false },
    log: { mode: 'Off', percent: 0 },
    ...over,
  };
}

/** `serviceRoute('shop/cart', {...spec fields}, {...object fields})`; `null` as spec: an invalid one. */
export function serviceRoute(key: string, over: Parameters<typeof spec>[0] | null = {}, object: Partial<ServiceRoute> = {}): ServiceRoute {
  const [namespace = '', name = ''] = key.split('/');
  return { namespace, name, status: {}, ...(over === null ? {} : { spec: spec(over) }), ...object };
}

export function service(key: string, ports: readonly Partial<ServicePort>[] = [{ port: 80 }], over: Partial<Service> = {}): Service {
  const [namespace = '', name = ''] = key.split('/');
  return {
    namespace,
    name,
    type: 'ClusterIP',
    clusterIPs: [],
    ports: ports.map((port) => ({ port: 80, targetPort: port.port ?? 80, protocol: 'TCP', ...port })),
    ...over,
  };
}

/** One slice of a Service; endpoints as `address` or `address@node`, or in full. */
export function slice(
  serviceKey: string,
  endpoints: readonly (string | SliceEndpoint)[],
  ports: EndpointSlice['ports'] = [{ port: 8080, protocol: 'TCP' }],
  over: Partial<EndpointSlice> = {},
): EndpointSlice {
  const [namespace = '', serviceName = ''] = serviceKey.split('/');
  return {
    namespace,
    name: `${serviceName}-1`,
    serviceName,
    addressType: 'IPv4',
    ports,
    endpoints: endpoints.map((one) => {
      if (typeof one !== 'string') return one;
      const [address = '', nodeName] = one.split('@');
      return { addresses: [address], ...(nodeName === undefined ? {} : { nodeName }) };
    }),
    ...over,
  };
}

export function pod(key: string, address: string, over: Partial<Pod> = {}): Pod {
  const [namespace = '', name = ''] = key.split('/');
  return { namespace, name, labels: {}, nodeName: 'n1', serviceAccount: 'default', hostNetwork: false, phase: 'Running', podIPs: [address], ...over };
}

export const node = (name: string, zone?: string, addresses: readonly string[] = []): Node => ({ name, addresses, podGateways: [], ...(zone === undefined ? {} : { zone }) });

export function snapshot(over: Partial<Snapshot>): Snapshot {
  return { serviceRoutes: [], services: [], endpointSlices: [], pods: [], nodes: [], serviceAccounts: [], tokenCodes: [], problems: [], ...over };
}
