import { describe, expect, it } from 'vitest';
import { parseNodeReport } from '../../../src/kube/parse-node-report.ts';
import { parseRouteState } from '../../../src/kube/parse-route-state.ts';
import { parseServiceState } from '../../../src/kube/parse-service-state.ts';
import { readRouteSchema } from '../../../src/kube/io/read-crd.ts';
import { compareVersions, isAtLeast } from '../../../src/model/resource-version.ts';

const context = { schema: await readRouteSchema(), globalNamespace: 'global' };

describe('a ServiceRoute of the API server', () => {
  const metadata = { name: 'cart', namespace: 'shop', uid: 'u', resourceVersion: '7', generation: 2 };
  const spec = { rule: { type: '' }, to: [{ kind: 'Service', name: 'web' }] };

  it('is the route, and what was written about it', () => {
    const condition = { type: 'Accepted', status: 'True', reason: 'Accepted', message: '', lastTransitionTime: 't', observedGeneration: 2 };
    const status = { vip: '169.254.193.1', programmed: '1/1', changeVersion: '6', observedGeneration: 2, conditions: [condition, 'nonsense', { type: 7 }] };
    const state = parseRouteState({ apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata, spec, status }, context);
    expect(state).toMatchObject({ uid: 'u', generation: 2, resourceVersion: '7', route: { name: 'cart', status: { vip: '169.254.193.1' } } });
    expect(state?.status).toEqual({ ...status, conditions: [condition] });
  });

  it('with a bad spec has no spec; in the global namespace it is no route', () => {
    expect(parseRouteState({ metadata, spec: { ...spec, to: [] } }, context)?.route).not.toHaveProperty('spec');
    const misplaced = parseRouteState({ metadata: { ...metadata, namespace: 'global' }, spec }, context);
    expect([misplaced?.route, misplaced?.problems.map(({ code }) => code)]).toEqual([undefined, ['namespace-reserved']]);
  });

  it('without a name or a version is nothing', () => {
    expect([parseRouteState({ metadata: {} }, context), parseRouteState(null, context)]).toEqual([undefined, undefined]);
  });
});

describe('an access point', () => {
  const labels = { 'app.kubernetes.io/managed-by': 'onehop-controller', 'onehop.paas.io/access-point': 'route' };
  const annotations = { 'onehop.paas.io/route': 'shop/cart' };
  const raw = (metadata: object, type = 'ExternalName') => parseServiceState({ metadata: { name: 'cart', namespace: 'shop', uid: 'u', resourceVersion: '3', ...metadata }, spec: { type, externalName: 'cart.shop.route.internal' } });

  it('is an ExternalName with both labels and the annotation, and nothing less', () => {
    expect(raw({ labels, annotations })?.mark).toEqual({ kind: 'route', route: 'shop/cart' });
    expect(raw({ labels })?.mark).toBeUndefined();
    expect(raw({ annotations })?.mark).toBeUndefined();
    expect(raw({ labels: { ...labels, 'onehop.paas.io/access-point': 'other' }, annotations })?.mark).toBeUndefined();
    expect(raw({ labels: { ...labels, 'app.kubernetes.io/managed-by': 'helm' }, annotations })?.mark).toBeUndefined();
    expect(raw({ labels, annotations }, 'ClusterIP')?.mark).toBeUndefined();
  });
});

describe('a node report', () => {
  const report = (name: string, holder: string, lines = '') =>
    parseNodeReport({ metadata: { name, annotations: { 'onehop.paas.io/resource-version': '12', 'onehop.paas.io/not-in-effect': lines } }, spec: { holderIdentity: holder, renewTime: 't' } });

  it('says what is in effect, and what is not', () => {
    expect(report('onehop-node-n1', 'n1', 'shop/cart: port-taken\nnonsense\na/b: <script>\nx/y: ok')).toEqual({ node: 'n1', version: '12', renewTime: 't', notInEffect: new Map([['shop/cart', 'port-taken'], ['x/y', 'ok']]) });
  });

  it('counts for the node that it is named after only', () => {
    expect([report('onehop-node-n1', 'n2'), report('onehop-controller', 'n1'), report('onehop-node-', ''), parseNodeReport(null)]).toEqual([undefined, undefined, undefined, undefined]);
  });
});

it('resourceVersions are compared as numbers of any size', () => {
  expect([isAtLeast('10', '9'), isAtLeast('9', '10'), isAtLeast('10', '10'), isAtLeast('18446744073709551616', '18446744073709551615')]).toEqual([true, false, true, true]);
  expect([compareVersions('', '1'), compareVersions('1', 'x'), compareVersions('01', '1'), isAtLeast('', '')]).toEqual([undefined, undefined, undefined, false]);
});
