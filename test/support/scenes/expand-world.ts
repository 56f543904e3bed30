import type { Behaviour, EndpointPlan, PodPlan, PortPlan, ServicePlan, WorldPlan } from './scene.ts';

/** The world of one step: everything that was said so far. */
export interface World {
  readonly pods: ReadonlyMap<string, PodPlan>;
  readonly services: ReadonlyMap<string, ServicePlan>;
  readonly routes: ReadonlyMap<string, unknown>;
  readonly objects: readonly unknown[];
}

/** A pod as a caller and a server of the test. */
export interface ScenePod {
  readonly namespace: string;
  readonly name: string;
  readonly address: string;
  readonly serve: Behaviour;
  /** Where it listens. */
  readonly ports: readonly number[];
}

export const EMPTY_WORLD: World = { pods: new Map(), services: new Map(), routes: new Map(), objects: [] };

const POD_PORT = 8080;
const DEFAULT_PORTS: readonly PortPlan[] = [{ port: 80, targetPort: POD_PORT }];
/** Node -> zone. The agent runs as n1. */
const NODES: Readonly<Record<string, string>> = { n1: 'z1', n2: 'z1', n3: 'z2' };

/** The world after a change: maps by key, routes by their names. */
export function changeWorld(world: World, change: WorldPlan): World {
  const routes = new Map(world.routes);
  for (const key of change.withoutRoutes ?? []) routes.delete(key);
  for (const route of change.routes ?? []) routes.set(routeKey(route), route);
  return {
    pods: mergeMaps(world.pods, change.pods),
    services: mergeMaps(world.services, change.services),
    routes,
    objects: change.objects ?? world.objects,
  };
}

function mergeMaps<T extends object>(before: ReadonlyMap<string, T>, change: Readonly<Record<string, T | null>> = {}): ReadonlyMap<string, T> {
  const merged = new Map(before);
  for (const [key, value] of Object.entries(change)) {
    if (value === null) merged.delete(key);
    else merged.set(key, { ...merged.get(key), ...value });
  }
  return merged;
}

function routeKey(route: unknown): string {
  const { metadata } = route as { metadata?: { namespace?: string; name?: string } };
  return `${metadata?.namespace ?? 'default'}/${metadata?.name ?? ''}`;
}

const split = (key: string): readonly [namespace: string, name: string] => {
  const [namespace = '', name = ''] = key.split('/');
  return [namespace, name];
};

/** Pods of a Service with their conditions; pods that nobody declared are made with it. */
function endpointsOf(key: string, { pods = 1 }: ServicePlan): readonly EndpointPlan[] {
  const [, name] = split(key);
  if (typeof pods === 'number') return Array.from({ length: pods }, (_, i) => ({ pod: `${name}-${i + 1}` }));
  return pods.map((pod) => (typeof pod === 'string' ? { pod } : pod));
}

const portOf = ({ podPort, targetPort }: PortPlan): number => podPort ?? (typeof targetPort === 'number' ? targetPort : POD_PORT);

/** Every pod of the world, declared or made with its Service, with its address and where it serves. */
export function listPods(world: World, addressOf: (key: string) => string): ReadonlyMap<string, ScenePod> {
  const ports = new Map<string, Set<number>>([...world.pods.keys()].map((key) => [key, new Set()]));
  for (const [key, service] of world.services) {
    for (const { pod } of endpointsOf(key, service)) {
      const podKey = `${split(key)[0]}/${pod}`;
      const open = ports.get(podKey) ?? new Set();
      for (const port of service.ports ?? DEFAULT_PORTS) open.add(portOf(port));
      ports.set(podKey, open);
    }
  }
  return new Map(
    [...ports].map(([key, open]) => {
      const [namespace, name] = split(key);
      const plan = world.pods.get(key) ?? {};
      return [key, { namespace, name, address: plan.address ?? addressOf(key), serve: plan.serve ?? 'http', ports: [...open] }];
    }),
  );
}

/** The world as Kubernetes objects: Node, Pod, Service, EndpointSlice and the routes word for word. */
export function expandWorld(world: World, pods: ReadonlyMap<string, ScenePod>): readonly unknown[] {
  return [
    ...Object.entries(NODES).map(([name, zone]) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'topology.kubernetes.io/zone': zone } } })),
    ...[...pods].map(([key, pod]) => expandPod(pod, world.pods.get(key) ?? {})),
    ...[...world.services].flatMap(([key, service]) => expandService(key, service, world, pods)),
    ...world.objects,
    ...world.routes.values(),
  ];
}

function expandPod({ namespace, name, address }: ScenePod, plan: PodPlan): unknown {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: plan.labels ?? { app: name.replace(/-\d+$/, '') } },
    spec: { nodeName: plan.node ?? 'n1', serviceAccountName: plan.serviceAccount ?? 'default', ...(plan.hostNetwork === true ? { hostNetwork: true } : {}) },
    status: { phase: plan.phase ?? 'Running', podIP: address, podIPs: [{ ip: address }] },
  };
}

function expandService(key: string, service: ServicePlan, world: World, pods: ReadonlyMap<string, ScenePod>): unknown[] {
  const [namespace, name] = split(key);
  const ports = service.ports ?? DEFAULT_PORTS;
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      spec: { clusterIP: 'None', selector: service.selector ?? { app: name }, ports: ports.map((port) => ({ ...port, podPort: undefined })) },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-1`, namespace, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: ports.map((port) => ({ ...(port.name === undefined ? {} : { name: port.name }), port: portOf(port), protocol: port.protocol ?? 'TCP' })),
      endpoints: endpointsOf(key, service).map(({ pod, ready = true, ...conditions }) => {
        const podKey = `${namespace}/${pod}`;
        const node = world.pods.get(podKey)?.node ?? 'n1';
        return {
          addresses: [pods.get(podKey)?.address ?? ''],
          conditions: { ready, ...conditions },
          nodeName: node,
          zone: NODES[node],
          targetRef: { kind: 'Pod', namespace, name: pod },
        };
      }),
    },
  ];
}
