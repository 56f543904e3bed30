import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { POD_PORT } from './lab.ts';
import type { Lab } from './lab.ts';

/** A route and its versions: each version is a Service of that name that selects the pods with the label `app` of that name. */
export interface RoutePlan {
  readonly namespace: string;
  readonly name: string;
  readonly vip: string;
  readonly globalVip?: string;
  readonly versions: readonly { readonly name: string; readonly weight?: number }[];
  /** Merged into the spec. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** The folder of Kubernetes YAML that all agents of a lab read: made from the lab's pods and these routes. */
export class ObjectFolder {
  readonly path: string;
  readonly #lab: Lab;
  readonly #routes: RoutePlan[];
  readonly #notReady = new Set<string>();
  readonly #listed = new Set<string>();

  constructor(lab: Lab, routes: readonly RoutePlan[]) {
    this.#lab = lab;
    this.#routes = [...routes];
    this.path = join(lab.folder, 'objects');
  }

  /** Says in its EndpointSlice whether a pod is ready; `write` brings it to the agents. */
  setReady(pod: string, ready: boolean): void {
    if (ready) this.#notReady.delete(pod);
    else this.#notReady.add(pod);
  }

  /** Adds a route; `write` brings it to the agents. */
  add(route: RoutePlan): void {
    this.#routes.push(route);
  }

  /** Lists a pod that the lab's plan leaves out. */
  list(pod: string): void {
    this.#listed.add(pod);
  }

  /** Replaces the file in one step, as kubelet and git do. */
  async write(): Promise<void> {
    const services = new Map(this.#routes.flatMap(({ namespace, versions }) => versions.map(({ name }) => [`${namespace}/${name}`, { namespace, name }] as const)));
    const documents = [
      ...this.#nodes(),
      ...this.#pods(),
      ...[...services.values()].flatMap(({ namespace, name }) => this.#versionObjects(namespace, name)),
      ...this.#routes.map((route) => routeObject(route)),
    ];
    const candidate = join(this.path, '.objects.tmp');
    await writeFile(candidate, documents.map((document) => stringify(document)).join('---\n'));
    await rename(candidate, join(this.path, 'objects.yaml'));
  }

  #nodes(): unknown[] {
    return [...this.#lab.nodes.values()].map((node) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: node.name, ...(node.zone === undefined ? {} : { labels: { 'topology.kubernetes.io/zone': node.zone } }) },
      status: { addresses: [{ type: 'InternalIP', address: node.address }] },
    }));
  }

  #pods(): unknown[] {
    return [...this.#lab.pods.values()].filter((pod) => pod.unlisted !== true || this.#listed.has(pod.name)).map((pod) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: pod.name, namespace: pod.namespace, ...(pod.app === undefined ? {} : { labels: { app: pod.app } }) },
      spec: { nodeName: pod.node, serviceAccountName: pod.serviceAccount ?? 'default' },
      status: { phase: 'Running', podIP: pod.address, podIPs: [{ ip: pod.address }] },
    }));
  }

  #versionObjects(namespace: string, name: string): unknown[] {
    const pods = [...this.#lab.pods.values()].filter((pod) => pod.namespace === namespace && pod.app === name);
    return [
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, namespace },
        spec: { clusterIP: 'None', selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: POD_PORT }] },
      },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name: `${name}-1`, namespace, labels: { 'kubernetes.io/service-name': name } },
        addressType: 'IPv4',
        ports: [{ name: 'http', port: POD_PORT, protocol: 'TCP' }],
        endpoints: pods.map((pod) => ({
          addresses: [pod.address],
          conditions: { ready: !this.#notReady.has(pod.name) },
          nodeName: pod.node,
          ...(this.#lab.node(pod.node).zone === undefined ? {} : { zone: this.#lab.node(pod.node).zone }),
          targetRef: { kind: 'Pod', namespace, name: pod.name },
        })),
      },
    ];
  }
}

function routeObject({ namespace, name, vip, globalVip, versions, spec }: RoutePlan): unknown {
  return {
    apiVersion: 'paas.io/v1',
    kind: 'ServiceRoute',
    metadata: { name, namespace },
    spec: {
      rule: { type: versions.some((version) => version.weight !== undefined) ? 'Percentage' : '' },
      global: globalVip !== undefined,
      to: versions.map((version) => ({
        kind: 'Service',
        name: version.name,
        ...(version.weight === undefined ? {} : { balance: { rule: version.weight } }),
      })),
      ...spec,
    },
    status: { vip, ...(globalVip === undefined ? {} : { globalVip }) },
  };
}
