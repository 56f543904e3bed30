import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../support/cluster/cluster.ts';
import type { Cluster } from '../support/cluster/cluster.ts';
import { CLUSTER_DNS_ADDRESS } from '../support/cluster/coredns.ts';
import type { Onehop } from '../support/cluster/installed-onehop.ts';
import { installOnehop } from '../support/cluster/onehop.ts';
import { Shop } from '../support/cluster/shop.ts';
import type { TestPod } from '../support/cluster/test-pod.ts';
import { caller, leadsTo, percentage, server, service, serviceRoute } from '../support/cluster/workloads.ts';
import { eventually } from '../support/lab/run.ts';

/** What one does first after an installation: two versions, a public route, calls by name; and what kubectl and dig say to it. */
let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;
let web: TestPod;
let stranger: TestPod;

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, 'first', 'first-other');
  await shop.run(
    server({ namespace: 'first', name: 'svc21-a', node: 'n1' }),
    server({ namespace: 'first', name: 'svc21-b', node: 'n2' }),
    service('first', 'svc21-a'),
    service('first', 'svc21-b'),
    serviceRoute('first', 'svc21', { ...percentage(['svc21-a', 50], ['svc21-b', 50]), global: true }),
    caller({ namespace: 'first', name: 'web', node: 'n1' }),
    caller({ namespace: 'first-other', name: 'stranger', node: 'n3' }),
  );
  [web, stranger] = await Promise.all([shop.pod('first', 'web'), shop.pod('first-other', 'stranger'), onehop.untilProgrammed('first', 'svc21')]);
});
afterAll(() => shop.close());

describe('from pods, through the DNS of the cluster', () => {
  test.each([
    ['http://svc21/', 'its own namespace', () => web],
    ['http://svc21.global/', 'its own namespace', () => web],
    ['http://svc21.global/', 'another namespace', () => stranger],
  ])('%s reaches both versions from %s', async (url, _where, from) => {
    await shop.untilCallable(from(), url);
    const answers = await from().calls(url, 40);
    expect([...new Set(answers.map(({ status, reason, version, failure }) => `${status} ${version}${reason}${failure}`))].sort()).toEqual(['200 svc21-a', '200 svc21-b']);
  });

  test('http://svc21.first/ is refused to another namespace, which has no name svc21 of its own', async () => {
    await shop.untilCallable(web, 'http://svc21.first/');
    expect(await stranger.call('http://svc21.first/')).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    expect(await stranger.lookUp('svc21')).toEqual([]);
  });

  test('a name leads to the address in the status of the route, on every node the same', async () => {
    const { status } = await onehop.route('first', 'svc21');
    expect(await web.lookUp('svc21')).toEqual([status?.vip]);
    expect(await web.lookUp('svc21.global')).toEqual([status?.globalVip]);
    expect(await stranger.lookUp('svc21.global')).toEqual([status?.globalVip]);
  });
});

describe('what kubectl shows', () => {
  test('get serviceroutes: address, versions, Accepted, and on how many nodes it is in effect', async () => {
    const { status } = await onehop.untilProgrammed('first', 'svc21');
    const [head = '', row = ''] = (await cluster.kubectl(['-n', 'first', 'get', 'serviceroutes', 'svc21'])).trim().split('\n');
    expect(head.split(/\s{2,}/)).toEqual(['NAME', 'VIP', 'GLOBAL', 'RULE', 'VERSIONS', 'ACCEPTED', 'PROGRAMMED', 'AGE']);
    const values = ['svc21', status?.vip, status?.globalVip, 'Percentage', expect.stringMatching(/svc21-a.*svc21-b/), 'True', '3/3'];
    expect(row.split(/\s{2,}/).slice(0, -1)).toEqual(values);
  });

  test('all conditions of a good route are True, for its present generation', async () => {
    const { metadata, status } = await onehop.untilProgrammed('first', 'svc21');
    expect(status?.conditions?.map(({ type, status, observedGeneration }) => [type, status, observedGeneration])).toEqual(
      ['Accepted', 'ResolvedRefs', 'Programmed'].map((type) => [type, 'True', metadata.generation]),
    );
  });

  test.each([
    ['an unknown rule', { ...leadsTo('svc21-a'), rule: { type: 'Weighted' } }, 'spec.rule.type'],
    ['no version at all', { rule: { type: '' }, to: [] }, 'spec.to'],
    ['a port out of range', { ...leadsTo('svc21-a'), port: { listen: 70_000 } }, 'spec.port.listen'],
    ['a preference for a version that it has not', { ...leadsTo('svc21-a'), rule: { type: 'Percentage', prefer: 'nobody' } }, 'spec.rule.prefer'],
    ['weights above 100', percentage(['svc21-a', 60], ['svc21-b', 60]), 'spec.to'],
  ])('the API server refuses a route with %s and names the field', async (_what, spec, field) => {
    const route = { apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { namespace: 'first', name: 'wrong' }, spec };
    const { code, stderr } = await cluster.tryKubectl(['apply', '-f', '-'], { input: JSON.stringify(route) });
    expect(code).toBe(1);
    expect(stderr).toContain(field);
  });

  test('a valid route to a Service that is not there gets a condition and an Event, and calls get 503', async () => {
    await cluster.apply(serviceRoute('first', 'dangling', leadsTo('not-there')));
    const condition = await eventually('ResolvedRefs is False', async () => {
      const { status } = await onehop.route('first', 'dangling');
      return status?.conditions?.find(({ type, status }) => type === 'ResolvedRefs' && status === 'False');
    });
    expect(condition).toMatchObject({ reason: 'ServiceNotFound', message: expect.stringContaining('not-there') });
    const events = await eventually('an Event', async () => {
      const query = ['-n', 'first', 'events.events.k8s.io', '--field-selector', 'regarding.name=dangling,reason=ServiceNotFound'];
      const { items } = await cluster.get<{ items: readonly { type: string; reason: string; note: string }[] }>(...query);
      return items.length > 0 && items;
    });
    expect(events[0]).toMatchObject({ type: 'Warning', note: expect.stringContaining('not-there') });
    const { status } = await onehop.untilProgrammed('first', 'dangling');
    expect(await web.call(`http://${status?.vip}/`)).toMatchObject({ status: 503, reason: 'no-endpoints' });
  });
});

describe('on a node', () => {
  const dig = async (node: string, ...words: readonly string[]): Promise<string> => (await cluster.node(node).exec('dig', '+time=2', ...words)).stdout;

  test('dig at the agent says address, description and whose address it is; the same through CoreDNS', async () => {
    const { status } = await onehop.route('first', 'svc21');
    const vip = status?.vip ?? '';
    for (const { name } of cluster.nodes) {
      expect((await dig(name, '+short', '@169.254.192.10', 'svc21.first.route.internal')).trim()).toBe(vip);
      expect((await dig(name, '+short', '@169.254.192.10', '-x', vip)).trim()).toBe('svc21.first.route.internal.');
      expect((await dig(name, '+short', '@169.254.192.10', 'id.server', 'TXT', 'CH')).trim()).toBe(`"${name}"`);
    }
    expect(await dig('n1', '+short', '@169.254.192.10', 'svc21.first.route.internal', 'TXT')).toContain('svc21-a');
    expect((await dig('n1', '+short', `@${CLUSTER_DNS_ADDRESS}`, 'svc21.first.route.internal')).trim()).toBe(vip);
    expect((await dig('n1', '+short', `@${CLUSTER_DNS_ADDRESS}`, '-x', vip)).trim()).toBe('svc21.first.route.internal.');
    expect(await dig('n1', `@${CLUSTER_DNS_ADDRESS}`, 'nobody.first.route.internal')).toContain('status: NXDOMAIN');
  });

  test('doctor finds nothing wrong, in the pod of every agent', async () => {
    const said = await Promise.all(cluster.nodes.map(({ name }) => onehop.execInAgent(name, ['onehop', 'doctor'])));
    expect(said.map(({ code, stdout, stderr }) => `${code}\n${code === 0 ? '' : stdout + stderr}`)).toEqual(said.map(() => '0\n'));
  });

  test('onehop routes and explain say in the pod what the node serves', async () => {
    const view = await onehop.routesInPod('n1');
    expect(view).toMatchObject({ node: 'n1', source: 'kubernetes', proxy: 'haproxy' });
    expect(view.routes.find(({ name, namespace }) => name === 'svc21' && namespace === 'first')?.versions.flatMap(({ endpoints }) => endpoints.map(({ tier }) => tier))).toEqual(['node', 'zone']);
    const explained = await onehop.execInAgent('n1', ['onehop', 'explain', 'http://svc21.first/', '--from', 'first/web']);
    expect(explained).toMatchObject({ code: 0, stdout: expect.stringContaining('svc21-a') });
  });
});
