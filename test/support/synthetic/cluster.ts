/** What a made-up cluster is like. Every route has two versions, `a` and `b`; the nodes are `n1` to `n10`, in three zones. */
export interface ClusterShape {
  readonly routes: number;
  /** EndpointSlices per version. */
  readonly slices: number;
  /** Endpoints per slice at the start; the first one of a version is a pod of `n1`, the next one of `n2`, and so on. */
  readonly endpoints: number;
  /** Pods of `n1` that are nobody's endpoints: callers. */
  readonly pods: number;
  /** First octets of the pods' network, a /15 or larger: `10.128`, or on loopback `127.88`. */
  readonly network: '10.128' | '127.88';
  /** Where endpoints listen. Default 8080. */
  readonly port?: number;
  /** Every second route chooses by header: `X-Version: a` or `b`. Default: all routes split by percentage. */
  readonly headers?: boolean;
  /** The controller's part: what stands in `status.vip`. Absent: no status. */
  readonly vip?: (route: number) => string;
}

export type SyntheticKind = 'Node' | 'ServiceRoute' | 'Service' | 'EndpointSlice' | 'Pod';

/** An object as the API server or a file has it. */
export interface SyntheticObject {
  readonly apiVersion: string;
  readonly kind: SyntheticKind;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Readonly<Record<string, string>> };
  readonly [field: string]: unknown;
}

export interface SyntheticPod {
  readonly address: string;
  readonly ready: boolean;
  readonly node: number;
}

export const NAMESPACES = 20;
export const NODES = 10;
/** Addresses that the pods of one version have, one after the other. */
const SLOTS = 32;
/** Above the addresses of all versions. */
const CALLERS_FROM = 64_000;
const MAX_ROUTES = CALLERS_FROM / SLOTS / 2;

export const namespaceOf = (route: number): string => `ns${route % NAMESPACES}`;
export const routeName = (route: number): string => `route-${route}`;
export const nodeName = (node: number): string => `n${(node % NODES) + 1}`;
export const zoneName = (node: number): string => `z${(node % NODES) % 3}`;
export const versionLetter = (version: number): string => 'ab'[version] ?? '';
export const versionName = (route: number, version: number): string => `${routeName(route)}-${versionLetter(version)}`;
export const sliceName = (route: number, version: number, slice: number): { readonly namespace: string; readonly name: string } => ({
  namespace: namespaceOf(route),
  name: `${versionName(route, version)}-${slice}`,
});

/** Routes that choose by header. */
export const isHeaderRoute = (shape: ClusterShape, route: number): boolean => shape.headers === true && route % 2 === 1;

/** Which version has or had a pod with this address; undefined: none of the cluster's. */
export function ownerOf(shape: ClusterShape, address: string): { readonly route: number; readonly version: number } | undefined {
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
  const [first = 0, second = 0] = shape.network.split('.').map(Number);
  const index = ((b - second) << 16) | (c << 8) | d;
  const version = Math.floor(index / SLOTS);
  return a !== first || b < second || version >= shape.routes * 2 ? undefined : { route: version >> 1, version: version & 1 };
}

/** A cluster and its state. Objects are built when they are asked for: only pods, shares and ACLs are kept. */
export class SyntheticCluster {
  readonly shape: ClusterShape;
  /** By route and version, then by slice. */
  readonly #pods: SyntheticPod[][][];
  readonly #nextSlot: number[];
  readonly #shares = new Map<number, readonly [number, number]>();
  readonly #denied = new Map<number, string>();

  constructor(shape: ClusterShape) {
    if (shape.routes > MAX_ROUTES || shape.slices * shape.endpoints > SLOTS - 4) throw new Error(`at most ${MAX_ROUTES} routes and ${SLOTS - 4} endpoints per version`);
    this.shape = shape;
    this.#nextSlot = Array.from({ length: shape.routes * 2 }, () => shape.slices * shape.endpoints);
    this.#pods = Array.from({ length: shape.routes * 2 }, (_, version) =>
      Array.from({ length: shape.slices }, (_, slice) =>
        Array.from({ length: shape.endpoints }, (_, i) => ({ address: this.#address(version * SLOTS + slice * shape.endpoints + i), ready: true, node: (slice * shape.endpoints + i) % NODES })),
      ),
    );
  }

  /** Every object of these kinds, in an order in which they can be created. */
  *objects(kinds: readonly SyntheticKind[] = ['Node', 'Service', 'EndpointSlice', 'Pod', 'ServiceRoute']): Generator<SyntheticObject> {
    const { routes, slices, pods } = this.shape;
    for (const kind of kinds) {
      if (kind === 'Node') for (let node = 0; node < NODES; node++) yield this.node(node);
      if (kind === 'Pod') for (let pod = 0; pod < pods; pod++) yield this.caller(pod);
      for (let route = 0; route < routes; route++) {
        if (kind === 'ServiceRoute') yield this.serviceRoute(route);
        for (const version of [0, 1]) {
          if (kind === 'Service') yield this.service(route, version);
          if (kind === 'EndpointSlice') for (let slice = 0; slice < slices; slice++) yield this.slice(route, version, slice);
        }
      }
    }
  }

  node(node: number): SyntheticObject {
    return { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName(node), labels: { 'topology.kubernetes.io/zone': zoneName(node) } } };
  }

  service(route: number, version: number): SyntheticObject {
    const name = versionName(route, version);
    return {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: namespaceOf(route) },
      spec: { selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: this.port }] },
    };
  }

  serviceRoute(route: number): SyntheticObject {
    const shares = this.#shares.get(route) ?? [50, 50];
    const denied = this.#denied.get(route);
    const byHeader = isHeaderRoute(this.shape, route);
    return {
      apiVersion: 'paas.io/v1',
      kind: 'ServiceRoute',
      metadata: { name: routeName(route), namespace: namespaceOf(route) },
      spec: {
        rule: byHeader ? { type: 'Header', header: 'X-Version', prefer: versionName(route, 0) } : { type: 'Percentage' },
        ...(denied === undefined ? {} : { acl: { entries: [{ kind: 'ServiceAccount', name: denied }] } }),
        to: [0, 1].map((version) => ({ kind: 'Service', name: versionName(route, version), balance: { rule: byHeader ? `^${versionLetter(version)}$` : (shares[version] ?? 0) } })),
      },
      ...(this.shape.vip === undefined ? {} : { status: { vip: this.shape.vip(route) } }),
    };
  }

  slice(route: number, version: number, slice: number): SyntheticObject {
    const { namespace, name } = sliceName(route, version, slice);
    return {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name, namespace, labels: { 'kubernetes.io/service-name': versionName(route, version), 'endpointslice.kubernetes.io/managed-by': 'synthetic' } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: this.port, protocol: 'TCP' }],
      endpoints: this.pods(route, version, slice).map(({ address, ready, node }) => ({
        addresses: [address],
        conditions: { ready, serving: ready, terminating: false },
        nodeName: nodeName(node),
        zone: zoneName(node),
        targetRef: { kind: 'Pod', namespace, name: `${name}-6f7d9c5b8d-${address.replaceAll('.', '-')}`, uid: `6a1f0c9e-0000-4000-8000-${address.replaceAll('.', '').padStart(12, '0')}` },
      })),
    };
  }

  /** A pod of `n1` that calls. */
  caller(pod: number): SyntheticObject {
    const address = this.#address(CALLERS_FROM + pod);
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `pod-${pod}`, namespace: namespaceOf(pod), labels: { app: versionName(pod % this.shape.routes, 0) } },
      spec: { nodeName: nodeName(0), serviceAccountName: `account-${pod % 3}`, containers: [{ name: 'main', image: 'none' }] },
      status: { phase: 'Running', podIP: address, podIPs: [{ ip: address }] },
    };
  }

  get port(): number {
    return this.shape.port ?? 8080;
  }

  pods(route: number, version: number, slice: number): readonly SyntheticPod[] {
    return this.#pods[route * 2 + version]?.[slice] ?? [];
  }

  setPods(route: number, version: number, slice: number, pods: readonly SyntheticPod[]): void {
    const slices = this.#pods[route * 2 + version];
    if (slices !== undefined) slices[slice] = [...pods];
  }

  setShares(route: number, shares: readonly [number, number]): void {
    this.#shares.set(route, shares);
  }

  /** The ServiceAccount that may not call; undefined: all may. */
  setDenied(route: number, account: string | undefined): void {
    if (account === undefined) this.#denied.delete(route);
    else this.#denied.set(route, account);
  }

  isDenied(route: number): boolean {
    return this.#denied.has(route);
  }

  /** An address of this version that no pod has now; each once before the first comes again. */
  freeAddress(route: number, version: number): string {
    const index = route * 2 + version;
    const taken = new Set(this.#pods[index]?.flatMap((pods) => pods.map(({ address }) => address)));
    for (;;) {
      const slot = this.#nextSlot[index] ?? 0;
      this.#nextSlot[index] = (slot + 1) % SLOTS;
      const address = this.#address(index * SLOTS + slot);
      if (!taken.has(address)) return address;
    }
  }

  #address(index: number): string {
    const [first = 0, second = 0] = this.shape.network.split('.').map(Number);
    return `${first}.${second + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
  }
}
