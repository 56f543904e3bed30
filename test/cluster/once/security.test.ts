import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import type { Onehop, RouteObject } from '../../support/cluster/installed-onehop.ts';
import { installOnehop } from '../../support/cluster/onehop.ts';
import { closeTenants, openTenant, route, service } from '../../support/cluster/tenant.ts';
import type { CallResult, Tenant } from '../../support/cluster/tenant.ts';
import { eventually } from '../../support/lab/run.ts';

/**
 * The attack scenes of docs/security.md: what the admin of one namespace tries against another one's routes. Each also shows that the
 * same thing works where it is allowed, so that no scene passes because nothing works at all.
 */
let cluster: Cluster;
let onehop: Onehop;
/** Has something worth stealing. */
let bank: Tenant;
let mallory: Tenant;
/** VIPs of bank's routes. */
const vips = { vault: '', desk: '', pay: '' };

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  [bank, mallory] = await Promise.all([openTenant(cluster, 'bank'), openTenant(cluster, 'mallory')]);
  const serviceAccount = (name: string): object => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } });
  await Promise.all([
    bank.apply(serviceAccount('teller'), service('vault-v1', 'vault'), service('front', 'front')),
    mallory.apply(serviceAccount('teller'), service('front', 'front'), service('own-v1', 'own')),
  ]);
  await Promise.all([
    bank.startPods({ name: 'vault', node: 'n1' }, { name: 'customer', node: 'n1' }, { name: 'clerk', node: 'n1', serviceAccount: 'teller' }, { name: 'front', node: 'n1' }),
    // Everything about the thief's pods says that they are the ones whom bank lets in.
    mallory.startPods({ name: 'thief', node: 'n1', serviceAccount: 'teller', labels: { app: 'front' } }, { name: 'thief-2', node: 'n2', serviceAccount: 'teller', labels: { app: 'front' } }, { name: 'own', node: 'n1' }),
  ]);
  await bank.apply(
    route('vault', 'vault-v1'),
    route('desk', 'vault-v1', { acl: { defaultAllow: false, entries: [{ kind: 'ServiceAccount', name: 'teller' }, { kind: 'Service', name: 'front' }] } }),
    route('pay', 'vault-v1', { global: true, acl: { defaultAllow: true, entries: [] } }),
  );
  await mallory.apply(route('own', 'own-v1'));
  const [vault, desk, pay] = await Promise.all([...['vault', 'desk', 'pay'].map((name) => onehop.untilProgrammed('bank', name)), onehop.untilProgrammed('mallory', 'own')]);
  Object.assign(vips, { vault: vault?.status?.vip, desk: desk?.status?.vip, pay: pay?.status?.vip });
});
afterAll(() => closeTenants(bank, mallory));

const served = (pod: string): object => ({ status: 200, pod });
const refusal = (reason: string): object => ({ status: 403, reason });
const own = (): Promise<CallResult> => mallory.call('thief', 'http://own/');

describe('calls', () => {
  test('a private route answers its own namespace, and nobody else by name or address, on any node', async () => {
    expect(await bank.call('customer', 'http://vault/')).toMatchObject(served('vault'));
    expect(await bank.call('customer', `http://${vips.vault}/`)).toMatchObject(served('vault'));
    for (const thief of ['thief', 'thief-2']) {
      expect(await mallory.call(thief, 'http://vault.bank.route.internal/')).toMatchObject(refusal('namespace-isolated'));
      expect(await mallory.call(thief, 'http://vault.bank/')).toMatchObject(refusal('namespace-isolated'));
      expect(await mallory.call(thief, `http://${vips.vault}/`)).toMatchObject(refusal('namespace-isolated'));
    }
    expect(await own()).toMatchObject(served('own'));
  });

  test('headers that claim another caller change nothing, and do not reach the server', async () => {
    const claims = ['-H', `X-Forwarded-For: ${await bank.podAddress('customer')}`, '-H', 'x-onehop-caller: bank/customer', '-H', 'Host: vault.bank.route.internal'];
    expect(await mallory.call('thief', `http://${vips.vault}/`, ...claims)).toMatchObject(refusal('namespace-isolated'));
    const { body } = await mallory.call('thief', 'http://pay.global/?headers=x-forwarded-for,x-onehop-caller', ...claims.slice(0, 4));
    expect(JSON.parse(body)).toMatchObject({ pod: 'vault', headers: { 'x-forwarded-for': await mallory.podAddress('thief'), 'x-onehop-caller': null } });
  });

  test("a ServiceAccount, a Service or a label with the name of an allowed caller's does not make a pod that caller", async () => {
    expect(await bank.call('clerk', 'http://desk/')).toMatchObject(served('vault'));
    expect(await bank.call('front', 'http://desk/')).toMatchObject(served('vault'));
    expect(await bank.call('customer', 'http://desk/')).toMatchObject(refusal('acl-denied'));
    expect(await mallory.call('thief', `http://${vips.desk}/`)).toMatchObject(refusal('namespace-isolated'));
    // By the public name isolation does not count, so the ACL must hold alone.
    const global = { global: true, acl: { defaultAllow: false, entries: [{ name: 'teller' }, { name: 'front' }] } };
    await bank.apply(route('counter', 'vault-v1', global));
    await onehop.untilProgrammed('bank', 'counter');
    expect(await bank.call('clerk', 'http://counter.global/')).toMatchObject(served('vault'));
    expect(await mallory.call('thief', 'http://counter.global/')).toMatchObject(refusal('acl-denied'));
    expect(await mallory.call('thief-2', 'http://counter.global/')).toMatchObject(refusal('acl-denied'));
  });

  test('a pod that has ended has no identity, also when a finalizer keeps its object', async () => {
    await bank.startPods({ name: 'leaver', node: 'n1', spec: { terminationGracePeriodSeconds: 1 } });
    const address = await bank.podAddress('leaver');
    const callers = async (): Promise<readonly string[]> => {
      const { stdout } = await cluster.node('n1').exec('curl', '-s', '--unix-socket', '/run/onehop/current/admin.sock', 'http://agent/table');
      return (JSON.parse(stdout) as { table: { callers: { pods: { address: string }[] } } }).table.callers.pods.map((caller) => caller.address);
    };
    await eventually('the pod is a caller', async () => (await callers()).includes(address));
    await bank.kubectl('patch', 'pod', 'leaver', '--type=merge', '-p', '{"metadata":{"finalizers":["example.com/keep"]}}');
    await bank.kubectl('delete', 'pod', 'leaver', '--wait=false');
    await eventually('the pod is no caller', async () => !(await callers()).includes(address), 60_000);
    expect(await bank.kubectl('get', 'pod', 'leaver', '-o', 'jsonpath={.metadata.finalizers[0]}')).toBe('example.com/keep');
    await bank.kubectl('patch', 'pod', 'leaver', '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
  });
});

describe('names and addresses', () => {
  test("a route is not given another's address by a status that its author wrote", async () => {
    const status = { vip: vips.vault, globalVip: vips.pay, conditions: [] };
    await mallory.apply(route('pinned', 'own-v1', {}, { status }));
    const pinned = await onehop.untilProgrammed('mallory', 'pinned');
    expect(Object.values(vips)).not.toContain(pinned.status?.vip);
    expect(pinned.status?.globalVip).toBeUndefined();
    const patch = await mallory.tryKubectl(['patch', 'serviceroute', 'pinned', '--subresource=status', '--type=merge', '-p', JSON.stringify({ status })]);
    expect(patch).toMatchObject({ code: 1, stderr: expect.stringContaining('resource "serviceroutes/status"') });
    expect(await mallory.call('thief', 'http://pinned/')).toMatchObject(served('own'));
    expect(await bank.call('customer', 'http://vault/')).toMatchObject(served('vault'));
  });

  test("a Service that bears the marks of another route's access point takes no calls of that route", async () => {
    const marks = { labels: { 'onehop.paas.io/access-point': 'route', 'app.kubernetes.io/managed-by': 'onehop-controller' }, annotations: { 'onehop.paas.io/route': 'bank/vault' } };
    const before = await accessPoint('bank', 'vault');
    await mallory.apply(service('vault', 'own', {}, marks), service('pay', 'own', {}, { ...marks, labels: { ...marks.labels, 'onehop.paas.io/access-point': 'global' } }));
    await mallory.apply({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'decoy', ...marks }, spec: { type: 'ExternalName', externalName: 'own.mallory.route.internal' } });
    // One that looks like its own in every way the controller takes away: it is mallory's loss alone.
    await eventually('the decoy is gone', async () => (await mallory.tryKubectl(['get', 'service', 'decoy'])).code !== 0);
    expect(await accessPoint('bank', 'vault')).toEqual(before);
    expect(await mallory.kubectl('get', 'service', 'vault', '-o', 'jsonpath={.spec.type}')).toBe('ClusterIP');
    expect(await bank.call('customer', 'http://vault/')).toMatchObject(served('vault'));
    expect(await bank.call('customer', 'http://pay.global/')).toMatchObject(served('vault'));
    // In its own namespace the name is mallory's, as that of any Service, once CoreDNS has forgotten that there was none.
    const isOwn = async (): Promise<boolean> => (await mallory.call('thief', 'http://vault/')).pod === 'own';
    expect(await eventually('the name leads to its own Service', isOwn, 60_000)).toBe(true);
    await mallory.kubectl('delete', 'service', 'vault', 'pay');
  });

  test('a Service that was there first is not taken over by a route of its name', async () => {
    await mallory.apply(service('first', 'own'), route('first', 'own-v1'));
    const status = (): Promise<RouteObject> => onehop.route('mallory', 'first');
    await eventually('the conflict is told', async () => (await status()).status?.conditions?.some(({ type, reason }) => type === 'Conflict' && reason === 'ServiceExists'));
    expect(await mallory.kubectl('get', 'service', 'first', '-o', 'jsonpath={.spec.type} {.metadata.labels}')).toBe('ClusterIP ');
  });

  test('a public name belongs to the namespace that had it first, and is not inherited when its route goes', async () => {
    await bank.apply(route('loan', 'vault-v1', { global: true }));
    const held = (await onehop.untilProgrammed('bank', 'loan')).status?.globalVip;
    expect(await mallory.call('thief', 'http://loan.global/')).toMatchObject(served('vault'));

    await mallory.apply(route('loan', 'own-v1', { global: true }));
    const conflict = async (): Promise<string | undefined> => (await onehop.route('mallory', 'loan')).status?.conditions?.find(({ type }) => type === 'Conflict')?.message;
    await eventually('the conflict is told', conflict);
    expect(await mallory.call('thief', 'http://loan.global/')).toMatchObject(served('vault'));
    expect(await mallory.call('thief', 'http://loan/')).toMatchObject(served('own'));

    await bank.kubectl('delete', 'serviceroute', 'loan');
    await eventually('the name is gone', async () => (await digAt('loan.global.route.internal')).includes('NXDOMAIN'));
    await eventually('the conflict names who had it', async () => (await conflict())?.includes('belonged to namespace bank'));
    expect((await onehop.route('mallory', 'loan')).status?.globalVip).toBeUndefined();
    expect(await digAt('loan.global.route.internal')).toContain('NXDOMAIN');
    expect((await cluster.tryKubectl(['-n', 'global', 'get', 'service', 'loan'])).code).toBe(1);

    // Who had it gets it back, address and all; a name that nobody had is anybody's.
    await bank.apply(route('loan', 'vault-v1', { global: true }));
    expect((await onehop.untilProgrammed('bank', 'loan')).status?.globalVip).toBe(held);
    await mallory.apply(route('gift', 'own-v1', { global: true }));
    await onehop.untilProgrammed('mallory', 'gift');
    expect(await bank.call('customer', 'http://gift.global/')).toMatchObject(served('own'));
  });

  test('the address of a route that is gone goes to nobody else', async () => {
    await bank.apply(route('gone', 'vault-v1'));
    const vip = (await onehop.untilProgrammed('bank', 'gone')).status?.vip;
    await bank.kubectl('delete', 'serviceroute', 'gone');
    const names = ['heir-1', 'heir-2', 'heir-3'];
    await mallory.apply(...names.map((name) => route(name, 'own-v1')));
    const heirs = await Promise.all(names.map((name) => onehop.untilProgrammed('mallory', name)));
    for (const heir of heirs) expect(heir.status?.vip).not.toBe(vip);
    expect(await mallory.call('thief', `http://${vip ?? ''}/`)).toMatchObject({ status: 0 });
    await mallory.kubectl('delete', 'serviceroute', ...names);
  });

  test('no Service can claim an address of the pool', async () => {
    const claim = (externalIP: string): object => service('claim', 'own', { externalIPs: [externalIP] });
    for (const address of [vips.vault, '169.254.192.10', '169.254.192.11']) {
      expect(await mallory.tryApply(claim(address))).toMatchObject({ code: 1, stderr: expect.stringContaining('link-local') });
    }
    expect(await mallory.tryApply(service('claim', 'own', { clusterIP: vips.vault }))).toMatchObject({ code: 1 });
    expect(await mallory.tryApply(claim('203.0.113.7'))).toMatchObject({ code: 0 });
    const ingress = { status: { loadBalancer: { ingress: [{ ip: vips.vault }] } } };
    expect(await mallory.tryKubectl(['patch', 'service', 'claim', '--subresource=status', '--type=merge', '-p', JSON.stringify(ingress)])).toMatchObject({ code: 1, stderr: expect.stringContaining('Forbidden') });
    await mallory.kubectl('delete', 'service', 'claim');
  });

  test('no tenant writes into the namespaces of the cluster', async () => {
    for (const namespace of ['global', 'onehop-system']) {
      const { code, stderr } = await mallory.tryKubectl(['create', 'service', 'externalname', 'pay', '--external-name=own.mallory.route.internal', '-n', namespace]);
      expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining(`in the namespace "${namespace}"`) });
    }
    // Not even an administrator publishes a route there.
    const inGlobal = { ...route('anything', 'own-v1'), metadata: { name: 'anything', namespace: 'global' } };
    await cluster.apply(inGlobal);
    await eventually('it is invalid', async () => (await onehop.route('global', 'anything')).status?.conditions?.some(({ type, status }) => type === 'Accepted' && status === 'False'));
    expect((await onehop.route('global', 'anything')).status?.vip).toBeUndefined();
    await cluster.kubectl(['-n', 'global', 'delete', 'serviceroute', 'anything']);
  });
});

/** What of an access point must not change. */
const accessPoint = async (namespace: string, name: string): Promise<unknown> => {
  const { metadata, spec } = await cluster.get<{ metadata: { uid: string; resourceVersion: string }; spec: object }>('-n', namespace, 'service', name);
  return [metadata.uid, metadata.resourceVersion, spec];
};

const digAt = async (name: string): Promise<string> => (await cluster.node('n1').exec('dig', '+time=2', '@169.254.192.10', name)).stdout;
