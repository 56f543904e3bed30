import type { ApiClient } from '../../../src/kube/io/open-api-client.ts';
import { NAMESPACES, namespaceOf, nodeName, sliceName, SyntheticCluster, type SyntheticObject } from '../synthetic/cluster.ts';

export { routeName, sliceName, versionName } from '../synthetic/cluster.ts';

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

export type SliceName = ReturnType<typeof sliceName>;

/** Requests on their way at once: the API server of a lab answers some hundred writes a second. */
const AT_ONCE = 32;

/** The controller's part: the addresses of the routes of `169.254.192.0/19`, after its first /24. */
export const vipOf = (route: number): string => `169.254.${193 + (route >> 8)}.${route & 255}`;

/** Creates everything, `status` included; resolves when the API server has it all. Endpoint addresses are of a network that is not there. */
export async function loadObjects(client: ApiClient, plan: LoadPlan): Promise<void> {
  const cluster = new SyntheticCluster({ ...plan, network: '10.128', vip: vipOf });
  const send = (method: string, path: string, body: object, contentType?: string): Promise<unknown> =>
    client.request(method, path, { body, ...(contentType === undefined ? {} : { contentType }) });
  /** Creates one object, and writes its status. */
  const create = async ({ status, ...object }: SyntheticObject): Promise<void> => {
    const path = pathOf(object);
    await retried(() => send('POST', path, object));
    if (status !== undefined) await send('PATCH', `${path}/${object.metadata.name}/status`, { status }, MERGE);
  };
  await send('POST', '/api/v1/namespaces', { metadata: { name: 'onehop-system' } });
  await inParallel(Array.from({ length: NAMESPACES }, (_, i) => namespaceOf(i)), (name) => send('POST', '/api/v1/namespaces', { metadata: { name } }));
  await inParallel(cluster.objects(['Node', 'Service', 'EndpointSlice', 'Pod', 'ServiceRoute']), (object) => create(asLoaded(object)));
}

/** With a selector the control plane's own controller would write slices; a ServiceAccount that is not there keeps pods out. */
function asLoaded(object: SyntheticObject): SyntheticObject {
  if (object.kind === 'Service') return { ...object, spec: { ports: [{ name: 'http', port: 80, targetPort: 8080 }] } };
  if (object.kind === 'Pod') return { ...object, spec: { nodeName: nodeName(0), automountServiceAccountToken: false, containers: [{ name: 'main', image: 'none' }] } };
  return object;
}

const RESOURCES = { Node: 'nodes', Service: 'services', Pod: 'pods', EndpointSlice: 'endpointslices', ServiceRoute: 'serviceroutes' } as const;

function pathOf({ apiVersion, kind, metadata: { namespace } }: Pick<SyntheticObject, 'apiVersion' | 'kind' | 'metadata'>): string {
  return `/${apiVersion === 'v1' ? 'api' : 'apis'}/${apiVersion}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${RESOURCES[kind]}`;
}

const MERGE = 'application/merge-patch+json';

/** Moves all endpoints of one slice to these addresses, on the first node; resolves when the write was answered. */
export async function moveSlice(client: ApiClient, { namespace, name }: SliceName, addresses: readonly string[], port = 8080): Promise<void> {
  const endpoints = addresses.map((address) => ({ addresses: [address], conditions: { ready: true, serving: true, terminating: false }, nodeName: nodeName(0), zone: 'z0' }));
  const path = pathOf({ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { namespace, name } });
  await client.request('PATCH', `${path}/${name}`, { body: { ports: [{ name: 'http', port, protocol: 'TCP' }], endpoints }, contentType: MERGE });
}

async function inParallel<T>(items: Iterable<T>, work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = items[Symbol.iterator]();
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let next = queue.next(); next.done !== true; next = queue.next()) await work(next.value);
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
