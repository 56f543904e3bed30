import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NAMESPACES, namespaceOf, type SyntheticCluster, type SyntheticObject } from './cluster.ts';

/** Writes the whole cluster: one JSON file per namespace, one for the nodes. */
export function writeFolder(folder: string, cluster: SyntheticCluster): void {
  mkdirSync(folder, { recursive: true });
  writeAtomically(folder, 'nodes.json', [...cluster.objects(['Node'])]);
  for (let namespace = 0; namespace < NAMESPACES; namespace++) writeNamespace(folder, cluster, namespaceOf(namespace));
}

/** Writes one namespace as it is now. */
export function writeNamespace(folder: string, cluster: SyntheticCluster, namespace: string): void {
  const objects: SyntheticObject[] = [];
  for (let pod = 0; pod < cluster.shape.pods; pod++) if (namespaceOf(pod) === namespace) objects.push(cluster.caller(pod));
  for (let route = 0; route < cluster.shape.routes; route++) {
    if (namespaceOf(route) !== namespace) continue;
    objects.push(cluster.serviceRoute(route));
    for (const version of [0, 1]) {
      objects.push(cluster.service(route, version));
      for (let slice = 0; slice < cluster.shape.slices; slice++) objects.push(cluster.slice(route, version, slice));
    }
  }
  writeAtomically(folder, `${namespace}.json`, objects);
}

/** Gives all pods of one namespace's routes other addresses. */
export function moveNamespace(cluster: SyntheticCluster, namespace: string): void {
  for (let route = 0; route < cluster.shape.routes; route++) {
    if (namespaceOf(route) !== namespace) continue;
    for (const version of [0, 1]) {
      for (let slice = 0; slice < cluster.shape.slices; slice++) {
        cluster.setPods(route, version, slice, cluster.pods(route, version, slice).map((pod) => ({ ...pod, address: cluster.freeAddress(route, version) })));
      }
    }
  }
}

function writeAtomically(folder: string, file: string, items: readonly SyntheticObject[]): void {
  const aside = join(folder, `.${file}.new`);
  writeFileSync(aside, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  renameSync(aside, join(folder, file));
}
