import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A made-up cluster on loopback: `routes` routes with two versions each, `endpoints` endpoints in all, in 20 namespaces. */
export interface SyntheticCluster {
  readonly routes: number;
  readonly endpoints: number;
}

const NAMESPACES = 20;
const NODES = 10;

export const namespaceOf = (route: number): string => `ns${route % NAMESPACES}`;
export const routeName = (route: number): string => `route-${route}`;

/** Writes the whole cluster: one JSON file per namespace, and the nodes. */
export function writeCluster(folder: string, cluster: SyntheticCluster): void {
  mkdirSync(folder, { recursive: true });
  const nodes = Array.from({ length: NODES }, (_, i) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: `n${i + 1}`, labels: { 'topology.kubernetes.io/zone': `z${i % 3}` } },
  }));
  writeAtomically(folder, 'nodes.json', nodes);
  for (let namespace = 0; namespace < NAMESPACES; namespace++) writeNamespace(folder, cluster, namespace, 0);
}

/** Writes one namespace again; each `round` moves all its endpoints to other addresses. */
export function writeNamespace(folder: string, cluster: SyntheticCluster, namespace: number, round: number): void {
  const objects: object[] = [];
  for (let route = namespace; route < cluster.routes; route += NAMESPACES) objects.push(...routeObjects(cluster, route, round));
  writeAtomically(folder, `ns${namespace}.json`, objects);
}

function routeObjects({ routes, endpoints }: SyntheticCluster, route: number, round: number): readonly object[] {
  const namespace = namespaceOf(route);
  const perVersion = Math.round(endpoints / routes / 2);
  const versions = ['a', 'b'].map((version) => `${routeName(route)}-${version}`);
  return [
    {
      apiVersion: 'paas.io/v1',
      kind: 'ServiceRoute',
      metadata: { name: routeName(route), namespace },
      spec: { rule: { type: 'Percentage' }, to: versions.map((name) => ({ kind: 'Service', name, balance: { rule: 50 } })) },
    },
    ...versions.flatMap((name, version) => [
      { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace }, spec: { selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] } },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name: `${name}-1`, namespace, labels: { 'kubernetes.io/service-name': name } },
        addressType: 'IPv4',
        ports: [{ name: 'http', port: 8080 }],
        endpoints: Array.from({ length: perVersion }, (_, i) => ({
          addresses: [`127.88.${(route + round) % 256}.${(version * perVersion + i + round) % 256}`],
          nodeName: `n${(i % NODES) + 1}`,
          targetRef: { kind: 'Pod', namespace, name: `${name}-${i}` },
        })),
      },
    ]),
  ];
}

function writeAtomically(folder: string, file: string, items: readonly object[]): void {
  const aside = join(folder, `.${file}.new`);
  writeFileSync(aside, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  renameSync(aside, join(folder, file));
}
