/** What the objects of the world say, in the form in which it is changed; `render...` gives Kubernetes objects. */

export interface ChaosVersion {
  /** Name of the Service. */
  readonly name: string;
  readonly weight?: number;
  readonly match?: string;
  readonly breaker?: Readonly<Record<string, number>>;
}

export interface AclEntry {
  readonly kind?: 'ServiceAccount' | 'Service';
  readonly name: string;
  readonly namespace: string;
}

export interface ChaosRoute {
  readonly namespace: string;
  readonly name: string;
  readonly vip: string;
  readonly globalVip?: string;
  readonly protocol: 'http' | 'tcp';
  readonly type: 'Percentage' | 'Header' | '';
  readonly prefer?: string;
  readonly to: readonly ChaosVersion[];
  readonly acl?: { readonly defaultAllow: boolean; readonly entries: readonly AclEntry[] };
  /** Other fields of the spec: nothing that decides who answers. */
  readonly more?: Readonly<Record<string, unknown>>;
}

export interface ChaosPod {
  readonly namespace: string;
  readonly service: string;
  readonly name: string;
  readonly address: string;
  readonly host: string;
  readonly node: 'n1' | 'n2' | 'n3';
  readonly state: 'ready' | 'not-ready' | 'terminating';
}

export interface ChaosCaller {
  readonly address: string;
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
  /** Label `app`; the Services that select it, by name. */
  readonly app?: string;
}

export const HEADER = 'X-Version';

export const routeKey = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string => `${namespace}/${name}`;

export function renderRoute(route: ChaosRoute): object {
  const { namespace, name, vip, globalVip, protocol, type, prefer, to, acl, more } = route;
  return {
    apiVersion: 'paas.io/v1',
    kind: 'ServiceRoute',
    metadata: { name, namespace },
    spec: {
      rule: { type, ...(type === 'Header' ? { header: HEADER } : {}), ...(prefer === undefined ? {} : { prefer }) },
      protocol,
      ...(globalVip === undefined ? {} : { global: true }),
      ...(acl === undefined ? {} : { acl }),
      to: to.map(({ name, weight, match, breaker }) => ({
        kind: 'Service',
        name,
        ...(weight === undefined && match === undefined ? {} : { balance: { rule: weight ?? match } }),
        ...(breaker === undefined ? {} : { breaker }),
      })),
      port: { targetPort: protocol === 'tcp' ? 'tcp' : 'http', ...(protocol === 'tcp' ? { listen: 9000 } : {}) },
      ...more,
    },
    status: { vip, ...(globalVip === undefined ? {} : { globalVip }) },
  };
}

const PORTS = [
  { name: 'http', port: 80, targetPort: 8080 },
  { name: 'tcp', port: 81, targetPort: 8081 },
];

export const renderService = (namespace: string, name: string): object => ({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace }, spec: { clusterIP: 'None', selector: { app: name }, ports: PORTS } });

export const renderSlice = (namespace: string, service: string, pods: readonly ChaosPod[]): object => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: `${service}-1`, namespace, labels: { 'kubernetes.io/service-name': service } },
  addressType: 'IPv4',
  ports: [
    { name: 'http', port: 8080, protocol: 'TCP' },
    { name: 'tcp', port: 8081, protocol: 'TCP' },
  ],
  endpoints: pods.map(({ address, node, state, name }) => ({
    addresses: [address],
    conditions: { ready: state === 'ready', serving: state !== 'not-ready', terminating: state === 'terminating' },
    nodeName: node,
    targetRef: { kind: 'Pod', namespace, name },
  })),
});

export const renderCaller = ({ address, namespace, name, serviceAccount, app }: ChaosCaller): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, ...(app === undefined ? {} : { labels: { app } }) },
  spec: { nodeName: 'n1', serviceAccountName: serviceAccount },
  status: { phase: 'Running', podIP: address, podIPs: [{ ip: address }] },
});

export const renderNode = (name: string, zone: string): object => ({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'topology.kubernetes.io/zone': zone } } });

/** An object that no agent can use: the agent names it among its problems once it has taken in the file in which it stands. */
export const renderMark = (file: string, count: number): object => ({ apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { name: markName(file, count), namespace: 'marks' }, spec: { rule: { type: '' }, to: [{ name: 'none' }] } });

export const markName = (file: string, count: number): string => `Mark-${file}-${count}`;
