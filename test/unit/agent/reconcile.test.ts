import { describe, expect, it } from 'vitest';
import { reconcile, type World } from '../../../src/agent/reconcile.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { service, serviceRoute, slice, snapshot } from '../../support/objects.ts';

const pool = parseVipPool('127.77.0.0/16');
const world: World = {
  now: () => 0,
  options: () => ({ nodeName: 'n1', ownAddresses: [], pool, vips: 'allocate', globalNamespace: 'global', trustedCallers: [], httpPort: 8080, zoneName: 'route.internal', version: '0' }),
  proxy: { apply: () => Promise.resolve([]), listeners: () => new Set() },
  saveLedger: () => Promise.resolve(),
  useTokenCodes: () => {},
  problems: () => [],
  prepareNode: () => Promise.resolve(),
  checkListeners: () => Promise.resolve(new Map()),
  prepareZone: () => undefined,
  serveZone: () => Promise.resolve(),
};
const objects = { serviceRoutes: [serviceRoute('shop/cart')], services: [service('shop/web')] };

describe('the generation', () => {
  const passes = async (...snapshots: readonly Snapshot[]): Promise<readonly number[]> => {
    const generations: number[] = [];
    let effect: Awaited<ReturnType<typeof reconcile>> | undefined;
    for (const one of snapshots) {
      effect = await reconcile(world, one, effect ?? { generation: 0, ledger: {} });
      generations.push(effect.generation);
    }
    return generations;
  };

  it('stays when a pass finds all as it was', async () => {
    const same = snapshot({ ...objects, serviceRoutes: [...objects.serviceRoutes, serviceRoute('shop/bad', null)] });
    expect(await passes(same, same, same)).toEqual([1, 1, 1]);
  });

  it('grows with a route, an endpoint and a Problem', async () => {
    const endpointSlices = [slice('shop/web', ['127.88.1.1'])];
    expect(
      await passes(
        snapshot(objects),
        snapshot({ ...objects, endpointSlices }),
        snapshot({ ...objects, endpointSlices, serviceRoutes: [...objects.serviceRoutes, serviceRoute('shop/other')] }),
        snapshot({ ...objects, endpointSlices: [slice('shop/web', ['127.88.1.1', '10.0.0.1'])] }),
      ),
    ).toEqual([1, 2, 3, 4]);
  });
});

describe('a node that cannot be prepared', () => {
  const unable: World = { ...world, prepareNode: () => Promise.reject(new Error('spawn nft EAGAIN')) };

  it('ends the first pass', async () => {
    await expect(reconcile(unable, snapshot(objects), { generation: 0, ledger: {} })).rejects.toThrow('EAGAIN');
  });

  it('is a Problem later, and endpoints go on changing', async () => {
    const before = await reconcile(world, snapshot(objects), { generation: 0, ledger: {} });
    const applied: (string | undefined)[] = [];
    const proxy: World['proxy'] = {
      listeners: () => new Set(),
      apply: (table) => {
        applied.push(table.routes[0]?.versions[0]?.endpoints[0]?.address);
        return Promise.resolve([]);
      },
    };
    const { problems } = await reconcile({ ...unable, proxy }, snapshot({ ...objects, endpointSlices: [slice('shop/web', ['127.88.1.1'])] }), before);
    expect(applied).toEqual(['127.88.1.1']);
    expect(problems).toMatchObject([{ code: 'node-unprepared', object: { kind: 'Node', name: 'n1' } }]);
  });
});
