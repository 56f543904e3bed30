import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { churn, type Change } from '../../support/synthetic/churn.ts';
import { namespaceOf, ownerOf, SyntheticCluster, type ClusterShape } from '../../support/synthetic/cluster.ts';
import { writeFolder } from '../../support/synthetic/write-folder.ts';
import { parseText } from '../../support/kube-parse.ts';

const SHAPE: ClusterShape = { routes: 40, slices: 2, endpoints: 3, pods: 10, network: '127.88', headers: true, vip: (route) => `127.94.1.${route}` };
const ALL = { add: 1, remove: 2, replace: 2, unready: 2, ready: 1, share: 1, acl: 1 };

/** So many changes of a new cluster, each with what the changed version has then. */
function play(seed: number, count: number): { readonly change: Change; readonly ready: readonly string[] }[] {
  const cluster = new SyntheticCluster(SHAPE);
  const sequence = churn(cluster, { seed, weights: ALL });
  return Array.from({ length: count }, () => {
    const change = sequence.next().value;
    const pods = [0, 1].flatMap((slice) => cluster.pods(change.route, change.version, slice));
    return { change, ready: pods.filter(({ ready }) => ready).map(({ address }) => address) };
  });
}

describe('the made-up cluster', () => {
  it('is valid in every object', () => {
    const cluster = new SyntheticCluster(SHAPE);
    const { objects, problems } = parseText(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...cluster.objects()] }));
    expect(problems).toEqual([]);
    expect(Object.fromEntries([...Map.groupBy(objects, ({ kind }) => kind)].map(([kind, { length }]) => [kind, length]))).toEqual({ Node: 10, Service: 80, EndpointSlice: 160, Pod: 10, ServiceRoute: 40 });
  });

  it('has the same objects as files', () => {
    const folder = mkdtempSync(join(tmpdir(), 'onehop-synthetic-'));
    const cluster = new SyntheticCluster(SHAPE);
    writeFolder(folder, cluster);
    const names = (items: readonly unknown[]): string[] => items.map((one) => JSON.stringify(one)).sort();
    const read = ['nodes', ...new Set(Array.from({ length: 20 }, (_, i) => namespaceOf(i)))].flatMap((name) => (JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as { items: unknown[] }).items);
    rmSync(folder, { recursive: true });
    expect(names(read)).toEqual(names([...cluster.objects()]));
  });

  it('tells whose an address is', () => {
    const cluster = new SyntheticCluster(SHAPE);
    for (const [route, version] of [[0, 0], [7, 1], [39, 1]] as const) {
      for (const { address } of cluster.pods(route, version, 1)) expect(ownerOf(SHAPE, address)).toEqual({ route, version });
      expect(ownerOf(SHAPE, cluster.freeAddress(route, version))).toEqual({ route, version });
    }
    expect(ownerOf(SHAPE, '127.88.250.0')).toBeUndefined();
    expect(ownerOf(SHAPE, '127.89.0.1')).toBeUndefined();
  });
});

describe('churn', () => {
  it('is the same for the same seed, another for another', () => {
    expect(play(1, 200)).toEqual(play(1, 200));
    expect(play(1, 20)).not.toEqual(play(2, 20));
  });

  it('never takes the last ready pod of a version, nor gives an address that is in use', () => {
    for (const { change, ready } of play(3, 2_000)) {
      expect(ready.length).toBeGreaterThan(0);
      expect(new Set(ready).size).toBe(ready.length);
      expect(change.appeared === undefined || ready.includes(change.appeared.address)).toBe(true);
      expect(ready.some((address) => address === change.gone)).toBe(false);
    }
  });

  it('has every kind, and gives each slice its turn before one has a second', () => {
    const changes = play(4, 1_000).map(({ change }) => change);
    expect([...new Set(changes.map(({ kind }) => kind))].sort()).toEqual(Object.keys(ALL).sort());
    const slices = changes.slice(0, 160).filter(({ object }) => object.kind === 'EndpointSlice').map(({ object }) => `${object.metadata.namespace}/${object.metadata.name}`);
    expect(new Set(slices).size).toBe(slices.length);
  });
});
