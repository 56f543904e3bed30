import { openApiAccess } from '../../../src/kube/io/open-api-access.ts';
import { openApiClient, type ApiClient } from '../../../src/kube/io/open-api-client.ts';
import { eventually } from '../lab/run.ts';
import { AddressWatch } from './address-watch.ts';
import { openCluster, type Cluster } from './cluster.ts';
import { ControllerProcess } from './controller-process.ts';

const SYSTEM = 'onehop-system';
const LEASE = `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM}/leases/onehop-controller`;
const SPEC = { rule: { type: '' }, to: [{ kind: 'Service', name: 'web' }] };
const MERGE = 'application/merge-patch+json';

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
}

export interface RouteObject {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly status?: { readonly vip?: string; readonly globalVip?: string; readonly programmed?: string; readonly conditions: readonly Condition[] };
}

export interface ServiceObject {
  readonly metadata: { readonly resourceVersion: string; readonly uid: string };
  readonly spec: { readonly type: string; readonly externalName?: string };
}

/** A control plane with Onehop's shipped objects, without nodes; controllers as processes; nodes played by their reports. */
export class ControllerBench {
  readonly cluster: Cluster;
  readonly client: ApiClient;
  readonly watch: AddressWatch;
  readonly #started: ControllerProcess[] = [];

  private constructor(cluster: Cluster, client: ApiClient) {
    this.cluster = cluster;
    this.client = client;
    this.watch = new AddressWatch(client);
  }

  static async open(name: string, namespaces: readonly string[]): Promise<ControllerBench> {
    const cluster = await openCluster({ name, nodes: 0 });
    await cluster.kubectl(['apply', '-k', 'daemonset/base']);
    await cluster.kubectl(['wait', '--for=condition=Established', 'crd/serviceroutes.paas.io']);
    await cluster.apply(...namespaces.map((namespace) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })));
    return new ControllerBench(cluster, openApiClient(await openApiAccess({ kubeconfig: cluster.kubeconfig }), { userAgent: 'test' }));
  }

  async close(): Promise<void> {
    await this.watch.close();
    this.client.close();
    await this.cluster.close();
  }

  /** A controller that `endAll` ends. */
  async start(name: string, flags: readonly string[] = []): Promise<ControllerProcess> {
    const controller = await ControllerProcess.start(this.cluster, name, flags);
    this.#started.push(controller);
    return controller;
  }

  /** The controller that was started last. */
  get last(): ControllerProcess {
    const last = this.#started.at(-1);
    if (last === undefined) throw new Error('no controller was started');
    return last;
  }

  /** Ends all controllers at once, and shows what they said when asked to. */
  async endAll(show: boolean): Promise<void> {
    const ended = this.#started.splice(0);
    await Promise.all(ended.map((one) => one.stop('SIGKILL')));
    if (show) for (const { name, log } of ended) process.stderr.write(`--- ${name}\n${log}\n`);
    await this.freeLease();
  }

  async createRoute(namespace: string, name: string, spec: object = {}): Promise<void> {
    const body = { apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { namespace, name }, spec: { ...SPEC, ...spec } };
    await this.client.request('POST', routesPath(namespace), { body });
  }

  async deleteRoute(namespace: string, name: string): Promise<void> {
    await this.client.request('DELETE', `${routesPath(namespace)}/${name}`);
  }

  async changeRoute(namespace: string, name: string, spec: object): Promise<void> {
    await this.client.request('PATCH', `${routesPath(namespace)}/${name}`, { body: { spec }, contentType: MERGE });
  }

  readRoute(namespace: string, name: string): Promise<RouteObject> {
    return this.client.request<RouteObject>('GET', `${routesPath(namespace)}/${name}`);
  }

  /** All routes of a namespace. */
  async listRoutes(namespace: string): Promise<readonly RouteObject[]> {
    return (await this.client.request<{ items: readonly RouteObject[] }>('GET', routesPath(namespace), { maxBytes: 64 * 1024 * 1024 })).items;
  }

  async createService(namespace: string, name: string): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name }, spec: { ports: [{ port: 80 }] } };
    await this.client.request('POST', `/api/v1/namespaces/${namespace}/services`, { body });
  }

  readService(namespace: string, name: string): Promise<ServiceObject | undefined> {
    return this.client.request<ServiceObject>('GET', `/api/v1/namespaces/${namespace}/services/${name}`).catch(() => undefined);
  }

  /** Names of a namespace's access points. */
  async accessPoints(namespace: string): Promise<readonly string[]> {
    const query = { labelSelector: 'app.kubernetes.io/managed-by=onehop-controller' };
    const { items } = await this.client.request<{ items: readonly { metadata: { name: string } }[] }>('GET', `/api/v1/namespaces/${namespace}/services`, { query, maxBytes: 64 * 1024 * 1024 });
    return items.map(({ metadata }) => metadata.name).sort();
  }

  async ledger(): Promise<Readonly<Record<string, string>>> {
    const { data = {} } = await this.client.request<{ data?: Record<string, string> }>('GET', `/api/v1/namespaces/${SYSTEM}/configmaps/onehop-vip-ledger`);
    return data;
  }

  /** Name of the controller that holds the Lease; empty: nobody. */
  async holder(): Promise<string> {
    const lease = await this.client.request<{ spec: { holderIdentity?: string } }>('GET', LEASE).catch(() => undefined);
    return lease?.spec.holderIdentity?.split('_')[0] ?? '';
  }

  /** Takes the Lease from a process that is dead: a test need not wait until it runs out. */
  async freeLease(): Promise<void> {
    await this.client.request('PATCH', LEASE, { body: { spec: { holderIdentity: null } }, contentType: MERGE }).catch(() => undefined);
  }

  untilLeads(name: string, limitMs = 30_000): Promise<string> {
    return eventually(`${name} leads`, async () => (await this.holder()) === name && name, limitMs);
  }

  untilVip(namespace: string, name: string): Promise<string> {
    return eventually(`${namespace}/${name} has an address`, async () => (await this.readRoute(namespace, name)).status?.vip);
  }

  /** Plays agents: reports of these nodes, with everything in effect up to now. */
  async report(nodes: readonly string[], notInEffect = ''): Promise<void> {
    const { metadata } = await this.client.request<{ metadata: { resourceVersion: string } }>('GET', '/apis/paas.io/v1/serviceroutes', { query: { limit: 1 } });
    for (const node of nodes) {
      const name = `onehop-node-${node}`;
      const annotations = { 'onehop.paas.io/resource-version': metadata.resourceVersion, 'onehop.paas.io/not-in-effect': notInEffect };
      const body = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { namespace: SYSTEM, name, labels: { 'onehop.paas.io/report': 'node' }, annotations },
        spec: { holderIdentity: node, leaseDurationSeconds: 180, renewTime: `${new Date().toISOString().slice(0, -1)}000Z` },
      };
      const path = `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM}/leases/${name}`;
      await this.client.request('PATCH', path, { query: { fieldManager: 'onehop-agent', force: true }, body, contentType: 'application/apply-patch+yaml' });
    }
  }
}

const routesPath = (namespace: string): string => `/apis/paas.io/v1/namespaces/${namespace}/serviceroutes`;

/** `True Accepted`, for example. */
export function conditionOf(route: RouteObject, type: string): string | undefined {
  const one = route.status?.conditions.find((each) => each.type === type);
  return one && `${one.status} ${one.reason}`;
}
