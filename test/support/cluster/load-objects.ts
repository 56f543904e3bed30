import type { ApiClient } from '../../../src/kube/io/open-api-client.ts';

/** Objects of a made-up cluster, for the API server: `routes` routes of two versions, each with `slices` EndpointSlices of `endpoints` endpoints. */
export interface LoadPlan {
  readonly routes: number;
  /** Per version. */
  readonly slices: number;
  /** Per slice. */
  readonly endpoints: number;
  /** Pods of the first node. */
  readonly pods: number;
}

export interface SliceName {
  readonly namespace: string;
  readonly name: string;
}

const NAMESPACES = 20;
const NODES = 10;
/** Requests on their way at once: the API server of a lab answers some hundred writes a second. */
const AT_ONCE = 32;

export const namespaceOf = (route: number): string => `ns${route % NAMESPACES}`;
export const routeName = (route: number): string => `route-${route}`;
export const nodeName = (node: number): string => `n${(node % NODES) + 1}`;
/** The controller's part: the addresses of the routes of `169.254.192.0/19`, after its first /24. */
export const vipOf = (route: number): string => `169.254.${193 + (route >> 8)}.${route & 255}`;

/** Endpoint addresses are pods' of a network that is not there: nothing connects to them. */
const addressOf = (n: number): string => `10.${128 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;

/** Creates everything, `status.vip` included; resolves when the API server has it all. */
export async function loadObjects(client: ApiClient, plan: LoadPlan): Promise<void> {
  const send = (method: string, path: string, body: object, contentType?: string): Promise<unknown> =>
    client.request(method, path, { body, ...(contentType === undefined ? {} : { contentType }) });
  await send('POST', '/api/v1/namespaces', { metadata: { name: 'onehop-system' } });
  await inParallel(range(NAMESPACES), (i) => send('POST', '/api/v1/namespaces', { metadata: { name: namespaceOf(i) } }));
  await inParallel(range(NODES), (i) =>
    send('POST', '/api/v1/nodes', { metadata: { name: nodeName(i), labels: { 'topology.kubernetes.io/zone': `z${i % 3}` } } }),
  );
  await inParallel(range(plan.pods), async (i) => {
    const [namespace, name] = [namespaceOf(i), `pod-${i}`];
    const spec = { nodeName: nodeName(0), automountServiceAccountToken: false, containers: [{ name: 'main', image: 'none' }] };
    await retried(() => send('POST', `/api/v1/namespaces/${namespace}/pods`, { metadata: { name, labels: { app: `${routeName(i)}-a` } }, spec }));
    const status = { phase: 'Running', podIP: `10.127.0.${i}`, podIPs: [{ ip: `10.127.0.${i}` }] };
    await send('PATCH', `/api/v1/namespaces/${namespace}/pods/${name}/status`, { status }, MERGE);
  });
  await inParallel(range(plan.routes), async (route) => {
    const namespace = namespaceOf(route);
    for (const version of [0, 1]) {
      const name = versionName(route, version);
      // Without a selector: the control plane's own controller writes no slices for it.
      await send('POST', `/api/v1/namespaces/${namespace}/services`, { metadata: { name }, spec: { ports: [{ name: 'http', port: 80, targetPort: 8080 }] } });
      for (let slice = 0; slice < plan.slices; slice++) await send('POST', slicesPath(namespace), buildSlice(plan, route, version, slice));
    }
    const to = [0, 1].map((version) => ({ kind: 'Service', name: versionName(route, version), balance: { rule: 50 } }));
    const path = `/apis/paas.io/v1/namespaces/${namespace}/serviceroutes`;
    await send('POST', path, { apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { name: routeName(route) }, spec: { rule: { type: 'Percentage' }, to } });
    await send('PATCH', `${path}/${routeName(route)}/status`, { status: { vip: vipOf(route) } }, MERGE);
  });
}

const MERGE = 'application/merge-patch+json';

export const versionName = (route: number, version: number): string => `${routeName(route)}-${'ab'[version] ?? ''}`;
export const sliceName = (route: number, version: number, slice: number): SliceName => ({ namespace: namespaceOf(route), name: `${versionName(route, version)}-${slice}` });
const slicesPath = (namespace: string): string => `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;

/** Moves all endpoints of one slice to these addresses; resolves when the write was answered. */
export async function moveSlice(client: ApiClient, { namespace, name }: SliceName, addresses: readonly string[], port = 8080): Promise<void> {
  const body = { ports: [{ name: 'http', port, protocol: 'TCP' }], endpoints: addresses.map((address) => endpoint(address, 0)) };
  await client.request('PATCH', `${slicesPath(namespace)}/${name}`, { body, contentType: MERGE });
}

function buildSlice(plan: LoadPlan, route: number, version: number, slice: number): object {
  const first = ((route * 2 + version) * plan.slices + slice) * plan.endpoints;
  const { name } = sliceName(route, version, slice);
  return {
    metadata: { name, labels: { 'kubernetes.io/service-name': versionName(route, version), 'endpointslice.kubernetes.io/managed-by': 'bench' } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: range(plan.endpoints).map((i) => ({
      ...endpoint(addressOf(first + i), slice + i),
      targetRef: { kind: 'Pod', namespace: namespaceOf(route), name: `${name}-6f7d9c5b8d-${(first + i).toString(36)}`, uid: `6a1f0c9e-0000-4000-8000-${String(first + i).padStart(12, '0')}` },
    })),
  };
}

const endpoint = (address: string, node: number): object => ({
  addresses: [address],
  conditions: { ready: true, serving: true, terminating: false },
  nodeName: nodeName(node),
  zone: `z${(node % NODES) % 3}`,
});

const range = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = items.values();
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (const item of queue) await work(item);
  }));
}

/** A namespace gets its ServiceAccount a moment after it was made, and pods are refused until then. */
async function retried(work: () => Promise<unknown>): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await work();
      return;
    } catch (error) {
      if (tries === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}
