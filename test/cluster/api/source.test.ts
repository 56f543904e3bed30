import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openApiAccess, type ApiAccess } from '../../../src/kube/io/open-api-access.ts';
import { openApiClient, type ApiClient } from '../../../src/kube/io/open-api-client.ts';
import { openKubernetesSource, type KubernetesSource } from '../../../src/kube/io/open-kubernetes-source.ts';
import { openNodeReport } from '../../../src/kube/io/open-node-report.ts';
import { openReflector, type Reflector, type ReflectorTiming } from '../../../src/kube/io/open-reflector.ts';
import type { RouteTable } from '../../../src/model/route-table.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { openCluster, type Cluster } from '../../support/cluster/cluster.ts';
import { tokenKubeconfig } from '../../support/cluster/token-kubeconfig.ts';
import { eventually, must } from '../../support/lab/run.ts';
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

/** The source of the agent against a real API server, as the account that the shipped RBAC gives it. */
const SYSTEM = 'onehop-system';
const TIMING: Partial<ReflectorTiming> = { retry: { baseMs: 100, maxMs: 1_000, awayMs: 1_000, returnMs: 100, relistMs: 200 } };

let cluster: Cluster;
let admin: ApiClient;
let agentConfig: string;
const opened: { close(): unknown }[] = [];

beforeAll(async () => {
  cluster = await openCluster({ name: 'src', nodes: 0 });
  await cluster.kubectl(['apply', '-k', 'daemonset/base']);
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd/serviceroutes.paas.io']);
  admin = openApiClient(await openApiAccess({ kubeconfig: cluster.kubeconfig }), { userAgent: 'test' });
  await cluster.apply(
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z0' } } },
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n2' } },
  );
  await eventually('the accounts of pods', async () => (await cluster.tryKubectl(['-n', 'shop', 'get', 'serviceaccount', 'default'])).code === 0);
  await cluster.apply(
    pod('agent-n1', SYSTEM, { nodeName: 'n1', serviceAccountName: 'onehop-agent' }),
  );
  await admin.request('PATCH', '/api/v1/nodes/n2/status', { contentType: 'application/merge-patch+json', body: { status: { addresses: [{ type: 'InternalIP', address: '10.0.0.2' }] } } });
  agentConfig = await tokenKubeconfig(cluster, { namespace: SYSTEM, name: 'onehop-agent', pod: 'agent-n1' });
});
afterAll(async () => {
  admin?.close();
  await cluster?.close();
});
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one.close();
});

const pod = (name: string, namespace: string, spec: object = {}): object => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace }, spec: { containers: [{ name: 'c', image: 'c' }], ...spec } });
const configMaps = '/api/v1/namespaces/shop/configmaps';
const apply = (path: string, body: object): Promise<unknown> => admin.request('PATCH', path, { query: { fieldManager: 'test', force: true }, contentType: 'application/apply-patch+yaml', body });
const setMap = (name: string, value: string): Promise<unknown> => apply(`${configMaps}/${name}`, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { value } });
const valueOf = (raw: unknown): string => (raw as { data?: { value?: string } }).data?.value ?? '';

function keep<T extends { close(): unknown }>(one: T): T {
  opened.push(one);
  return one;
}

/** A client through a proxy that can be cut; counts lists and watches. */
async function cutClient(): Promise<{ readonly client: ApiClient; readonly proxy: TcpProxy; readonly lists: () => number }> {
  const access = await openApiAccess({ kubeconfig: cluster.kubeconfig });
  const proxy = keep(await openTcpProxy(Number(access.server.port)));
  const client = keep(openApiClient({ ...access, server: new URL(`https://127.0.0.1:${proxy.port}`) }, { userAgent: 'test', timeoutMs: 2_000 }));
  let lists = 0;
  const counted: ApiClient = { ...client, request: (...args) => (lists++, client.request(...args)) };
  return { client: counted, proxy, lists: () => lists };
}

const openMaps = (client: Pick<ApiClient, 'request' | 'stream' | 'onAnswer'>, timing: Partial<ReflectorTiming> = {}): Reflector<string> =>
  keep(openReflector<string>({ client, path: configMaps, slim: valueOf, onChange: () => undefined, timing: { ...TIMING, ...timing } }));

async function freshList(): Promise<ReadonlyMap<string, string>> {
  const { items } = await admin.request<{ items: { metadata: { name: string } }[] }>('GET', configMaps);
  return new Map(items.map((item) => [`shop/${item.metadata.name}`, valueOf(item)]));
}

interface Watched {
  readonly source: KubernetesSource;
  readonly snapshots: Snapshot[];
  readonly waiting: string[];
  readonly errors: string[];
  readonly last: () => Snapshot | undefined;
}

async function openSource(access: ApiAccess): Promise<Watched> {
  const client = keep(openApiClient(access, { userAgent: 'test', timeoutMs: 5_000 }));
  const [snapshots, waiting, errors]: [Snapshot[], string[], string[]] = [[], [], []];
  const source = keep(
    await openKubernetesSource({
      client,
      nodeName: 'n1',
      globalNamespace: 'global',
      systemNamespace: SYSTEM,
      onSnapshot: (snapshot) => void snapshots.push(snapshot),
      onWaiting: (why) => void waiting.push(why),
      onError: ({ message }) => void errors.push(message),
      timing: TIMING,
    }),
  );
  return { source, snapshots, waiting, errors, last: () => snapshots.at(-1) };
}

const asAgent = (): Promise<ApiAccess> => openApiAccess({ kubeconfig: agentConfig });
const route = (name: string, to: string): Promise<unknown> =>
  apply(`/apis/paas.io/v1/namespaces/shop/serviceroutes/${name}`, { apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { name }, spec: { rule: { type: '' }, to: [{ kind: 'Service', name: to }] } });
const slice = (name: string, endpoints: readonly object[]): Promise<unknown> =>
  apply(`/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/${name}`, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    ports: [{ name: '', port: 80 }],
    endpoints,
  });

describe('the source', () => {
  test('gives what the cluster has: all routes, Services, slices and nodes, but pods of this node alone', async () => {
    await cluster.apply(pod('mine', 'shop', { nodeName: 'n1' }), pod('other', 'shop', { nodeName: 'n2' }), pod('nowhere', 'shop'));
    await route('r', 'web');
    await slice('web-1', [{ addresses: ['10.1.0.1'], nodeName: 'n1' }]);
    const { last, snapshots, errors } = await openSource(await asAgent());
    const first = await eventually('a snapshot', async () => last());
    expect(first.serviceRoutes).toMatchObject([{ namespace: 'shop', name: 'r', generation: 1, status: {}, spec: { to: [{ name: 'web' }] } }]);
    expect(first.endpointSlices.find(({ name }) => name === 'web-1')).toMatchObject({ serviceName: 'web', endpoints: [{ addresses: ['10.1.0.1'], nodeName: 'n1' }] });
    expect(first.pods.map(({ name }) => name)).toEqual(['agent-n1', 'mine']);
    expect(first.nodes).toMatchObject([{ name: 'n1', zone: 'z0' }, { name: 'n2', addresses: ['10.0.0.2'] }]);
    expect(first.services.map(({ name }) => name)).toContain('kubernetes');
    expect(Number(first.resourceVersion)).toBeGreaterThan(0);

    const before = snapshots.length;
    await slice('web-1', [{ addresses: ['10.1.0.9'], nodeName: 'n1' }]);
    const second = await eventually('the change', async () => last() !== first && last());
    expect(second.endpointSlices.find(({ name }) => name === 'web-1')?.endpoints[0]?.addresses).toEqual(['10.1.0.9']);
    expect([second.serviceRoutes === first.serviceRoutes, second.services === first.services, second.pods === first.pods]).toEqual([true, true, true]);
    expect(snapshots.length).toBe(before + 1);
    expect(errors).toEqual([]);
  });

  test("a snapshot's resourceVersion covers its routes, deletions too", async () => {
    const { last, source } = await openSource(await asAgent());
    await eventually('a snapshot', async () => last());
    const made = (await route('short', 'web')) as { metadata: { resourceVersion: string } };
    const there = await eventually('the route', async () => last()?.serviceRoutes.some(({ name }) => name === 'short') === true && last());
    expect(Number(there.resourceVersion)).toBeGreaterThanOrEqual(Number(made.metadata.resourceVersion));
    await admin.request('DELETE', '/apis/paas.io/v1/namespaces/shop/serviceroutes/short');
    const gone = await eventually('its end', async () => last()?.serviceRoutes.some(({ name }) => name === 'short') === false && last());
    expect(Number(gone.resourceVersion)).toBeGreaterThan(Number(made.metadata.resourceVersion));

    // Gone before anybody was told of it: no Snapshot shows it, and yet the node knows.
    const blink = (await route('blink', 'web')) as { metadata: { resourceVersion: string } };
    await admin.request('DELETE', '/apis/paas.io/v1/namespaces/shop/serviceroutes/blink');
    await eventually('it is known', async () => {
      const now = last();
      return now !== undefined && !now.serviceRoutes.some(({ name }) => name === 'blink') && Number(source.versionOf(now)) > Number(blink.metadata.resourceVersion);
    });
  });

  test('a host-network pod of another node is read by name; one that has not that address does not count', async () => {
    await cluster.apply(pod('onhost', 'shop', { nodeName: 'n2', hostNetwork: true }), pod('inside', 'shop', { nodeName: 'n2' }));
    const uidOf = async (name: string): Promise<string> => (await admin.request<{ metadata: { uid: string } }>('GET', `/api/v1/namespaces/shop/pods/${name}`)).metadata.uid;
    for (const [name, ip] of Object.entries({ onhost: '10.0.0.2', inside: '10.1.0.7' })) {
      await admin.request('PATCH', `/api/v1/namespaces/shop/pods/${name}/status`, { contentType: 'application/merge-patch+json', body: { status: { podIPs: [{ ip }], podIP: ip } } });
    }
    await route('r', 'web');
    const endpoint = async (name: string): Promise<object> => ({ addresses: ['10.0.0.2'], targetRef: { kind: 'Pod', namespace: 'shop', name, uid: await uidOf(name) } });
    await slice('web-1', [await endpoint('onhost')]);
    await slice('web-2', [await endpoint('inside')]);
    const { last } = await openSource(await asAgent());
    const first = await eventually('a snapshot', async () => last());
    expect(first.pods.filter(({ nodeName }) => nodeName === 'n2')).toMatchObject([{ name: 'onhost', hostNetwork: true, podIPs: ['10.0.0.2'] }]);
    await slice('web-1', [{ addresses: ['10.1.0.1'] }]);
    await eventually('nobody asks for it any more', async () => last()?.pods.some(({ name }) => name === 'onhost') === false);
  });

  test('without rights it waits and says which; with them it begins', async () => {
    const { last, waiting, errors } = await openSource(await openApiAccess({ kubeconfig: await cluster.userKubeconfig('nobody') }));
    await eventually('it says why', async () => waiting.some((line) => line.includes('serviceroutes.paas.io') && line.includes('nodes')));
    expect(waiting.at(-1)).toContain('allow list and watch of pods in the ClusterRole of this account');
    expect(last()).toBeUndefined();
    // Each resource once, however often it is tried.
    await eventually('several attempts', async () => waiting.length > 15);
    expect(errors.length).toBe(6);
    expect(errors.filter((line) => line.includes('of the Secret onehop-token-codes in the Role onehop-agent in onehop-system'))).toHaveLength(1);
    await cluster.kubectl(['create', 'clusterrolebinding', 'nobody', '--clusterrole=onehop-agent', '--user=nobody']);
    await cluster.kubectl(['-n', SYSTEM, 'create', 'rolebinding', 'nobody', '--role=onehop-agent', '--user=nobody']);
    await eventually('a snapshot', async () => last());
  });

  test('the API server away and back: what was known stays, nothing is missed, each resource is listed once more at most', async () => {
    const { source, last } = await openSource(await asAgent());
    const first = await eventually('a snapshot', async () => last());
    await cluster.apiServer.stop();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    expect(last()).toBe(first);
    await cluster.apiServer.start();
    await route('after', 'web');
    await eventually('the new route', async () => last()?.serviceRoutes.some(({ name }) => name === 'after'), 40_000);
    for (const { resource, relists } of source.status()) expect({ resource, relists: relists <= 1 }).toEqual({ resource, relists: true });
  });
});

describe('a reflector', () => {
  test('each 410 of a real server leads to one list', async () => {
    await setMap('a', '1');
    let old = true;
    let expired = 0;
    const client: Pick<ApiClient, 'request' | 'stream' | 'onAnswer'> = {
      ...admin,
      // The place of a watch that began before everything was compacted.
      stream: (path, options) => {
        if (!old) return admin.stream(path, options);
        expired++;
        return admin.stream(path, { ...options, query: { ...options.query, resourceVersion: '1' } });
      },
    };
    const maps = openMaps(client);
    await eventually('listed again', async () => maps.metrics().relists > 0);
    old = false;
    await setMap('a', '2');
    await eventually('the change', async () => maps.items().get('shop/a') === '2');
    expect(maps.metrics().relists).toBe(expired);
  });

  test('a silent network: given up, connected again, nothing listed', async () => {
    const { client, proxy, lists } = await cutClient();
    const maps = openMaps(client, { silenceMs: 1_500 });
    await eventually('synced', async () => maps.synced);
    proxy.silence(true);
    await setMap('quiet', 'x');
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(maps.items().get('shop/quiet')).toBeUndefined();
    proxy.reset();
    proxy.silence(false);
    await eventually('the change', async () => maps.items().get('shop/quiet') === 'x');
    expect(lists()).toBe(1);
  });

  test('whatever changes and breaks, in the end it holds what a fresh list says', async () => {
    const name = fc.constantFrom('c0', 'c1', 'c2', 'c3', 'c4', 'c5');
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant('set' as const), name, value: fc.string({ maxLength: 6 }) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), name }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('reset' as const) }) },
    );
    const { client, proxy } = await cutClient();
    const maps = openMaps(client, { coalesceMs: 1 });
    await eventually('synced', async () => maps.synced);
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
        for (const one of steps) {
          if (one.do === 'set') await setMap(one.name, one.value);
          else if (one.do === 'delete') await admin.request('DELETE', `${configMaps}/${one.name}`).catch(() => undefined);
          else proxy.reset();
        }
        await setMap('end', String(Math.random()));
        const wanted = await freshList();
        await eventually('the last change', async () => maps.items().get('shop/end') === wanted.get('shop/end'));
        expect(new Map(maps.items())).toEqual(wanted);
      }),
      { numRuns: 8, seed: 20_261_122 },
    );
    expect(maps.metrics().relists).toBe(0);
    expect(maps.metrics().reconnects).toBeGreaterThan(3);
  });
});

describe('credentials', () => {
  test('of a pod: a token that is replaced is read again', async () => {
    const folder = join(cluster.folder, 'pod-credentials');
    await mkdir(folder, { recursive: true });
    const server = new URL(cluster.server);
    await writeFile(join(folder, 'token'), 'a token that ended');
    await writeFile(join(folder, 'namespace'), SYSTEM);
    await must(['cp', join(cluster.folder, 'pki', 'ca.crt'), join(folder, 'ca.crt')]);
    const access = await openApiAccess({ env: { KUBERNETES_SERVICE_HOST: server.hostname, KUBERNETES_SERVICE_PORT: server.port }, serviceAccountDir: folder });
    expect(access.namespace).toBe(SYSTEM);
    const { waiting, last } = await openSource(access);
    await eventually('it says why', async () => waiting.some((line) => line.includes('refuses the credentials')));
    await writeFile(join(folder, 'token'), `${(await cluster.kubectl(['-n', SYSTEM, 'create', 'token', 'onehop-agent'])).trim()}\n`);
    await eventually('a snapshot', async () => last());
  });

  test('of a plugin', async () => {
    const token = (await cluster.kubectl(['-n', SYSTEM, 'create', 'token', 'onehop-agent'])).trim();
    const config = await cluster.kubectl(['config', 'view', '--raw', '--flatten', '-o', 'json']);
    const parsed = JSON.parse(config) as { users: { user: object }[] };
    const credential = JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status: { token } });
    for (const each of parsed.users) each.user = { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: 'sh', args: ['-c', `echo "$KUBERNETES_EXEC_INFO" | grep -q '"interactive":false' && echo '${credential}'`] } };
    const path = join(cluster.folder, 'plugin.kubeconfig');
    await writeFile(path, JSON.stringify(parsed));
    const client = keep(openApiClient(await openApiAccess({ env: { KUBECONFIG: `/nowhere:${path}` } }), { userAgent: 'test' }));
    await expect(client.request('GET', '/api/v1/nodes')).resolves.toMatchObject({ kind: 'NodeList' });
    await expect(client.request('GET', '/api/v1/secrets')).rejects.toMatchObject({ status: 403, reason: 'Forbidden' });
  });

  test.each([
    [{}, 'this is no pod of a cluster, and no kubeconfig is given'],
    [{ kubeconfig: '/nowhere' }, 'the kubeconfig /nowhere cannot be used: ENOENT'],
    [{ env: { KUBERNETES_SERVICE_HOST: '::1', KUBERNETES_SERVICE_PORT: '443' }, serviceAccountDir: '/nowhere' }, "the pod's credentials cannot be read"],
  ])('what a person has to mend ends the start: %j', async (options, message) => {
    await expect(openApiAccess({ env: {}, ...options })).rejects.toEqual(expect.objectContaining({ exitCode: 3, message: expect.stringContaining(message) }));
  });
});

describe('the report of a node', () => {
  const table: Pick<RouteTable, 'routes' | 'problems'> = { routes: [], problems: [] };
  const snapshot = { serviceRoutes: [], services: [], endpointSlices: [], pods: [], nodes: [], serviceAccounts: [], tokenCodes: [], problems: [], resourceVersion: '42' };

  test('is a Lease that the node owns', async () => {
    const client = keep(openApiClient(await asAgent(), { userAgent: 'test' }));
    const troubles: string[] = [];
    const report = keep(openNodeReport({ client, nodeName: 'n1', namespace: SYSTEM, onTrouble: (line) => void troubles.push(line) }));
    report.inEffect(snapshot, table as RouteTable, []);
    const lease = await eventually('the Lease', async () => admin.request<object>('GET', `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM}/leases/onehop-node-n1`).catch(() => undefined));
    expect(lease).toMatchObject({
      metadata: { labels: { 'onehop.paas.io/report': 'node' }, annotations: { 'onehop.paas.io/resource-version': '42', 'onehop.paas.io/not-in-effect': '' }, ownerReferences: [{ kind: 'Node', name: 'n1' }] },
      spec: { holderIdentity: 'n1', leaseDurationSeconds: 180 },
    });
    expect(troubles).toEqual([]);
  });

  test('of another node is refused, and says by what', async () => {
    const client = keep(openApiClient(await asAgent(), { userAgent: 'test' }));
    const troubles: string[] = [];
    const report = keep(openNodeReport({ client, nodeName: 'n2', namespace: SYSTEM, onTrouble: (line) => void troubles.push(line) }));
    report.inEffect(snapshot, table as RouteTable, []);
    await eventually('it is told', async () => troubles.length > 0);
    expect(troubles[0]).toMatch(/ValidatingAdmissionPolicy '[a-z.-]+'/);
  });
});
