import fc from 'fast-check';
import { expect, it } from 'vitest';
import { buildDesired, type DesiredMemory } from '../../src/desired/build-desired.ts';
import { rememberRender } from '../../src/haproxy/remember-render.ts';
import { renderConfig } from '../../src/haproxy/render-config.ts';
import { ClusterContent } from '../../src/kube/cluster-content.ts';
import type { RenderOptions } from '../../src/haproxy/render-options.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';
import { parseText } from '../support/kube-parse.ts';
import { churn } from '../support/synthetic/churn.ts';
import { SyntheticCluster } from '../support/synthetic/cluster.ts';

const options = {
  nodeName: 'n1',
  ownAddresses: [],
  pool: parseVipPool('127.94.0.0/16'),
  vips: 'status' as const,
  globalNamespace: 'global',
  trustedCallers: [],
  httpPort: 8080,
  zoneName: 'route.internal',
  version: 'test',
};
const renderOptions: RenderOptions = { runDir: '/run/onehop', drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const weights = { add: 2, remove: 2, replace: 2, unready: 2, ready: 2, share: 1, acl: 1 };

/** From the API server's objects to what HAProxy reads, all memories in a row: a change of a cluster costs little, and loses nothing. */
it('what is built by changes is what is built from all', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 1, max: 4 }), (seed, atOnce) => {
      const cluster = new SyntheticCluster({ routes: 4, slices: 1, endpoints: 3, pods: 2, network: '127.88', headers: true, vip: (route) => `127.94.1.${route}` });
      const content = new ClusterContent();
      const take = (objects: Iterable<object>): void => {
        const { objects: parsed } = parseText(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...objects] }));
        for (const one of parsed) content.update(one.kind, new Map([[one.namespace === undefined ? one.name : `${one.namespace}/${one.name}`, one]]));
      };
      take(cluster.objects());
      const render = rememberRender(renderOptions);
      const sequence = churn(cluster, { seed, weights });
      let memory: DesiredMemory | undefined;
      for (let i = 0; i < 12; i++) {
        const snapshot = content.build(new Map(), String(i));
        const fresh = buildDesired(snapshot, options, {}, 0);
        const next = buildDesired(snapshot, options, {}, 0, memory);
        expect({ ...next, memory: undefined }).toEqual({ ...fresh, memory: undefined });
        const [rendered, all] = [render(next.table), renderConfig(fresh.table, renderOptions)];
        expect({ ...rendered }).toEqual({ ...all });
        ({ memory } = next);
        take(Array.from({ length: atOnce }, () => sequence.next().value.object));
      }
    }),
    { numRuns: 12 },
  );
}, 60_000);
