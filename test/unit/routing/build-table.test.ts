import { describe, expect, it } from 'vitest';
import type { EndpointSlice, Pod, SliceEndpoint, Snapshot } from '../../../src/model/snapshot.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { buildTable } from '../../../src/routing/build-table.ts';
import { node, pod, service, serviceRoute, slice, snapshot } from '../../support/objects.ts';

const clusterPool = parseVipPool('169.254.192.0/19');

function build(over: Partial<Snapshot>, options: Partial<Parameters<typeof buildTable>[1]> = {}) {
  return buildTable(
    snapshot(over),
    { nodeName: 'n1', ownAddresses: ['192.168.0.1'], pool: clusterPool, vips: 'allocate', globalNamespace: 'global', trustedCallers: [], httpPort: 80, ...options },
    {},
    0,
  ).table;
}

/** The table's only route. */
function only(over: Partial<Snapshot>, options?: Parameters<typeof build>[1]) {
  const [route, second] = build(over, options).routes;
  if (route === undefined || second !== undefined) throw new Error('expected one route');
  return route;
}

const web = { serviceRoutes: [serviceRoute('shop/cart')], services: [service('shop/web')] };
const addresses = (endpoints: readonly { address: string }[] | undefined) => endpoints?.map((one) => one.address);
const codes = (problems: readonly { code: string; object: { kind: string; name: string } }[]) => problems.map((one) => `${one.object.kind} ${one.object.name} ${one.code}`);

describe('the port of a route', () => {
  const two = service('shop/web', [
    { name: 'http', port: 80, targetPort: 8080 },
    { name: 'admin', port: 8081, targetPort: 80 },
  ]);
  const slices = [slice('shop/web', ['10.0.0.1'], [{ name: 'http', port: 8080, protocol: 'TCP' }, { name: 'admin', port: 9090, protocol: 'TCP' }])];
  const portOf = (targetPort?: string | number, services = [two]) =>
    only({ serviceRoutes: [serviceRoute('shop/cart', { port: targetPort === undefined ? {} : { targetPort } })], services, endpointSlices: slices });

  it.each([
    ['http', 8080],
    ['admin', 9090],
    [80, 8080],
    ['80', 8080],
    ['80-tcp', 8080],
    [8081, 9090],
    [8080, 8080],
  ])('%s is found', (targetPort, port) => {
    expect(portOf(targetPort).versions[0]?.active[0]?.port).toBe(port);
  });

  it.each([undefined, 'nope', 9999, '80-udp', '99999'])('%s is a Problem and the version has no endpoints', (targetPort) => {
    const route = portOf(targetPort);
    expect(codes(route.problems)).toEqual(['ServiceRoute cart port-unresolved']);
    expect(route.versions[0]?.active).toEqual([]);
    expect(route.invalid).toBe(false);
  });

  it('by number that matches two target ports is a Problem', () => {
    const both = service('shop/web', [{ name: 'a', port: 1, targetPort: 8080 }, { name: 'b', port: 2, targetPort: 8080 }]);
    expect(codes(portOf(8080, [both]).problems)).toEqual(['ServiceRoute cart port-unresolved']);
  });

  it('a UDP port of the same number does not count', () => {
    const dns = service('shop/web', [{ name: 'http', port: 80 }, { name: 'udp', port: 80, protocol: 'UDP' }]);
    expect(portOf(undefined, [dns]).problems).toEqual([]);
  });
});

describe('the protocol and listen port', () => {
  const withPort = (port: Parameters<typeof service>[1], spec: Parameters<typeof serviceRoute>[1] = {}) =>
    only({ serviceRoutes: [serviceRoute('shop/cart', spec)], services: [service('shop/web', port)], endpointSlices: [slice('shop/web', ['10.0.0.1'])] });

  it.each([
    [undefined, 'http', 'h1', 80],
    ['http', 'http', 'h1', 80],
    ['kubernetes.io/ws', 'http', 'h1', 80],
    ['kubernetes.io/h2c', 'http', 'h2', 80],
    ['grpc', 'http', 'h2', 80],
    ['postgresql', 'tcp', 'h1', 5432],
  ])('appProtocol %s is %s with %s servers on %d', (appProtocol, protocol, serverProtocol, listen) => {
    const route = withPort([{ port: 5432, ...(appProtocol === undefined ? {} : { appProtocol }) }]);
    expect([route.protocol, route.versions[0]?.serverProtocol, route.listen]).toEqual([protocol, serverProtocol, listen]);
  });

  it('spec.protocol stands above appProtocol', () => {
    expect(withPort([{ port: 80, appProtocol: 'mysql' }], { protocol: 'http' }).protocol).toBe('http');
  });

  it('versions that disagree make the route invalid', () => {
    const route = only({
      serviceRoutes: [serviceRoute('shop/cart', { to: [{ name: 'a' }, { name: 'b' }] })],
      services: [service('shop/a'), service('shop/b', [{ port: 80, appProtocol: 'mysql' }])],
    });
    expect(route.invalid).toBe(true);
    expect(codes(route.problems)).toEqual(['ServiceRoute cart protocol-mismatch']);
  });

  it('a port that looks like TLS is http with a warning', () => {
    const route = withPort([{ port: 443 }]);
    expect([route.protocol, route.problems[0]?.code, route.problems[0]?.severity]).toEqual(['http', 'port-looks-like-tls', 'warning']);
  });

  it('a Header rule on a tcp route is invalid', () => {
    expect(codes(withPort([{ port: 5432, appProtocol: 'mysql' }], { rule: { type: 'Header', header: 'x' } }).problems)).toEqual(['ServiceRoute cart header-on-tcp']);
  });

  it.each([53, 9810, 9053, 10250, 30000, 32767])('port %d is reserved', (listen) => {
    const route = withPort([{ port: 80 }], { port: { listen } });
    expect([route.invalid, route.problems[0]?.code]).toEqual([true, 'port-reserved']);
  });

  it('an invalid route refuses its callers on the port that they use', () => {
    expect(only({ serviceRoutes: [serviceRoute('shop/cart', null, { listen: 9000 })] })).toMatchObject({ invalid: true, listen: 9000 });
    const mixed = [service('shop/web', [{ port: 80, appProtocol: 'http' }]), service('shop/db', [{ port: 80, appProtocol: 'mysql' }])];
    const route = only({ serviceRoutes: [serviceRoute('shop/cart', { to: [{ name: 'web' }, { name: 'db' }], port: { listen: 9000 } })], services: mixed });
    expect(route).toMatchObject({ invalid: true, listen: 9000 });
  });

  it('an invalid spec keeps VIP and name', () => {
    const route = only({ serviceRoutes: [serviceRoute('shop/cart', null)] });
    expect(route).toMatchObject({ invalid: true, listen: 80, vip: expect.stringMatching(/^169\.254\./) });
  });

  it('a missing Service leaves the version without endpoints', () => {
    const route = only({ serviceRoutes: [serviceRoute('shop/cart')] });
    expect([route.invalid, codes(route.problems)]).toEqual([false, ['ServiceRoute cart service-not-found']]);
  });
});

describe('servers', () => {
  const nodes = [node('n1', 'z1'), node('n2', 'z1'), node('n3', 'z2')];
  const far: SliceEndpoint[] = [
    { addresses: ['10.0.1.1'], nodeName: 'n1' },
    { addresses: ['10.0.2.1'], nodeName: 'n2' },
    { addresses: ['10.0.3.1'], nodeName: 'n3' },
  ];
  const servers = (endpoints: readonly SliceEndpoint[], locality: 'PreferLocal' | 'Local' | 'Cluster' = 'PreferLocal', slices?: EndpointSlice[]) => {
    const version = only({ nodes, serviceRoutes: [serviceRoute('shop/cart', { locality })], services: web.services, endpointSlices: slices ?? [slice('shop/web', endpoints)] }).versions[0];
    return { active: addresses(version?.active), backup: addresses(version?.backup), all: version?.endpoints };
  };
  const without = (address: string, over: Partial<SliceEndpoint>) => far.map((one) => (one.addresses[0] === address ? { ...one, ...over } : one));

  it('come from the nearest tier, the next one stands by', () => {
    expect(servers(far)).toMatchObject({ active: ['10.0.1.1'], backup: ['10.0.2.1'] });
    expect(servers(far.slice(1))).toMatchObject({ active: ['10.0.2.1'], backup: ['10.0.3.1'] });
    expect(servers(far.slice(2))).toMatchObject({ active: ['10.0.3.1'], backup: [] });
  });

  it('with locality Local never leave the node', () => {
    expect(servers(far, 'Local')).toMatchObject({ active: ['10.0.1.1'], backup: [] });
    expect(servers(far.slice(1), 'Local')).toMatchObject({ active: [], backup: [] });
  });

  it('with spillAt are known of all tiers, and only then', () => {
    const spilling = (spec: Parameters<typeof serviceRoute>[1], endpoints = far) => {
      const route = only({ nodes, serviceRoutes: [serviceRoute('shop/cart', spec)], services: web.services, endpointSlices: [slice('shop/web', endpoints)] });
      const spill = route.versions[0]?.spill;
      return { spill: spill && { at: spill.at, tiers: spill.tiers.map(addresses) }, problems: codes(route.problems) };
    };
    expect(spilling({})).toEqual({ spill: undefined, problems: [] });
    expect(spilling({ spillAt: 16 })).toEqual({ spill: { at: 16, tiers: [['10.0.2.1'], ['10.0.3.1']] }, problems: [] });
    expect(spilling({ spillAt: 16 }, far.slice(0, 1))).toEqual({ spill: { at: 16, tiers: [] }, problems: [] });
    expect(spilling({ spillAt: 16, locality: 'Local' })).toEqual({ spill: undefined, problems: ['ServiceRoute cart spill-unused'] });
    expect(spilling({ spillAt: 16, locality: 'Cluster' })).toEqual({ spill: undefined, problems: ['ServiceRoute cart spill-unused'] });
  });

  it('with locality Cluster are all alike', () => {
    expect(servers(far, 'Cluster')).toMatchObject({ active: ['10.0.1.1', '10.0.2.1', '10.0.3.1'], backup: [] });
  });

  it('that are not ready are left out', () => {
    expect(servers(without('10.0.1.1', { ready: false }))).toMatchObject({ active: ['10.0.2.1'], backup: ['10.0.3.1'] });
  });

  it('with a null ready count as ready', () => {
    expect(servers([{ addresses: ['10.0.1.1'], nodeName: 'n1', serving: false }]).active).toEqual(['10.0.1.1']);
  });

  it('that terminate but serve are used only when nothing is ready', () => {
    const leaving = { ready: false, serving: true, terminating: true };
    expect(servers(without('10.0.1.1', leaving)).active).toEqual(['10.0.2.1']);
    expect(servers([{ addresses: ['10.0.1.1'], nodeName: 'n1', ...leaving }]).active).toEqual(['10.0.1.1']);
    expect(servers([{ addresses: ['10.0.1.1'], nodeName: 'n1', ...leaving, serving: false }]).active).toEqual([]);
  });

  it('in two slices count once, the ready one', () => {
    const twice = [slice('shop/web', [{ addresses: ['10.0.1.1'], ready: false }]), slice('shop/web', ['10.0.1.1'], undefined, { name: 'web-2' })];
    const { all, active } = servers([], 'PreferLocal', twice);
    expect([all?.length, active]).toEqual([1, ['10.0.1.1']]);
  });

  it('of a farther tier are 16 at most, a stable choice that differs per node', () => {
    const many = Array.from({ length: 200 }, (_, i): SliceEndpoint => ({ addresses: [`10.1.0.${i}`], nodeName: 'n3' }));
    const mine = servers(many).active ?? [];
    expect(mine).toHaveLength(16);
    const less = servers(many.filter((one) => one.addresses[0] !== mine[0])).active ?? [];
    expect(less.filter((address) => mine.includes(address))).toHaveLength(15);
    const theirs = only({ nodes, serviceRoutes: web.serviceRoutes, services: web.services, endpointSlices: [slice('shop/web', many)] }, { nodeName: 'n2' }).versions[0]?.active;
    expect(addresses(theirs)).not.toEqual(mine);
  });

  it('of this node are as many as a node can have: an invented crowd takes nothing from other routes', () => {
    const crowd = Array.from({ length: 3000 }, (_, i): SliceEndpoint => ({ addresses: [`10.1.${i >> 8}.${i & 255}`], nodeName: 'n1' }));
    expect(servers(crowd).active).toHaveLength(256);
    expect(servers(crowd.slice(0, 250)).active).toHaveLength(250);
  });

  it('of both families are the IPv4 ones', () => {
    const dual = [slice('shop/web', ['10.0.1.1']), slice('shop/web', ['fd00::1'], undefined, { name: 'web-6', addressType: 'IPv6' })];
    expect(servers([], 'PreferLocal', dual).active).toEqual(['10.0.1.1']);
    expect(servers([], 'PreferLocal', dual.slice(1)).active).toEqual(['fd00::1']);
  });
});

describe('endpoints that a tenant may not name', () => {
  const guarded = (address: string, over: Partial<Snapshot> = {}, endpoint: Partial<SliceEndpoint> = {}) =>
    only({
      ...web,
      nodes: [node('n1', undefined, ['192.168.0.1']), node('n2', undefined, ['192.168.0.2'])],
      services: [...web.services, service('other/db', [{ port: 1 }], { clusterIPs: ['10.96.0.7'] })],
      endpointSlices: [
        slice('shop/web', [{ addresses: [address], ...endpoint }], undefined, { addressType: address.includes(':') ? 'IPv6' : 'IPv4' }),
        slice('default/kubernetes', ['172.30.0.1']),
      ],
      ...over,
    });

  it.each(['127.0.0.1', '0.0.0.0', '169.254.169.254', '169.254.193.1', '224.0.0.1', '255.255.255.255', '10.96.0.7', '172.30.0.1', '192.168.0.1', '192.168.0.2', '::1', 'fe80::1', 'ff02::1', '::ffff:10.0.0.1', '::'])(
    '%s is a Problem on the slice, not a server',
    (address) => {
      expect(guarded(address).versions[0]?.active).toEqual([]);
    },
  );

  it('a refused endpoint is reported once per slice with its route', () => {
    const table = build({ ...web, endpointSlices: [slice('shop/web', ['127.0.0.1', '127.0.0.2', '10.0.0.1'])] });
    expect(codes(table.problems)).toEqual(['EndpointSlice web-1 endpoint-refused']);
    expect(table.problems[0]?.message).toContain('1 more');
    expect(addresses(table.routes[0]?.versions[0]?.active)).toEqual(['10.0.0.1']);
  });

  it("a node's address passes for a host-network pod of the slice's namespace", () => {
    const targetRef = { kind: 'Pod', namespace: 'shop', name: 'p' };
    const host = [pod('shop/p', '192.168.0.2', { hostNetwork: true })];
    expect(guarded('192.168.0.2', { pods: host }, { targetRef }).versions[0]?.active).toHaveLength(1);
    expect(guarded('192.168.0.2', { pods: host }, { targetRef: { ...targetRef, namespace: 'other' } }).versions[0]?.active).toEqual([]);
    expect(guarded('192.168.0.2', { pods: [pod('shop/p', '192.168.0.2')] }, { targetRef }).versions[0]?.active).toEqual([]);
  });

  it("a gateway of a node's pod network passes for a pod of the slice's namespace that has the address, as some networks give it to pods", () => {
    const nodes = [node('n1'), { ...node('n2'), podGateways: ['10.9.2.0', '10.9.2.1'] }];
    const targetRef = { kind: 'Pod', namespace: 'shop', name: 'p' };
    const pods = [pod('shop/p', '10.9.2.1', { nodeName: 'n2' })];
    expect(guarded('10.9.2.1', { nodes }).versions[0]?.active).toEqual([]);
    expect(guarded('10.9.2.1', { nodes }, { targetRef }).versions[0]?.active).toEqual([]);
    expect(guarded('10.9.2.1', { nodes, pods: [pod('shop/p', '10.9.2.7')] }, { targetRef }).versions[0]?.active).toEqual([]);
    expect(guarded('10.9.2.1', { nodes, pods }, { targetRef }).versions[0]?.active).toHaveLength(1);
    expect(guarded('10.9.2.2', { nodes }).versions[0]?.active).toHaveLength(1);
  });

  it('the address of a live pod of another namespace is refused, whatever targetRef says', () => {
    const theirs = (over: Partial<Pod> = {}) => [pod('bank/vault', '10.0.5.5', over)];
    const targetRef = { kind: 'Pod', namespace: 'shop', name: 'vault' };
    const active = (pods: readonly Pod[], endpoint: Partial<SliceEndpoint> = {}) => guarded('10.0.5.5', { pods }, endpoint).versions[0]?.active;
    expect(active(theirs())).toEqual([]);
    expect(active(theirs(), { targetRef })).toEqual([]);
    expect(active(theirs({ phase: 'Succeeded' }))).toHaveLength(1);
    expect(active([pod('shop/own', '10.0.5.5')])).toHaveLength(1);
    // Two claims: which of them is stale is not known, and nobody may take an endpoint from its owner by another claim.
    expect(active([...theirs(), pod('shop/own', '10.0.5.5')])).toHaveLength(1);
  });

  it("an endpoint never carries the name of another namespace's pod", () => {
    expect(guarded('10.0.5.5', {}, { targetRef: { kind: 'Pod', namespace: 'bank', name: 'vault' } }).versions[0]?.endpoints[0]).not.toHaveProperty('pod');
    expect(guarded('10.0.5.5', {}, { targetRef: { kind: 'Pod', namespace: 'shop', name: 'web-1' } }).versions[0]?.endpoints[0]).toHaveProperty('pod', 'shop/web-1');
  });

  it('on loopback only 127.88/16 passes', () => {
    const options = { pool: parseVipPool('127.77.0.0/16') };
    const active = (address: string) => only({ ...web, endpointSlices: [slice('shop/web', [address])] }, options).versions[0]?.active.length;
    expect([active('127.88.1.1'), active('127.0.0.1'), active('127.77.1.1'), active('10.0.0.1')]).toEqual([1, 0, 0, 0]);
  });
});

it('refused endpoints of many slices are a bounded number of Problems', () => {
  const endpointSlices = Array.from({ length: 300 }, (_, i) => slice('shop/web', ['127.0.0.1'], undefined, { name: `web-${i}` }));
  const { problems } = only({ ...web, endpointSlices });
  expect(problems).toHaveLength(6);
  expect(problems.find(({ object }) => object.kind === 'Service')?.message).toMatch(/^295 more of its EndpointSlices/);
});

describe('the choice of a version', () => {
  const choice = (spec: Parameters<typeof serviceRoute>[1], counts: readonly number[] = [1, 1]) =>
    only({
      serviceRoutes: [serviceRoute('shop/cart', spec)],
      services: counts.map((_, i) => service(`shop/v${i}`)),
      endpointSlices: counts.map((count, i) => slice(`shop/v${i}`, Array.from({ length: count }, (_, j) => `10.${i}.0.${j}`))),
    }).choice;
  const to = [{ name: 'v0' }, { name: 'v1' }];

  it('without policy counts the endpoints of the active tier, also those that are not rendered', () => {
    const many = Array.from({ length: 40 }, (_, i) => `10.0.1.${i}@n2`);
    const { choice } = only({
      serviceRoutes: [serviceRoute('shop/cart', { to: [{ name: 'web' }, { name: 'few' }] })],
      services: [service('shop/web'), service('shop/few')],
      endpointSlices: [slice('shop/web', many), slice('shop/few', ['10.0.2.1@n1', { addresses: ['10.0.2.2'], nodeName: 'n1', ready: false }, '10.0.2.3@n2'])],
    });
    expect(choice).toEqual({ kind: 'weighted', total: 41, shares: [{ below: 40, version: 0 }, { below: 41, version: 1 }] });
  });

  it('without policy is the only version, the preferred, or drawn by endpoints', () => {
    expect(choice({ to: [{ name: 'v0' }] })).toEqual({ kind: 'fixed', version: 0 });
    expect(choice({ to, rule: { type: '', prefer: 'v1' } })).toEqual({ kind: 'fixed', version: 1 });
    expect(choice({ to }, [3, 1])).toEqual({ kind: 'weighted', total: 4, shares: [{ below: 3, version: 0 }, { below: 4, version: 1 }] });
    expect(choice({ to }, [0, 2])).toEqual({ kind: 'weighted', total: 2, shares: [{ below: 2, version: 1 }] });
    expect(choice({ to }, [0, 0])).toEqual({ kind: 'weighted', total: 1, shares: [{ below: 1, version: 0 }] });
  });

  it('by percentage leaves the rest to prefer', () => {
    const weights = [{ name: 'v0', weight: 0 }, { name: 'v1', weight: 30 }];
    expect(choice({ to: weights, rule: { type: 'Percentage' } })).toEqual({ kind: 'weighted', total: 100, shares: [{ below: 30, version: 1 }] });
    expect(choice({ to: weights, rule: { type: 'Percentage', prefer: 'v0' } })).toMatchObject({ otherwise: 0 });
  });

  it('by header is case-insensitive in the name', () => {
    expect(choice({ to, rule: { type: 'Header', header: 'X-User', prefer: 'v1' } })).toEqual({ kind: 'header', header: 'x-user', otherwise: 1 });
  });
});

describe('callers', () => {
  const callers = (pods: Snapshot['pods'], options?: Parameters<typeof build>[1], services: Snapshot['services'] = []) => build({ pods, services }, options).callers.pods;

  it('are the live pods of this node by address', () => {
    const pods = [
      pod('a/live', '10.0.0.1'),
      pod('a/done', '10.0.0.2', { phase: 'Succeeded' }),
      pod('a/failed', '10.0.0.3', { phase: 'Failed' }),
      pod('a/host', '192.168.0.1', { hostNetwork: true }),
      pod('a/elsewhere', '10.0.0.4', { nodeName: 'n2' }),
    ];
    expect(callers(pods).map((one) => one.pod)).toEqual(['live']);
  });

  it('with one address are unknown and reported', () => {
    const table = build({ pods: [pod('a/x', '10.0.0.1'), pod('b/y', '10.0.0.1')] });
    expect(table.callers.pods).toEqual([]);
    expect(codes(table.problems)).toEqual(['Pod x pod-address-conflict', 'Pod y pod-address-conflict']);
  });

  it("with an address of the node's own are not pods", () => {
    expect(callers([pod('a/x', '192.168.0.1'), pod('a/y', '127.0.0.1'), pod('a/z', '169.254.200.1')])).toEqual([]);
  });

  it('know the Services that select them', () => {
    const services = [
      service('a/all', [{}], { selector: { app: 'web' } }),
      service('a/both', [{}], { selector: { app: 'web', tier: 'front' } }),
      service('a/none', [{}], { selector: {} }),
      service('b/other', [{}], { selector: { app: 'web' } }),
    ];
    expect(callers([pod('a/x', '10.0.0.1', { labels: { app: 'web' } })], {}, services)[0]?.services).toEqual(['all']);
    expect(callers([pod('a/x', '10.0.0.1', { labels: { app: 'web', tier: 'front' } })], {}, services)[0]?.services).toEqual(['all', 'both']);
  });

  it('named by --trusted-callers are trusted', () => {
    const pods = [pod('ingress/x', '10.0.0.1'), pod('mon/y', '10.0.0.2', { serviceAccount: 'prom' }), pod('mon/z', '10.0.0.3')];
    const trustedCallers = [{ namespace: 'ingress' }, { namespace: 'mon', serviceAccount: 'prom' }];
    expect(callers(pods, { trustedCallers }).map((one) => one.trusted)).toEqual([true, true, false]);
  });

  it('are matched by ACL entries as ServiceAccount, as Service, or as either', () => {
    const pods = [pod('front/sa', '10.0.0.1', { serviceAccount: 'web' }), pod('front/svc', '10.0.0.2', { labels: { app: 'web' } })];
    const services = [service('front/web', [{}], { selector: { app: 'web' } }), ...web.services];
    const exceptions = (entry: { kind?: 'ServiceAccount' | 'Service' }) =>
      only({ pods, services, serviceRoutes: [serviceRoute('shop/cart', { acl: { defaultAllow: false, entries: [{ name: 'web', namespace: 'front', ...entry }] } })] }).access.exceptions;
    expect(exceptions({ kind: 'ServiceAccount' })).toEqual(['10.0.0.1']);
    expect(exceptions({ kind: 'Service' })).toEqual(['10.0.0.2']);
    expect(exceptions({})).toEqual(['10.0.0.1', '10.0.0.2']);
  });
});

describe('a table', () => {
  it('gives the route the problems of its object and lists all of them', () => {
    const table = build({ serviceRoutes: [serviceRoute('b/x'), serviceRoute('a/x')], services: [service('a/web'), service('b/web')] });
    expect(table.routes.map((route) => route.namespace)).toEqual(['a', 'b']);
  });

  it('ignores ServiceRoutes in the global namespace', () => {
    expect(build({ serviceRoutes: [serviceRoute('global/x')] }).routes).toEqual([]);
  });

  it('pairs IPv6 VIPs with IPv4 ones', () => {
    const route = only(web, { pool: parseVipPool('169.254.192.0/19,fd00:1:2:3::/64') });
    const last = route.vip.split('.').map(Number);
    const offset = ((last[2] ?? 0) - 192) * 256 + (last[3] ?? 0);
    expect(route.vip6).toBe(`fd00:1:2:3::${offset.toString(16)}`);
  });
});
