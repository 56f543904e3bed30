import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EndpointSlice, Pod, Service, Snapshot } from '../../src/model/snapshot.ts';
import type { ServiceRoute } from '../../src/model/service-route.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';
import { buildDesired, type DesiredMemory } from '../../src/desired/build-desired.ts';
import type { VipLedger } from '../../src/model/vip-ledger.ts';
import { node, pod, service, serviceRoute, slice, snapshot } from '../support/objects.ts';

const options = {
  nodeName: 'n1',
  ownAddresses: ['192.168.0.1'],
  pool: parseVipPool('169.254.192.0/19'),
  vips: 'allocate' as const,
  globalNamespace: 'global',
  trustedCallers: [],
  httpPort: 80,
  zoneName: 'route.internal',
  version: 'test',
};

const NODES = [node('n1', 'z1'), node('n2', 'z1'), node('n3', 'z2')];

/** Any of these makes one list of the snapshot new, with most elements the very same as before. */
type Edit = { readonly list: 'routes' | 'services' | 'slices' | 'pods'; readonly index: number; readonly kind: number };
const edit = fc.record({ list: fc.constantFrom('routes', 'services', 'slices', 'pods'), index: fc.nat(5), kind: fc.nat(4) });
/** Each step is a build: of one edit, or of several that came at once. */
const edits = fc.array(fc.array(fc.oneof({ weight: 2, arbitrary: edit }, { weight: 1, arbitrary: edit.map((one) => ({ ...one, list: 'slices' as const, index: (one.index % 3) * 5 + one.kind, kind: one.index < 3 ? 4 : one.kind })) }), { minLength: 1, maxLength: 4 }), { maxLength: 20 });

const makers = {
  routes: (i: number, kind: number): ServiceRoute =>
    kind === 0
      ? serviceRoute(`ns${i % 2}/r${i}`, null)
      : serviceRoute(
          `ns${i % 2}/r${i}`,
          {
            global: kind === 1,
            rule: { type: kind === 2 ? 'Percentage' : '' },
            to: [{ name: 's0', weight: 10 * kind }, { name: `s${i}` }].slice(0, i === 0 ? 1 : 2),
            acl: { defaultAllow: kind !== 3, entries: [{ name: 's1', namespace: 'ns0' }] },
          },
          { status: kind === 3 ? {} : { vip: `169.254.193.${i}`, ...(kind === 1 ? { globalVip: `169.254.194.${i}` } : {}) } },
        ),
  services: (i: number, kind: number): Service =>
    service(`ns${i % 2}/s${i}`, kind === 0 ? [] : [{ port: kind === 4 ? 443 : 80, ...(kind === 3 ? { appProtocol: 'mysql' } : {}) }], { selector: { app: `a${kind}` }, clusterIPs: [`10.96.0.${kind}`] }),
  /** Five of each Service, sorted as sources do. */
  slices: (i: number, kind: number): EndpointSlice => {
    const of = Math.floor(i / 5);
    return slice(`ns${of % 2}/s${of}`, Array.from({ length: kind + 1 }, (_, k) => `10.${kind}.${i}.${k}@n${(k % 3) + 1}`), undefined, { name: `s${of}-${i % 5}` });
  },
  pods: (i: number, kind: number): Pod => pod(`ns${i % 2}/p${i}`, `10.9.0.${kind === 4 ? 1 : i}`, { labels: { app: `a${kind}` }, phase: kind === 3 ? 'Failed' : 'Running' }),
};

const ROUTE = serviceRoute('a/x', { to: [{ name: 's' }] });
const SERVICE = service('a/s');

describe('what a build remembers', () => {
  it.each(['allocate', 'status'] as const)('never changes what the next one gives (addresses by %s)', (vips) => {
    fc.assert(
      fc.property(edits, (steps: readonly (readonly Edit[])[]) => {
        const lists: { [List in keyof typeof makers]: Map<number, ReturnType<(typeof makers)[List]>> } = { routes: new Map(), services: new Map(), slices: new Map(), pods: new Map() };
        let memory: DesiredMemory | undefined;
        let ledger: VipLedger = {};
        for (const together of steps) {
          for (const { list, index, kind } of together) {
            if (kind === 4 && (index % 2 === 0 || list === 'slices')) lists[list].delete(index);
            else if (list === 'routes') lists.routes.set(index, makers.routes(index, kind));
            else if (list === 'services') lists.services.set(index, makers.services(index, kind));
            else if (list === 'slices') lists.slices.set(index, makers.slices(index, kind));
            else lists.pods.set(index, makers.pods(index, kind));
          }
          const now: Snapshot = snapshot({
            serviceRoutes: [...lists.routes.values()],
            services: [...lists.services.values()],
            endpointSlices: [...lists.slices].sort(([a], [b]) => a - b).map(([, one]) => one),
            pods: [...lists.pods.values()],
            nodes: NODES,
          });
          const fresh = buildDesired(now, { ...options, vips }, ledger, 0);
          const next = buildDesired(now, { ...options, vips }, ledger, 0, memory);
          expect({ ...next, memory: undefined }).toEqual({ ...fresh, memory: undefined });
          ({ memory, ledger } = next);
        }
      }),
      { numRuns: 150 },
    );
  });

  it('a slice that goes while another one of its Service comes takes no third one with it', () => {
    const [a, b, c] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((address, i) => slice('a/s', [address], undefined, { name: `s-${i}` }));
    const withSlices = (...endpointSlices: (EndpointSlice | undefined)[]): Snapshot =>
      snapshot({ serviceRoutes: [ROUTE], services: [SERVICE], endpointSlices: endpointSlices.filter((one) => one !== undefined), nodes: NODES });
    const first = buildDesired(withSlices(a, b), options, {}, 0);
    const second = buildDesired(withSlices(b, c), options, first.ledger, 0, first.memory);
    expect(second.table.routes[0]?.versions[0]?.endpoints.map(({ address }) => address)).toEqual(['10.0.0.2', '10.0.0.3']);
  });

  it('keeps the identity of routes that did not change, and of the zone while only endpoints do', () => {
    const before = snapshot({
      serviceRoutes: [serviceRoute('a/x', { to: [{ name: 's' }] }), serviceRoute('a/y', { to: [{ name: 't' }] })],
      services: [service('a/s'), service('a/t')],
      endpointSlices: [slice('a/s', ['10.0.0.1']), slice('a/t', ['10.0.0.2'])],
    });
    const first = buildDesired(before, options, {}, 0);
    const [kept] = before.endpointSlices;
    const second = buildDesired({ ...before, endpointSlices: [...(kept === undefined ? [] : [kept]), slice('a/t', ['10.0.0.3'])] }, options, first.ledger, 0, first.memory);
    expect(second.table.routes[0]).toBe(first.table.routes[0]);
    expect(second.table.routes[1]).not.toBe(first.table.routes[1]);
    expect(second.table.routes[1]?.versions[0]?.active[0]?.address).toBe('10.0.0.3');
    expect(second.zone).toBe(first.zone);
  });
});


