import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openApiAccess } from '../../../src/kube/io/open-api-access.ts';
import { openApiClient, type ApiClient, type Query } from '../../../src/kube/io/open-api-client.ts';
import { messageOf } from '../../../src/model/coded-error.ts';
import { openCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import { tokenKubeconfig } from '../../support/cluster/token-kubeconfig.ts';
import { eventually } from '../../support/lab/run.ts';
import type { RunResult } from '../../support/lab/run.ts';

/** Who may write what, under the shipped RBAC and admission policies, tried by real users on a real API server (without nodes). */
const SYSTEM = 'onehop-system';
let cluster: Cluster;
/** Kubeconfigs. */
const users = { agent1: '', agentUnbound: '', node2: '', node3: '', misnamed: '', controller: '', systemEditor: '', tenant: '', viewer: '' };

beforeAll(async () => {
  cluster = await openCluster({ name: 'rights', nodes: 0 });
  await cluster.kubectl(['apply', '-k', 'daemonset/base']);
  for (const name of ['n1', 'n2']) await cluster.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
  await cluster.apply(
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
    binding('tenant', 'shop', 'admin'),
    binding('viewer', 'shop', 'view'),
    binding('system-editor', SYSTEM, 'edit'),
    // Stands for a pod of the DaemonSet on n1: its token names the node.
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'agent-n1', namespace: SYSTEM }, spec: { nodeName: 'n1', serviceAccountName: 'onehop-agent', containers: [{ name: 'c', image: 'c' }] } },
  );
  users.agent1 = await tokenKubeconfig(cluster, { namespace: SYSTEM, name: 'onehop-agent', pod: 'agent-n1' });
  users.agentUnbound = await tokenKubeconfig(cluster, { namespace: SYSTEM, name: 'onehop-agent' });
  users.controller = await tokenKubeconfig(cluster, { namespace: SYSTEM, name: 'onehop-controller' });
  users.node2 = await cluster.userKubeconfig('onehop:node:n2', ['onehop:nodes']);
  users.node3 = await cluster.userKubeconfig('onehop:node:n3');
  users.misnamed = await cluster.userKubeconfig('n3', ['onehop:nodes']);
  users.systemEditor = await cluster.userKubeconfig('system-editor');
  users.tenant = await cluster.userKubeconfig('tenant');
  users.viewer = await cluster.userKubeconfig('viewer');
  // Policies reach the API server's own cache a moment after they are created.
  await eventually('the policies are in force', async () => (await write(users.agent1, report('n2'), '--dry-run=server')).code !== 0 && (await write(users.controller, service('probe', {}), '--dry-run=server')).code !== 0);
});
afterAll(() => cluster.close());

function binding(user: string, namespace: string, role: string): object {
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role };
  const subjects = [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }];
  return { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'RoleBinding', metadata: { name: user, namespace }, roleRef, subjects };
}

const lease = (name: string): object => ({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace: SYSTEM }, spec: { leaseDurationSeconds: 180, holderIdentity: name } });
const report = (node: string): object => lease(`onehop-node-${node}`);
const LABELS = { 'onehop.paas.io/access-point': 'route', 'app.kubernetes.io/managed-by': 'onehop-controller' };
const service = (name: string, labels: object, spec: object = { type: 'ExternalName', externalName: `${name}.shop.route.internal` }): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'shop', labels },
  spec,
});
const route = (name: string): object => ({ apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { name, namespace: 'shop' }, spec: { rule: { type: '' }, to: [{ kind: 'Service', name: 'svc-a' }] } });

/** Server-side apply, as agent and controller write. */
const write = (kubeconfig: string, object: object, ...flags: readonly string[]): Promise<RunResult> =>
  cluster.tryKubectl(['apply', '--server-side', '--force-conflicts', '--validate=false', '--field-manager=test', ...flags, '-f', '-'], { kubeconfig, input: JSON.stringify(object) });

const WRITTEN = { code: 0, stderr: '' };
const refused = (why: string): object => ({ code: 1, stderr: expect.stringContaining(why) });

describe('a node report is written by the agent of that node alone', () => {
  test("by the agent's pod: its own, created and renewed", async () => {
    expect(await write(users.agent1, report('n1'))).toMatchObject(WRITTEN);
    expect(await write(users.agent1, report('n1'))).toMatchObject(WRITTEN);
    expect(await cluster.kubectl(['get', 'lease', 'onehop-node-n1', '-n', SYSTEM, '-o', 'jsonpath={.spec.holderIdentity}'])).toBe('onehop-node-n1');
  });

  test("not another node's, nor any other Lease, the controller's election least of all", async () => {
    const why = 'the agent of node n1 may write the Lease onehop-node-n1 only';
    expect(await write(users.agent1, report('n2'))).toMatchObject(refused(why));
    expect(await write(users.agent1, lease('onehop-controller'))).toMatchObject(refused(why));
    expect(await write(users.agent1, report('n1-and-more'))).toMatchObject(refused(why));
  });

  test('not with a token of the account that no pod holds', async () => {
    expect(await write(users.agentUnbound, report('n1'))).toMatchObject(refused('the token of the agent names no node'));
  });

  test('by a node outside pods, by its user name: its own; and only with the group that an administrator gave', async () => {
    expect(await write(users.node2, report('n2'))).toMatchObject(WRITTEN);
    expect(await write(users.node2, report('n1'))).toMatchObject(refused('the agent of node n2 may write the Lease onehop-node-n2 only'));
    expect(await write(users.node3, report('n3'))).toMatchObject(refused('User "onehop:node:n3" cannot patch resource "leases"'));
    // A certificate with the group and another name: not even the Leases that are nobody's report, the election's among them.
    for (const object of [report('n3'), lease('onehop-controller')]) expect(await write(users.misnamed, object)).toMatchObject(refused('must be named onehop:node:NAME'));
  });

  test('not by the controller, nor by an editor of the namespace', async () => {
    expect(await write(cluster.kubeconfig, lease('onehop-controller'))).toMatchObject(WRITTEN);
    const renewed = await cluster.tryKubectl(['replace', '-f', '-'], { kubeconfig: users.controller, input: JSON.stringify(lease('onehop-controller')) });
    expect(renewed).toMatchObject({ code: 0 });
    const forged = await cluster.tryKubectl(['replace', '-f', '-'], { kubeconfig: users.controller, input: JSON.stringify(report('n1')) });
    expect(forged).toMatchObject(refused('only the agent of that node may write the node report onehop-node-n1'));
    // The role "edit" may not write Leases at all; one who may is told the same.
    await cluster.kubectl(['create', 'role', 'leases', '-n', SYSTEM, '--verb=patch,create,delete', '--resource=leases']);
    await cluster.kubectl(['create', 'rolebinding', 'leases', '-n', SYSTEM, '--role=leases', '--user=system-editor']);
    expect(await write(users.systemEditor, report('n1'))).toMatchObject(refused('only the agent of that node may write the node report onehop-node-n1'));
    const removed = await cluster.tryKubectl(['delete', 'lease', 'onehop-node-n1', '-n', SYSTEM], { kubeconfig: users.systemEditor });
    expect(removed).toMatchObject(refused('only the agent of that node'));
    expect(await write(users.systemEditor, lease('something-else'))).toMatchObject(WRITTEN);
  });

  test('an administrator may remove one that nobody renews', async () => {
    expect(await cluster.kubectl(['delete', 'lease', 'onehop-node-n2', '-n', SYSTEM])).toContain('deleted');
  });
});

describe('the controller writes access points alone', () => {
  const foreign = service('foreign', {}, { ports: [{ port: 80 }] });
  const remove = (name: string): Promise<RunResult> => cluster.tryKubectl(['delete', 'service', name, '-n', 'shop'], { kubeconfig: users.controller });

  beforeAll(() => cluster.apply(foreign));

  test('its own: created, changed, removed', async () => {
    expect(await write(users.controller, service('svc21', LABELS))).toMatchObject(WRITTEN);
    expect(await write(users.controller, service('svc21', LABELS, { type: 'ExternalName', externalName: 'svc21.shop.other.zone' }))).toMatchObject(WRITTEN);
    expect(await remove('svc21')).toMatchObject({ code: 0 });
  });

  test('no Service without its labels, of another type, or that points elsewhere', async () => {
    const why = 'may write labelled access points of type ExternalName only, not the Service shop/svc22';
    expect(await write(users.controller, service('svc22', {}))).toMatchObject(refused(why));
    expect(await write(users.controller, service('svc22', { ...LABELS, 'onehop.paas.io/access-point': 'other' }))).toMatchObject(refused(why));
    expect(await write(users.controller, service('svc22', LABELS, { ports: [{ port: 80 }] }))).toMatchObject(refused(why));
    expect(await write(users.controller, service('svc22', LABELS, { type: 'ExternalName', externalName: 'svc22.bank.route.internal' }))).toMatchObject(refused('must point at the name of its own route'));
  });

  test("somebody else's Service is neither taken over nor removed", async () => {
    const why = 'the Service shop/foreign is not an access point of Onehop: its controller may not touch it';
    expect(await write(users.controller, service('foreign', LABELS))).toMatchObject(refused(why));
    expect(await remove('foreign')).toMatchObject(refused(why));
    const own = await cluster.get<{ spec: { type: string } }>('service', 'foreign', '-n', 'shop');
    expect(own.spec.type).toBe('ClusterIP');
  });
});

describe('tenants', () => {
  const canI = async (kubeconfig: string, verb: string, resource: string, namespace: string, ...rest: readonly string[]): Promise<boolean> =>
    (await cluster.tryKubectl(['auth', 'can-i', verb, resource, '-n', namespace, ...rest], { kubeconfig })).stdout.trim() === 'yes';

  test('an admin of a namespace writes its routes, never their status', async () => {
    await eventually('the roles are aggregated', () => canI(users.tenant, 'create', 'serviceroutes.paas.io', 'shop'));
    expect(await write(users.tenant, route('svc30'))).toMatchObject(WRITTEN);
    for (const verb of ['patch', 'update']) expect(await canI(users.tenant, verb, 'serviceroutes.paas.io', 'shop', '--subresource=status')).toBe(false);
    // A status beside the spec is not written either: it is a subresource.
    await write(users.tenant, { ...route('svc30'), status: { vip: '169.254.193.9' } });
    expect(await cluster.kubectl(['get', 'serviceroute', 'svc30', '-n', 'shop', '-o', 'jsonpath={.status}'])).toBe('');
  });

  test('a viewer reads them', async () => {
    expect(await canI(users.viewer, 'watch', 'serviceroutes.paas.io', 'shop')).toBe(true);
    expect(await canI(users.viewer, 'create', 'serviceroutes.paas.io', 'shop')).toBe(false);
  });

  test.each([
    ['create', 'services', 'global'],
    ['create', 'serviceroutes.paas.io', 'global'],
    ['patch', 'leases.coordination.k8s.io', SYSTEM],
    ['get', 'configmaps', SYSTEM],
    ['create', 'serviceroutes.paas.io', 'default'],
  ])('may not %s %s in %s', async (verb, resource, namespace) => {
    expect(await canI(users.tenant, verb, resource, namespace)).toBe(false);
  });

  test.each([
    ['agent', 'patch', 'serviceroutes.paas.io/status', 'shop'],
    ['agent', 'get', 'secrets', SYSTEM],
    ['agent', 'list', 'secrets', SYSTEM],
    ['agent', 'list', 'secrets', 'shop'],
    ['agent', 'list', 'leases.coordination.k8s.io', SYSTEM],
    ['controller', 'get', 'secrets', SYSTEM],
    ['controller', 'list', 'secrets', 'shop'],
    ['controller', 'create', 'secrets', SYSTEM],
    ['controller', 'patch', 'serviceroutes.paas.io', 'shop'],
    ['controller', 'patch', 'nodes', 'shop'],
  ])('nor may the %s %s %s in %s', async (who, verb, resource, namespace) => {
    expect(await canI(who === 'agent' ? users.agent1 : users.controller, verb, resource, namespace)).toBe(false);
  });
});

describe('with the component startup-taint', () => {
  const KEY = 'onehop.paas.io/not-ready';
  // Not with kubectl: it would read the node first, which the controller may not.
  let controller: ApiClient;
  const patchNode = (body: object, query: Query = {}): Promise<Pick<RunResult, 'code' | 'stderr'>> =>
    controller.request('PATCH', '/api/v1/nodes/n1', { query, body, contentType: 'application/merge-patch+json' }).then(
      () => WRITTEN,
      (error: unknown) => ({ code: 1, stderr: messageOf(error) }),
    );

  beforeAll(async () => {
    controller = openApiClient(await openApiAccess({ kubeconfig: users.controller }), { userAgent: 'test' });
    for (const file of ['rbac', 'admission-policy']) await cluster.kubectl(['apply', '-f', `daemonset/components/startup-taint/${file}.yaml`]);
    await cluster.kubectl(['taint', 'node', 'n1', `${KEY}=:NoSchedule`, 'team=a:NoSchedule']);
    await eventually('the policy is in force', async () => (await patchNode({ metadata: { labels: { probe: 'a' } } }, { dryRun: 'All' })).stderr.includes('may change nothing of a node but its taint'));
  });

  afterAll(() => controller.close());

  test('the controller takes that taint off, and changes nothing else of a node', async () => {
    const { spec } = await cluster.get<{ spec: { taints: { key: string }[] } }>('node', 'n1');
    const others = spec.taints.filter(({ key }) => key !== KEY);
    expect(await patchNode({ spec: { taints: [] } })).toMatchObject(refused('and no other'));
    expect(await patchNode({ spec: { taints: [...spec.taints, { key: 'more', effect: 'NoExecute' }] } })).toMatchObject({ code: 1 });
    expect(await patchNode({ metadata: { labels: { pool: 'gpu' } } })).toMatchObject(refused('nothing of a node but its taint'));
    expect(await patchNode({ spec: { unschedulable: true } })).toMatchObject({ code: 1 });
    expect(await patchNode({ spec: { taints: others } })).toMatchObject({ code: 0 });
    const after = await cluster.get<{ spec: { taints: { key: string }[] } }>('node', 'n1');
    expect(after.spec.taints.map(({ key }) => key)).not.toContain(KEY);
  });
});

// The last: it takes everything away.
test('the namespace can be removed, node reports and all', async () => {
  await cluster.kubectl(['delete', 'pods', '--all', '-n', SYSTEM, '--force', '--grace-period=0']);
  expect(await cluster.kubectl(['delete', 'namespace', SYSTEM, '--timeout=60s'])).toContain('deleted');
});
