import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openApiAccess } from '../../../src/kube/io/open-api-access.ts';
import { openApiClient, type ApiClient } from '../../../src/kube/io/open-api-client.ts';
import { AddressWatch } from '../../support/cluster/address-watch.ts';
import { openCluster, type Cluster } from '../../support/cluster/cluster.ts';
import { ControllerProcess } from '../../support/cluster/controller-process.ts';
import { eventually } from '../../support/lab/run.ts';

/** The controller with its shipped rights against a real API server; nodes are played by their reports. */
const SYSTEM = 'onehop-system';
let cluster: Cluster;
let client: ApiClient;
let watch: AddressWatch;
const started: ControllerProcess[] = [];

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}
interface RouteObject {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly resourceVersion: string; readonly generation: number };
  readonly status?: { readonly vip?: string; readonly globalVip?: string; readonly programmed?: string; readonly observedGeneration?: number; readonly conditions: readonly Condition[] };
}

beforeAll(async () => {
  cluster = await openCluster({ name: 'ctl', nodes: 0 });
  await cluster.kubectl(['apply', '-k', 'daemonset/base']);
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd/serviceroutes.paas.io']);
  await cluster.apply(...['shop', 'bank', 'crowd'].map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })));
  client = openApiClient(await openApiAccess({ kubeconfig: cluster.kubeconfig }), { userAgent: 'test' });
  watch = new AddressWatch(client);
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') for (const { name, log } of started) process.stderr.write(`--- ${name}\n${log}\n`);
  await Promise.all(started.splice(0).map((one) => one.stop('SIGKILL')));
  await freeLease();
  expect(watch.faults, 'no address on two routes, none that moves').toEqual([]);
});
afterAll(async () => {
  await watch.close();
  client.close();
  await cluster.close();
});

async function start(name: string, flags: readonly string[] = []): Promise<ControllerProcess> {
  const controller = await ControllerProcess.start(cluster, name, flags);
  started.push(controller);
  return controller;
}

const SPEC = { rule: { type: '' }, to: [{ kind: 'Service', name: 'web' }] };
const routesPath = (namespace: string): string => `/apis/paas.io/v1/namespaces/${namespace}/serviceroutes`;
const createRoute = (namespace: string, name: string, spec: object = {}): Promise<unknown> =>
  client.request('POST', routesPath(namespace), { body: { apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { namespace, name }, spec: { ...SPEC, ...spec } } });
const deleteRoute = (namespace: string, name: string): Promise<unknown> => client.request('DELETE', `${routesPath(namespace)}/${name}`);
const changeRoute = (namespace: string, name: string, spec: object): Promise<unknown> =>
  client.request('PATCH', `${routesPath(namespace)}/${name}`, { body: { spec }, contentType: 'application/merge-patch+json' });
const readRoute = (namespace: string, name: string): Promise<RouteObject> => client.request<RouteObject>('GET', `${routesPath(namespace)}/${name}`);
const createService = (namespace: string, name: string): Promise<unknown> =>
  client.request('POST', `/api/v1/namespaces/${namespace}/services`, { body: { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name }, spec: { ports: [{ port: 80 }] } } });
const readService = (namespace: string, name: string): Promise<{ metadata: { resourceVersion: string; uid: string }; spec: { type: string; externalName?: string } } | undefined> =>
  client.request<{ metadata: { resourceVersion: string; uid: string }; spec: { type: string; externalName?: string } }>('GET', `/api/v1/namespaces/${namespace}/services/${name}`).catch(() => undefined);
const ledger = async (): Promise<Readonly<Record<string, string>>> =>
  (await client.request<{ data?: Record<string, string> }>('GET', `/api/v1/namespaces/${SYSTEM}/configmaps/onehop-vip-ledger`).catch(() => ({ data: {} }))).data ?? {};
const condition = (route: RouteObject, type: string): string | undefined => {
  const one = route.status?.conditions.find((each) => each.type === type);
  return one && `${one.status} ${one.reason}`;
};

interface LeaseObject {
  readonly spec: { readonly holderIdentity?: string; readonly renewTime?: string };
}
const readLease = (): Promise<LeaseObject> => client.request<LeaseObject>('GET', `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM}/leases/onehop-controller`);
const holder = async (): Promise<string> => (await readLease().catch(() => undefined))?.spec.holderIdentity?.split('_')[0] ?? '';
/** Takes the Lease from a process that is dead: a test need not wait until it runs out. */
const freeLease = (): Promise<unknown> =>
  client.request('PATCH', `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM}/leases/onehop-controller`, { body: { spec: { holderIdentity: null } }, contentType: 'application/merge-patch+json' }).catch(() => undefined);

const untilLeads = (name: string, limitMs = 30_000): Promise<string> => eventually(`${name} leads`, async () => (await holder()) === name && name, limitMs);
const untilVip = (namespace: string, name: string): Promise<string> => eventually(`${namespace}/${name} has an address`, async () => (await readRoute(namespace, name)).status?.vip);
/** Plays agents: reports of these nodes, with everything in effect up to now. */
async function report(nodes: readonly string[], notInEffect = ''): Promise<void> {
  const { metadata } = await client.request<{ metadata: { resourceVersion: string } }>('GET', '/apis/paas.io/v1/serviceroutes', { query: { limit: 1 } });
  for (const node of nodes) {
    const body = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        namespace: SYSTEM,
        name: `onehop-node-${node}`,
        labels: { 'onehop.paas.io/report': 'node' },
        annotations: { 'onehop.paas.io/resource-version': metadata.resourceVersion, 'onehop.paas.io/not-in-effect': notInEffect },
      },
      spec: { holderIdentity: node, leaseDurationSeconds: 180, renewTime: `${new Date().toISOString().slice(0, -1)}000Z` },
    };
    const path = `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM}/leases/onehop-node-${node}`;
    await client.request('PATCH', path, { query: { fieldManager: 'onehop-agent', force: true }, body, contentType: 'application/apply-patch+yaml' });
  }
}

describe('one controller', () => {
  test('gives addresses, makes access points and says how the route is doing, as kubectl shows it', async () => {
    const one = await start('a');
    await createService('shop', 'svc21-a');
    await createRoute('shop', 'svc21', { rule: { type: 'Percentage' }, global: true, to: [{ kind: 'Service', name: 'svc21-a', balance: { rule: 50 } }, { kind: 'Service', name: 'svc21-b', balance: { rule: '50%' } }] });
    const vip = await untilVip('shop', 'svc21');
    await eventually('its access points', async () => (await readService('global', 'svc21')) !== undefined && (await readService('shop', 'svc21')) !== undefined);
    expect([(await readService('shop', 'svc21'))?.spec, (await readService('global', 'svc21'))?.spec.externalName]).toMatchObject([{ type: 'ExternalName', externalName: 'svc21.shop.route.internal' }, 'svc21.global.route.internal']);
    const route = await readRoute('shop', 'svc21');
    expect([condition(route, 'Accepted'), condition(route, 'ResolvedRefs')]).toEqual(['True Accepted', 'False ServiceNotFound']);
    const events = await eventually('an Event', async () => {
      const { items } = await cluster.get<{ items: readonly { reason: string; note?: string; message?: string }[] }>('events.events.k8s.io', '-n', 'shop');
      return items.length > 0 && items;
    });
    expect(events.map(({ reason }) => reason)).toEqual(['ServiceNotFound']);
    await report(['n1', 'n2', 'n3']);
    await createService('shop', 'svc21-b');
    await eventually('programmed everywhere', async () => {
      await report(['n1', 'n2', 'n3']);
      return (await readRoute('shop', 'svc21')).status?.programmed === '3/3';
    });
    const shown = await cluster.kubectl(['get', 'serviceroutes', '-n', 'shop']);
    expect(shown.split('\n')[1]?.split(/\s{2,}/).slice(0, 7)).toEqual(['svc21', vip, expect.stringMatching(/^169\.254\./), 'Percentage', 'svc21-a 50%, svc21-b 50%', 'True', '3/3']);
    await report(['n3'], 'shop/svc21: port-taken');
    await eventually('a node that refuses it', async () => condition(await readRoute('shop', 'svc21'), 'Programmed') === 'False Refused');
    expect((await readRoute('shop', 'svc21')).status?.programmed).toBe('2/3');
    await report(['n3']);
    await eventually('all in step again', async () => (await readRoute('shop', 'svc21')).status?.programmed === '3/3');
    expect(await one.stop()).toBe(0);
    started.pop();
  });

  test('stops in order, and the next one finds everything in step: nothing is written', async () => {
    expect(await holder()).toBe('');
    const two = await start('b');
    await untilLeads('b');
    await delay(5_000);
    expect(two.proxy.writes()).toEqual([]);
  });

  test('finds what happened while it was away: deleted, renamed, made again', async () => {
    const one = await start('a');
    for (const name of ['old', 'moved', 'again']) await createRoute('shop', name);
    const vips = await Promise.all(['old', 'moved', 'again'].map((name) => untilVip('shop', name)));
    await eventually('access points', async () => (await readService('shop', 'again')) !== undefined && (await readService('shop', 'moved')) !== undefined && (await readService('shop', 'old')) !== undefined);
    await one.stop('SIGKILL');
    await freeLease();
    for (const name of ['old', 'moved', 'again']) await deleteRoute('shop', name);
    await createRoute('shop', 'renamed');
    await createRoute('shop', 'again');
    await start('b');
    const renamed = await untilVip('shop', 'renamed');
    expect([vips.includes(renamed), await untilVip('shop', 'again')]).toEqual([false, vips[2]]);
    await eventually('access points of deleted routes are gone', async () => (await readService('shop', 'old')) === undefined && (await readService('shop', 'moved')) === undefined);
    await eventually('their addresses rest', async () => {
      const entries = await ledger();
      return / freed /.test(entries[vips[0] ?? ''] ?? '') && / freed /.test(entries[vips[1] ?? ''] ?? '');
    });
    expect(watch.accessPointEvents.get('shop/again')).toEqual(['made']);
    for (const name of ['renamed', 'again']) await deleteRoute('shop', name);
  });

  test('never touches a foreign Service: it is a conflict, said in a condition and an Event', async () => {
    await createService('shop', 'legacy');
    const before = await readService('shop', 'legacy');
    await start('a');
    await createRoute('shop', 'legacy', { to: [{ kind: 'Service', name: 'legacy' }] });
    await untilVip('shop', 'legacy');
    await eventually('a conflict', async () => condition(await readRoute('shop', 'legacy'), 'Conflict') === 'True ServiceExists');
    const { items } = await cluster.get<{ items: readonly { reason: string; regarding?: { name: string } }[] }>('events.events.k8s.io', '-n', 'shop');
    expect(items.some(({ reason, regarding }) => reason === 'ServiceExists' && regarding?.name === 'legacy')).toBe(true);
    await deleteRoute('shop', 'legacy');
    await delay(1_000);
    expect(await readService('shop', 'legacy')).toEqual(before);
  });

  test('gives a global name to the namespace that had it first, and to nobody else when it goes, until it is released', async () => {
    await start('a');
    await createRoute('shop', 'pay', { global: true });
    await eventually('a global address', async () => (await readRoute('shop', 'pay')).status?.globalVip);
    await createRoute('bank', 'pay', { global: true });
    await eventually('a conflict', async () => condition(await readRoute('bank', 'pay'), 'Conflict') === 'True GlobalNameTaken');
    await changeRoute('shop', 'pay', { global: false });
    await eventually('the name is gone', async () => (await readService('global', 'pay')) === undefined);
    const [address] = await eventually('its address rests', async () => Object.entries(await ledger()).find(([, text]) => text.startsWith('*/pay of shop freed')));
    await delay(3_000);
    expect((await readRoute('bank', 'pay')).status?.globalVip).toBeUndefined();
    await cluster.kubectl(['-n', SYSTEM, 'patch', 'configmap', 'onehop-vip-ledger', '--type=merge', '-p', JSON.stringify({ data: { [address]: null } })]);
    await eventually('the other namespace has it', async () => (await readService('global', 'pay'))?.spec.externalName);
    expect((await readRoute('bank', 'pay')).status?.globalVip).toBeDefined();
    for (const namespace of ['shop', 'bank']) await deleteRoute(namespace, 'pay');
  });
});
