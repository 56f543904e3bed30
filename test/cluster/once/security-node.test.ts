import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import type { Onehop, ProblemView } from '../../support/cluster/installed-onehop.ts';
import { installOnehop } from '../../support/cluster/onehop.ts';
import { closeTenants, grantEndpointSlices, openTenant, route, service } from '../../support/cluster/tenant.ts';
import type { CallResult, Tenant } from '../../support/cluster/tenant.ts';
import { toolsPod } from '../../support/cluster/tools-pod.ts';
import { eventually } from '../../support/lab/run.ts';
import type { RunResult } from '../../support/lab/run.ts';

/** The attack scenes of docs/security.md that make the node do something for the attacker, or take a neighbour's address on it. */
const THEFT = readFile(join(import.meta.dirname, '../../support/cluster/steal-address.pl'), 'utf8');
let cluster: Cluster;
let onehop: Onehop;
let treasury: Tenant;
let burglar: Tenant;
/** Of an administrator: pods there may use the host's network. */
let infra: Tenant;
let vault = { vip: '', address: '' };

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  [treasury, burglar, infra] = await Promise.all([openTenant(cluster, 'treasury'), openTenant(cluster, 'burglar'), openTenant(cluster, 'infra', { podSecurity: 'privileged' })]);
  await grantEndpointSlices(burglar);
  await Promise.all([treasury.apply(service('vault-v1', 'vault')), burglar.apply(service('own-v1', 'own'), { ...service('aim-v1', ''), spec: { ports: [{ name: 'http', port: 80 }] } })]);
  await Promise.all([
    treasury.startPods({ name: 'vault', node: 'n1' }, { name: 'customer', node: 'n1' }),
    burglar.startPods({ name: 'thief', node: 'n1' }, { name: 'thief-2', node: 'n2' }, { name: 'own', node: 'n1' }),
  ]);
  await Promise.all([
    treasury.apply(route('vault', 'vault-v1'), route('desk', 'vault-v1', { acl: { defaultAllow: false, entries: [{ name: 'default' }] } })),
    burglar.apply(route('own', 'own-v1'), route('aim', 'aim-v1')),
  ]);
  const [programmed] = await Promise.all([onehop.untilProgrammed('treasury', 'vault'), onehop.untilProgrammed('treasury', 'desk'), onehop.untilProgrammed('burglar', 'own'), onehop.untilProgrammed('burglar', 'aim')]);
  vault = { vip: programmed.status?.vip ?? '', address: await treasury.podAddress('vault') };
});
afterAll(() => closeTenants(treasury, burglar, infra));

interface TargetRef {
  readonly kind: 'Pod';
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

const slice = (address: string, port: number, targetRef?: TargetRef): object => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'aim-by-hand', labels: { 'kubernetes.io/service-name': 'aim-v1', 'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io' } },
  addressType: 'IPv4',
  ports: [{ name: 'http', port, protocol: 'TCP' }],
  endpoints: [{ addresses: [address], conditions: { ready: true }, nodeName: 'n1', ...(targetRef === undefined ? {} : { targetRef }) }],
});

const problemsOf = async (namespace: string, node: string): Promise<readonly ProblemView[]> => (await onehop.routes(node)).problems.filter(({ object }) => object.namespace === namespace);

/** Points the burglar's route at an address, and calls it once the node has seen that. */
async function aimAt(address: string, port: number, targetRef?: TargetRef, from: 'thief' | 'thief-2' = 'thief'): Promise<CallResult> {
  const node = from === 'thief' ? 'n1' : 'n2';
  await burglar.apply(slice(address, port, targetRef));
  await eventually(`${node} has seen the slice`, async () => {
    const { routes } = await onehop.routes(node);
    const taken = routes.some((one) => one.name === 'aim' && one.versions[0]?.endpoints.some((endpoint) => endpoint.address === address && endpoint.port === port));
    return taken || (await problemsOf('burglar', node)).some(({ code, message }) => code === 'endpoint-refused' && message.startsWith(`${address} is `));
  });
  return burglar.call(from, 'http://aim/');
}

const podRef = async (tenant: Tenant, name: string): Promise<TargetRef> => ({ kind: 'Pod', namespace: tenant.namespace, name, uid: await tenant.kubectl('get', 'pod', name, '-o', 'jsonpath={.metadata.uid}') });
const REFUSED = { status: 503, reason: 'no-endpoints' };

describe('an EndpointSlice written by hand', () => {
  test('may point at a pod of its own namespace', async () => {
    expect(await aimAt(await burglar.podAddress('own'), 8080)).toMatchObject({ status: 200, pod: 'own' });
  });

  test.each([
    ["the kubelet of the caller's node", () => cluster.node('n1').address, 10_250],
    ['the kubelet of another node', () => cluster.node('n2').address, 10_250],
    ["another node's kubelet behind the gateway of its pods", () => cluster.node('n2').podCidr.replace(/0\/\d+$/, '1'), 10_250],
    ["another node's kubelet behind its device in an overlay", () => cluster.node('n2').podCidr.replace(/\/\d+$/, ''), 10_250],
    ["this node's gateway, where the agent listens too", () => cluster.node('n1').podCidr.replace(/0\/\d+$/, '1'), 9810],
    ['the API server by its address', () => '172.30.0.1', 6443],
    ['the API server by its clusterIP', () => '10.96.0.1', 443],
    ["the cluster's DNS by its clusterIP", () => '10.96.0.10', 53],
    ["another namespace's pod on this node", () => vault.address, 8080],
  ])('does not reach %s', async (_what, address, port) => {
    expect(await aimAt(address(), port)).toMatchObject(REFUSED);
  });

  test.each(['127.0.0.1', '169.254.192.11', '224.0.0.1'])('the API server itself refuses %s', async (address) => {
    expect(await burglar.tryApply(slice(address, 80))).toMatchObject({ code: 1, stderr: expect.stringContaining('Invalid value') });
  });

  test('is not believed when it names a pod: not its own, not another', async () => {
    const { address } = cluster.node('n1');
    expect(await aimAt(address, 10_250, await podRef(burglar, 'own'))).toMatchObject(REFUSED);
    expect(await aimAt(vault.address, 8080, await podRef(treasury, 'vault'))).toMatchObject(REFUSED);
    expect(await aimAt(vault.address, 8080, await podRef(burglar, 'own'))).toMatchObject(REFUSED);
  });

  test('a pod that has the host network is served on any node, and is nobody else\'s to name', async () => {
    const port = { env: { PORT: '18080' }, container: { ports: [], readinessProbe: { httpGet: { path: '/ready', port: 18_080 }, periodSeconds: 1 } } };
    await infra.apply(service('edge-v1', 'edge', { ports: [{ port: 80, targetPort: 18_080 }] }), toolsPod({ name: 'edge', node: 'n2', spec: { hostNetwork: true }, ...port, namespace: 'infra' }));
    await infra.startPods({ name: 'caller', node: 'n1' });
    await infra.kubectl('wait', '--for=condition=Ready', '--timeout=60s', 'pod', 'edge');
    await infra.apply(route('edge', 'edge-v1'));
    await onehop.untilProgrammed('infra', 'edge');
    await eventually('the pod with host network serves', async () => (await infra.call('caller', 'http://edge/')).pod === 'edge', 60_000);
    expect(await aimAt(cluster.node('n2').address, 18_080, await podRef(infra, 'edge'))).toMatchObject(REFUSED);
    expect((await burglar.tryApply(toolsPod({ name: 'host', namespace: 'burglar', spec: { hostNetwork: true } }))).stderr).toContain('violates PodSecurity "baseline');
  });

  test("of a pod on another node, the proxy reaches what any pod reaches: that is for NetworkPolicies to say", async () => {
    expect(await burglar.call('thief-2', `http://${vault.address}:8080/`)).toMatchObject({ status: 200, pod: 'vault' });
    expect(await aimAt(vault.address, 8080, undefined, 'thief-2')).toMatchObject({ status: 200, pod: 'vault' });
  });
});

describe("another pod's address", () => {
  /** With enough time for several tries where it should succeed. */
  const steal = async (from: string, victimAddress: string, seconds = 4): Promise<RunResult> => {
    const [script, ownAddress] = await Promise.all([THEFT, burglar.podAddress(from)]);
    return burglar.exec(from, ['perl', '-', ownAddress, victimAddress, vault.vip, '80', '/', String(seconds)], script);
  };
  const doctor = async (node: string): Promise<string> => (await onehop.execInAgent(node, ['onehop', 'doctor'])).stdout;

  test('on a bridge that pods share, one with NET_RAW takes it, and doctor says so', async () => {
    await burglar.startPods({ name: 'raw', node: 'n1' });
    expect(await burglar.call('raw', `http://${vault.vip}/`)).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    const { code, stdout } = await steal('raw', await treasury.podAddress('customer'), 15);
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining('"pod":"vault"') });
    expect(await doctor('n1')).toMatch(/note identity +pods share the bridge cni0: one with CAP_NET_RAW[^\n]*\n +-> drop NET_RAW/);
  });

  test("on no network does one with NET_RAW take an address of the node's, whose calls cross namespaces", async () => {
    for (const address of [cluster.node('n1').address, '169.254.192.10', '127.0.0.1']) {
      expect(await steal('raw', address)).toMatchObject({ code: 1, stdout: 'no answer\n' });
    }
  });

  test('on a bridge, one without NET_RAW cannot', async () => {
    await burglar.startPods({ name: 'dropped', node: 'n1', container: { securityContext: { capabilities: { drop: ['NET_RAW'] } } } });
    expect(await steal('dropped', await treasury.podAddress('customer'))).toMatchObject({ code: 2, stdout: expect.stringContaining('no raw socket') });
    // The node needs a moment to find the customer again after the theft before.
    await eventually('the customer is served', async () => (await treasury.call('customer', `http://${vault.vip}/`)).pod === 'vault', 60_000);
  });

  test('where each pod has a link and a route of its own, one with NET_RAW cannot either', async () => {
    const node = cluster.node('n2');
    await node.usePodNetwork('ptp');
    try {
      await eventually('pods get a link each', async () => {
        await treasury.startPods({ name: 'neighbour', node: 'n2' });
        const { stdout } = await node.exec('ip', 'route', 'show', await treasury.podAddress('neighbour'));
        if (stdout.includes('veth')) return true;
        await treasury.kubectl('delete', 'pod', 'neighbour', '--now');
        return false;
      }, 90_000);
      await burglar.startPods({ name: 'raw-2', node: 'n2' });
      expect(await treasury.call('neighbour', `http://${vault.vip}/`)).toMatchObject({ status: 200, pod: 'vault' });
      expect(await steal('raw-2', await treasury.podAddress('neighbour'))).toMatchObject({ code: 1, stdout: 'no answer\n' });
      expect(await steal('raw-2', node.address)).toMatchObject({ code: 1, stdout: 'no answer\n' });
      expect(await treasury.call('neighbour', `http://${vault.vip}/`)).toMatchObject({ status: 200, pod: 'vault' });
    } finally {
      await node.usePodNetwork('bridge');
    }
  });
});

describe('what the node does for a pod', () => {
  const probing = (path: string, host?: string): Readonly<Record<string, unknown>> => {
    const httpGet = { path, port: host === undefined ? 8080 : 80, ...(host === undefined ? {} : { host }) };
    return { readinessProbe: { httpGet, periodSeconds: 1, failureThreshold: 1 } };
  };
  const pod = (tenant: Tenant, name: string, host?: string): object => toolsPod({ name, namespace: tenant.namespace, node: 'n1', container: probing('/', host) });

  test("a probe aimed at another namespace's route is refused by Pod Security", async () => {
    const { code, stderr } = await burglar.tryApply(pod(burglar, 'prober', vault.vip));
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/violates PodSecurity "baseline.*(?:host probe|probe or lifecycle)/i) });
    expect(await burglar.tryApply(pod(burglar, 'prober'))).toMatchObject({ code: 0 });
  });

  test('without Pod Security the kubelet calls for the pod, as the host that it is; a route that lists its callers does not answer it', async () => {
    const deskVip = (await onehop.route('treasury', 'desk')).status?.vip;
    await infra.apply(pod(infra, 'prober', vault.vip), pod(infra, 'desk-prober', deskVip));
    await infra.kubectl('wait', '--for=condition=Ready', '--timeout=60s', 'pod', 'prober');
    await eventually('the other probe was refused', async () => (await infra.kubectl('get', 'events', '--field-selector', 'involvedObject.name=desk-prober')).includes('statuscode: 403'), 60_000);
    expect(await infra.kubectl('get', 'pod', 'desk-prober', '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')).toBe('False');
    expect(await treasury.call('customer', 'http://desk/')).toMatchObject({ status: 200, pod: 'vault' });
  });

  test('with the component probe-hosts no pod of the pod network has the kubelet call another', async () => {
    const policy = ['-f', 'daemonset/components/probe-hosts/admission-policy.yaml'];
    const dryRun = (object: object): ReturnType<Tenant['tryKubectl']> => infra.tryKubectl(['create', '--dry-run=server', '-f', '-'], JSON.stringify(object));
    const hook = toolsPod({ name: 'hook', namespace: 'infra', container: { lifecycle: { preStop: { httpGet: { host: vault.vip, port: 80 } } } } });
    const tcp = toolsPod({ name: 'tcp', namespace: 'infra', spec: { initContainers: [{ name: 'i', image: 'i', restartPolicy: 'Always', startupProbe: { tcpSocket: { host: vault.vip, port: 80 } } }] } });
    const ofTheHost = toolsPod({ name: 'host', namespace: 'infra', spec: { hostNetwork: true }, container: { ports: [], ...probing('/', '127.0.0.1') } });
    await cluster.kubectl(['apply', ...policy]);
    try {
      await eventually('the policy is in force', async () => (await dryRun(pod(infra, 'forbidden', vault.vip))).stderr.includes('the node would call it for the pod'));
      for (const object of [hook, tcp]) expect(await dryRun(object)).toMatchObject({ code: 1, stderr: expect.stringContaining('the node would call it for the pod') });
      for (const object of [pod(infra, 'fine'), ofTheHost]) expect(await dryRun(object)).toMatchObject({ code: 0 });
    } finally {
      await cluster.kubectl(['delete', ...policy]);
    }
  });
});

test('a route does not keep a daemon of the node from starting again on its port', async () => {
  const node = cluster.node('n1');
  const daemon = (): Promise<void> => node.start('daemon', [process.execPath, '-e', "require('node:net').createServer((socket) => socket.end('daemon')).listen(7022, '0.0.0.0')"]);
  const isUp = async (): Promise<boolean> => (await node.exec('curl', '-s', '-m', '1', '--http0.9', `http://${node.address}:7022/`)).stdout === 'daemon';
  await daemon();
  await eventually('the daemon is up', isUp);
  try {
    await burglar.apply(route('squat', 'own-v1', { port: { listen: 7022 } }));
    const isRefused = async (): Promise<boolean> => (await problemsOf('burglar', 'n1')).some(({ code, object }) => code === 'port-taken' && object.name === 'squat');
    await eventually('the port is taken', isRefused);
    const vip = (await onehop.route('burglar', 'squat')).status?.vip ?? '';
    await eventually('the other node serves it', async () => (await burglar.call('thief-2', `http://${vip}:7022/`)).pod === 'own');
    await node.stop('node');
    // The agent looks every 5 s.
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    expect(await isRefused()).toBe(true);
    expect((await burglar.call('thief', `http://${vip}:7022/`)).status).toBe(0);
    await daemon();
    await eventually('the daemon is up again', isUp);
  } finally {
    await node.stop('node').catch(() => undefined);
    await burglar.kubectl('delete', 'serviceroute', 'squat', '--ignore-not-found');
  }
});

describe('the admin port', () => {
  const OPEN = ['/healthz', '/readyz', '/metrics'];
  const CLOSED = ['/routes', '/table', '/explain', '/debug', '/'];
  const curl = (...args: readonly string[]): readonly string[] => ['curl', '-s', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', ...args];

  test.each([
    ["a pod, at its node's address", 'thief', () => cluster.node('n1').address],
    ["a pod, at the pool's .11", 'thief', () => '169.254.192.11'],
    ["a pod, at the gateway of its pods", 'thief', () => cluster.node('n1').podCidr.replace(/0\/\d+$/, '1')],
    ['a pod of another node', 'thief-2', () => cluster.node('n1').address],
  ])('to %s it shows health and metrics, nothing else', async (_who, from, address) => {
    const ask = async (...args: readonly string[]): Promise<string> => (await burglar.exec(from, curl(...args))).stdout;
    for (const path of OPEN) expect(await ask(`http://${address()}:9810${path}`)).toBe('200');
    for (const path of CLOSED) expect(await ask(`http://${address()}:9810${path}`)).toBe('403');
    for (const path of [...OPEN, '/routes']) expect(['403', '405']).toContain(await ask('-X', 'POST', '-d', 'x', `http://${address()}:9810${path}`));
    // Whatever a caller says of itself.
    expect(await ask('-H', 'X-Forwarded-For: 127.0.0.1', '-H', 'Host: localhost', `http://${address()}:9810/routes`)).toBe('403');
  });

  test('to another node it shows the same; to processes of its own node everything', async () => {
    const [n1, n2] = [cluster.node('n1'), cluster.node('n2')];
    const ask = async (node: typeof n1, url: string): Promise<string> => (await node.exec(...curl(url))).stdout;
    expect(await ask(n2, `http://${n1.address}:9810/metrics`)).toBe('200');
    expect(await ask(n2, `http://${n1.address}:9810/routes`)).toBe('403');
    for (const address of ['127.0.0.1', '169.254.192.11', n1.address]) expect(await ask(n1, `http://${address}:9810/routes`)).toBe('200');
  });

  test('the zone as a whole is for the node itself; names one by one are for all', async () => {
    const dig = ['dig', '+time=2', '+tries=1', '@169.254.192.10'];
    expect((await burglar.exec('thief', [...dig, 'AXFR', 'route.internal'])).stdout).toContain('Transfer failed');
    expect((await burglar.exec('thief', [...dig, '+short', 'vault.treasury.route.internal'])).stdout.trim()).toBe(vault.vip);
    expect((await cluster.node('n1').exec(...dig, 'AXFR', 'route.internal')).stdout).toContain('vault.treasury.route.internal');
  });

  test('metrics name routes, never a caller', async () => {
    await treasury.call('customer', 'http://vault/');
    const { stdout } = await burglar.exec('thief', ['curl', '-s', `http://${cluster.node('n1').address}:9810/metrics`]);
    expect(stdout).toContain('route="vault"');
    expect(stdout).not.toContain('customer');
    expect(stdout).not.toContain(await treasury.podAddress('customer'));
  });

  test('the sockets are for the user of agent and HAProxy alone, in a folder that no tenant can mount', async () => {
    const { stdout } = await cluster.node('n1').exec('sh', '-c', 'cd /run/onehop/current/ && stat -c "%a %u %F" . admin.sock haproxy.sock master.sock health.sock');
    const [folder, ...sockets] = stdout.trim().split('\n');
    expect(folder).toBe('700 65532 directory');
    expect(sockets).toEqual(Array.from({ length: 4 }, () => '600 65532 socket'));
    const volumes = [{ name: 'run', hostPath: { path: '/run/onehop' } }];
    expect((await burglar.tryApply(toolsPod({ name: 'mount', namespace: 'burglar', spec: { volumes } }))).stderr).toContain('violates PodSecurity "baseline');
  });

  test('connections that a pod holds open take neither probes nor CLI away', async () => {
    const before = await onehop.agentPod('n1');
    // 300 connections that say nothing, kept up for longer than the agent's probes need to fail.
    const hold = `const net = require('node:net'); const open = () => net.connect(9810, '${cluster.node('n1').address}').on('error', () => {}).on('close', () => setTimeout(open, 100)); for (let i = 0; i < 300; i++) open(); setTimeout(() => process.exit(0), 25000)`;
    const held = burglar.exec('thief', ['node', '-e', hold]);
    const end = performance.now() + 20_000;
    while (performance.now() < end) {
      expect((await onehop.routes('n1')).node).toBe('n1');
      expect(await burglar.call('thief', 'http://own/')).toMatchObject({ status: 200 });
    }
    await held;
    const after = await onehop.agentPod('n1');
    expect(after.metadata.uid).toBe(before.metadata.uid);
    expect(after.status.conditions?.find(({ type }) => type === 'Ready')?.status).toBe('True');
  });
});

describe("the agents' own credentials", () => {
  test("an agent's token reports for its own node alone, and HAProxy's container has none", async () => {
    const secrets = '/var/run/secrets/kubernetes.io/serviceaccount';
    const report = (node: string): string =>
      `curl -s -o /dev/null -w '%{http_code}' --cacert ${secrets}/ca.crt -H "Authorization: Bearer $(cat ${secrets}/token)" -X PATCH -H 'content-type: application/apply-patch+yaml' ` +
      `-d '{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"onehop-node-${node}","namespace":"onehop-system"}}' ` +
      `"https://$KUBERNETES_SERVICE_HOST/apis/coordination.k8s.io/v1/namespaces/onehop-system/leases/onehop-node-${node}?fieldManager=test"`;
    expect((await onehop.execInAgent('n1', ['sh', '-c', report('n1')])).stdout).toBe('200');
    expect((await onehop.execInAgent('n1', ['sh', '-c', report('n2')])).stdout).toBe('403');
    expect((await onehop.execInAgent('n1', ['ls', secrets], 'haproxy')).code).not.toBe(0);
  });
});
