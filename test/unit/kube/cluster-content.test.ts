import { describe, expect, test } from 'vitest';
import { ClusterContent } from '../../../src/kube/cluster-content.ts';
import { HostPods, MAX_PER_NAMESPACE } from '../../../src/kube/host-pods.ts';
import { parseEndpointSlice } from '../../../src/kube/parse-endpoint-slice.ts';
import { parseServiceRoute } from '../../../src/kube/parse-service-route.ts';
import { parseService } from '../../../src/kube/parse-service.ts';
import type { ParsedObject } from '../../../src/kube/parsed-object.ts';
import type { EndpointSlice } from '../../../src/model/snapshot.ts';
import { parseContext } from '../../support/kube-parse.ts';
import { node, serviceRoute } from '../../support/objects.ts';

const NOWHERE = (): undefined => undefined;
const service = (name: string): ParsedObject => parseService({ metadata: { namespace: 'shop', name }, spec: { ports: [{ port: 80 }] } }, NOWHERE);
const headerRoute = (name: string, regex: string): ParsedObject =>
  parseServiceRoute({ metadata: { namespace: 'shop', name }, spec: { rule: { type: 'Header', header: 'X' }, to: [{ kind: 'Service', name: 'v', balance: { rule: regex } }] } }, parseContext, NOWHERE);
const NONE = new Map<string, string>();

describe('content of a cluster', () => {
  test('an unchanged list stays the very same, and so does a Snapshot without a change', () => {
    const content = new ClusterContent();
    content.update('Service', new Map([['shop/a', service('a')]]));
    content.update('ServiceRoute', new Map([['shop/r', headerRoute('r', '1')]]));
    const first = content.build(NONE, '5');
    expect(content.build(NONE, '6')).toBe(first);
    expect(first.resourceVersion).toBe('5');
    content.update('Service', new Map([['shop/b', service('b')]]));
    const second = content.build(NONE, '7');
    expect(second.resourceVersion).toBe('7');
    expect(second.serviceRoutes).toBe(first.serviceRoutes);
    expect(second.services[0]).toBe(first.services[0]);
    expect(second.services.map(({ name }) => name)).toEqual(['a', 'b']);
    content.update('Service', new Map([['shop/a', undefined]]));
    expect(content.build(NONE, '8').services.map(({ name }) => name)).toEqual(['b']);
  });

  test('a route whose expression is refused loses its spec, and gets it back', () => {
    const content = new ClusterContent();
    content.update('ServiceRoute', new Map([['shop/r', headerRoute('r', '(')], ['shop/s', headerRoute('s', 'fine')]]));
    expect(content.patterns()).toEqual(['(', 'fine']);
    const refused = content.build(new Map([['(', 'missing )']]), '1');
    expect(refused.serviceRoutes.map(({ spec }) => spec === undefined)).toEqual([true, false]);
    expect(refused.problems).toMatchObject([{ code: 'regex-invalid', object: { name: 'r' } }]);
    const again = content.build(NONE, '2');
    expect(again.serviceRoutes.map(({ spec }) => spec === undefined)).toEqual([false, false]);
    expect(again.problems).toEqual([]);
  });

  test('an invalid route stands without its spec, though it was good before', () => {
    const content = new ClusterContent();
    content.update('ServiceRoute', new Map([['shop/r', headerRoute('r', '1')]]));
    content.build(NONE, '1');
    content.update('ServiceRoute', new Map([['shop/r', parseServiceRoute({ metadata: { namespace: 'shop', name: 'r' }, spec: {} }, parseContext, NOWHERE)]]));
    const { serviceRoutes, problems } = content.build(NONE, '2');
    expect(serviceRoutes).toMatchObject([{ name: 'r' }]);
    expect(serviceRoutes[0]?.spec).toBeUndefined();
    expect(problems.length).toBeGreaterThan(0);
    content.update('ServiceRoute', new Map([['shop/r', undefined]]));
    expect(content.build(NONE, '3')).toMatchObject({ serviceRoutes: [], problems: [] });
  });
});

describe('pods behind nodes addresses', () => {
  const nodes = [node('n1', undefined, ['10.0.0.1']), node('n2', undefined, ['10.0.0.2'])];
  const routes = [serviceRoute('shop/r', { to: [{ name: 'web' }] })];
  const slice = (name: string, endpoints: readonly object[], serviceName = 'web'): [string, EndpointSlice | undefined] => [
    `shop/${name}`,
    parseEndpointSlice({ metadata: { namespace: 'shop', name, labels: { 'kubernetes.io/service-name': serviceName } }, addressType: 'IPv4', ports: [{ port: 80 }], endpoints }, NOWHERE)?.object,
  ];
  const endpoint = (address: string, name: string, over: object = {}): object => ({ addresses: [address], targetRef: { kind: 'Pod', namespace: 'shop', name, uid: `uid-${name}`, ...over } });
  const wanted = (...slices: readonly [string, EndpointSlice | undefined][]): readonly string[] => {
    const pods = new HostPods();
    pods.updateSlices(new Map(slices));
    pods.updateContext(nodes, routes);
    return [...pods.wanted().keys()];
  };

  test.each<[string, readonly [string, EndpointSlice | undefined][], readonly string[]]>([
    ['a pod behind a node address is wanted', [slice('s', [endpoint('10.0.0.2', 'p')])], ['shop/p']],
    ['one behind an address of its own is not', [slice('s', [endpoint('10.1.0.2', 'p')])], []],
    ['a Service that no route names is not looked at', [slice('s', [endpoint('10.0.0.2', 'p')], 'other')], []],
    ['a pod of another namespace is not', [slice('s', [endpoint('10.0.0.2', 'p', { namespace: 'kube-system' })])], []],
    ['what is no pod is not', [slice('s', [endpoint('10.0.0.2', 'p', { kind: 'Node' })])], []],
    ['without a uid it is not', [slice('s', [endpoint('10.0.0.2', 'p', { uid: undefined })])], []],
    ['two slices that name one pod', [slice('s', [endpoint('10.0.0.2', 'p')]), slice('t', [endpoint('10.0.0.2', 'p')])], ['shop/p']],
  ])('%s', (_, slices, expected) => {
    expect(wanted(...slices)).toEqual(expected);
  });

  test('a namespace has a bound', () => {
    expect(wanted(slice('s', Array.from({ length: 400 }, (_, i) => endpoint('10.0.0.2', `p${i}`))))).toHaveLength(MAX_PER_NAMESPACE);
  });

  test('nodes and routes that come later, and slices that go', () => {
    const pods = new HostPods();
    pods.updateSlices(new Map([slice('s', [endpoint('10.0.0.2', 'p')])]));
    expect(pods.wanted().size).toBe(0);
    pods.updateContext(nodes, routes);
    expect(pods.wanted().size).toBe(1);
    pods.updateContext(nodes, []);
    expect(pods.wanted().size).toBe(0);
    pods.updateContext(nodes, routes);
    pods.updateSlices(new Map([['shop/s', undefined]]));
    expect(pods.wanted().size).toBe(0);
  });
});
