import { describe, expect, test } from 'vitest';
import type { Locate } from '../../../src/kube/field-path.ts';
import { parseEndpointSlice } from '../../../src/kube/parse-endpoint-slice.ts';
import { parseNode } from '../../../src/kube/parse-node.ts';
import { parsePod } from '../../../src/kube/parse-pod.ts';
import { parseServiceAccount } from '../../../src/kube/parse-service-account.ts';
import { parseService } from '../../../src/kube/parse-service.ts';

const nowhere: Locate = () => undefined;
const metadata = { name: 'x', namespace: 'shop' };
const fields = (parsed: { readonly problems: readonly { readonly field?: string }[] } | undefined): unknown => parsed?.problems.map(({ field }) => field);

describe('Service', () => {
  test('ports, selector, addresses, type', () => {
    const spec = {
      type: 'NodePort',
      selector: { app: 'x' },
      clusterIPs: ['10.0.0.1', 'fd00::1'],
      ports: [
        { name: 'web', port: 80, targetPort: 'http', protocol: 'TCP', appProtocol: 'http' },
        { port: 81, targetPort: 8081 },
        { port: 82 },
      ],
    };
    expect(parseService({ metadata, spec }, nowhere)).toEqual({
      kind: 'Service',
      namespace: 'shop',
      name: 'x',
      problems: [],
      object: {
        namespace: 'shop',
        name: 'x',
        type: 'NodePort',
        selector: { app: 'x' },
        clusterIPs: ['10.0.0.1', 'fd00::1'],
        ports: [
          { name: 'web', port: 80, targetPort: 'http', protocol: 'TCP', appProtocol: 'http' },
          { port: 81, targetPort: 8081, protocol: 'TCP' },
          { port: 82, targetPort: 82, protocol: 'TCP' },
        ],
      },
    });
  });

  test('headless, and what a Service without spec is', () => {
    expect(parseService({ metadata, spec: { clusterIP: 'None' } }, nowhere).object?.clusterIPs).toEqual([]);
    expect(parseService({ metadata, spec: { clusterIP: '10.0.0.1' } }, nowhere).object?.clusterIPs).toEqual(['10.0.0.1']);
    expect(parseService({ metadata }, nowhere).object).toEqual({ namespace: 'shop', name: 'x', type: 'ClusterIP', clusterIPs: [], ports: [] });
  });

  test('bad fields cost only themselves', () => {
    const parsed = parseService({ metadata, spec: { type: 5, selector: { a: 1, b: 'c' }, clusterIP: 'x', ports: [{ port: 0 }, {}, { port: 80, name: [] }, 'x'] } }, nowhere);
    expect(parsed.object).toEqual({ namespace: 'shop', name: 'x', type: 'ClusterIP', selector: { b: 'c' }, clusterIPs: [], ports: [{ port: 80, targetPort: 80, protocol: 'TCP' }] });
    expect(fields(parsed)).toEqual(['spec.selector.a', 'spec.ports[0].port', 'spec.ports[1].port', 'spec.ports[2].name', 'spec.ports[3].port', 'spec.clusterIP', 'spec.type']);
  });
});

describe('EndpointSlice', () => {
  const labels = { 'kubernetes.io/service-name': 'svc' };
  const slice = (more: object): unknown => ({ metadata: { ...metadata, labels }, addressType: 'IPv4', ...more });

  test('endpoints with their three-state conditions', () => {
    const endpoints = [
      { addresses: ['10.1.0.1'], conditions: { ready: true, serving: null, terminating: false }, nodeName: 'n1', zone: 'z', targetRef: { kind: 'Pod', name: 'p', namespace: 'shop' } },
      { addresses: ['10.1.0.2'], conditions: {} },
      { addresses: ['10.1.0.3'], targetRef: { kind: 'Pod', name: 'q' } },
    ];
    const parsed = parseEndpointSlice(slice({ endpoints, ports: [{ name: '', port: 80 }, { name: 'a', port: 81, protocol: 'UDP', appProtocol: 'x' }, { port: null }] }), nowhere);
    expect(parsed?.problems).toEqual([]);
    expect(parsed?.object).toEqual({
      namespace: 'shop',
      name: 'x',
      serviceName: 'svc',
      addressType: 'IPv4',
      ports: [{ port: 80, protocol: 'TCP' }, { name: 'a', port: 81, protocol: 'UDP', appProtocol: 'x' }, { protocol: 'TCP' }],
      endpoints: [
        { addresses: ['10.1.0.1'], ready: true, terminating: false, nodeName: 'n1', zone: 'z', targetRef: { kind: 'Pod', name: 'p', namespace: 'shop' } },
        { addresses: ['10.1.0.2'] },
        { addresses: ['10.1.0.3'], targetRef: { kind: 'Pod', name: 'q', namespace: 'shop' } },
      ],
    });
  });

  test('without the label of a Service it is nobody, in silence', () => {
    expect(parseEndpointSlice({ metadata, addressType: 'x' }, nowhere)).toBeUndefined();
  });

  test.each([
    ['IPv4', 'fd00::1'],
    ['IPv4', '10.1'],
    ['IPv4', '010.1.1.1'],
    ['IPv4', '10.1.1.1\nserver x'],
    ['IPv6', '10.1.1.1'],
    ['IPv6', 'fe80::1%eth0'],
    ['IPv4', 7],
    ['FQDN', ''],
  ])('an address that is no %s: %j', (addressType, address) => {
    const parsed = parseEndpointSlice(slice({ addressType, endpoints: [{ addresses: [address] }, { addresses: [addressType === 'IPv6' ? 'fd00::2' : '10.1.1.2'] }] }), nowhere);
    expect(parsed?.object?.endpoints).toHaveLength(1);
    expect(new Set(parsed?.problems.map(({ field }) => field))).toEqual(new Set(['endpoints[0].addresses[0]']));
  });

  test('no address type: no slice', () => {
    const parsed = parseEndpointSlice(slice({ addressType: 'ipv4' }), nowhere);
    expect(parsed?.object).toBeUndefined();
    expect(fields(parsed)).toEqual(['addressType']);
  });

  test('more endpoints than Kubernetes allows are left out', () => {
    const parsed = parseEndpointSlice(slice({ endpoints: Array.from({ length: 1001 }, () => ({ addresses: ['10.1.1.1'] })) }), nowhere);
    expect(parsed?.object?.endpoints).toHaveLength(1000);
    expect(fields(parsed)).toEqual(['endpoints']);
  });
});

describe('Pod', () => {
  test('identity and addresses', () => {
    const pod = {
      metadata: { ...metadata, uid: 'u', labels: { app: 'x' } },
      spec: { nodeName: 'n1', serviceAccountName: 'web', hostNetwork: true },
      status: { phase: 'Running', podIP: '10.1.0.1', podIPs: [{ ip: '10.1.0.1' }, { ip: 'fd00::1' }] },
    };
    expect(parsePod(pod, nowhere).object).toEqual({
      namespace: 'shop',
      name: 'x',
      uid: 'u',
      labels: { app: 'x' },
      nodeName: 'n1',
      serviceAccount: 'web',
      hostNetwork: true,
      phase: 'Running',
      podIPs: ['10.1.0.1', 'fd00::1'],
    });
  });

  test('defaults, podIP alone, and bad fields', () => {
    expect(parsePod({ metadata }, nowhere).object).toEqual({ namespace: 'shop', name: 'x', labels: {}, serviceAccount: 'default', hostNetwork: false, phase: 'Unknown', podIPs: [] });
    expect(parsePod({ metadata, status: { podIP: '10.1.0.1' } }, nowhere).object?.podIPs).toEqual(['10.1.0.1']);
    const bad = parsePod({ metadata: { ...metadata, labels: [] }, spec: { hostNetwork: 'yes' }, status: { podIPs: [{ ip: 'x' }, null, {}] } }, nowhere);
    expect(bad.object?.podIPs).toEqual([]);
    expect(fields(bad)).toEqual(['status.podIPs', 'status.podIPs[0].ip', 'metadata.labels', 'spec.hostNetwork']);
  });

  test('a pod whose ServiceAccount has an impossible name is nobody, not the default account', () => {
    for (const serviceAccountName of ['a\nb', '\u001b[2J', 'x'.repeat(254), 'Web', 5]) {
      const bad = parsePod({ metadata, spec: { serviceAccountName } }, nowhere);
      expect(bad.object).toBeUndefined();
      expect(fields(bad)).toEqual(expect.arrayContaining(['spec.serviceAccountName']));
    }
    expect(parsePod({ metadata, spec: { serviceAccountName: '' } }, nowhere).object?.serviceAccount).toBe('default');
  });

  test('a label named like a prototype is a label', () => {
    const labels = JSON.parse('{"__proto__": "a", "constructor": "b"}') as object;
    const parsed = parsePod({ metadata: { ...metadata, labels } }, nowhere).object?.labels ?? {};
    expect(Object.entries(parsed)).toEqual([['__proto__', 'a'], ['constructor', 'b']]);
    expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
  });
});

describe('Node and ServiceAccount', () => {
  test('zone, addresses and gateways', () => {
    const node = {
      spec: { podCIDRs: ['10.244.3.0/24', 'fd00:3::/64'] },
      metadata: { name: 'node-1.example', labels: { 'topology.kubernetes.io/zone': 'z1' } },
      status: { addresses: [{ type: 'InternalIP', address: '10.0.0.1' }, { type: 'Hostname', address: 'node-1' }, { type: 'ExternalIP', address: 'x' }] },
    };
    const parsed = parseNode(node, nowhere);
    expect(parsed.object).toEqual({ name: 'node-1.example', zone: 'z1', addresses: ['10.0.0.1'], podGateways: ['10.244.3.0', '10.244.3.1', 'fd00:3::', 'fd00:3::1'] });
    expect(parsed.namespace).toBeUndefined();
    expect(fields(parsed)).toEqual(['status.addresses[2].address']);
  });

  test('a ServiceAccount', () => {
    expect(parseServiceAccount({ metadata }, nowhere).object).toEqual({ namespace: 'shop', name: 'x' });
  });

  test.each([[{ name: 'A' }], [{}], [{ name: 'x', namespace: 'a.b' }], [{ name: 5 }], [null], [{ name: 'x', namespace: 5 }]])('metadata %j cannot be used', (bad) => {
    const parsed = parseServiceAccount({ metadata: bad }, nowhere);
    expect(parsed.object).toBeUndefined();
    expect(parsed.problems.map(({ code }) => code)).toEqual(['name-invalid']);
  });
});
