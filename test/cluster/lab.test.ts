import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../support/cluster/cluster.ts';
import type { Cluster } from '../support/cluster/cluster.ts';
import { toolsDeployment, toolsPod, toolsPodSpec } from '../support/cluster/tools-pod.ts';
import { eventually } from '../support/lab/run.ts';

/** The lab itself: what other cluster tests rely on. */
const NAMESPACE = 'lab-test';
const FABRIC = process.env['FABRIC'] ?? 'bgp';
let cluster: Cluster;

interface PodAnswer {
  readonly pod: string;
  readonly node: string;
  readonly version: string;
  readonly from: string;
}

interface LoadResult {
  readonly calls: number;
  readonly failures: readonly unknown[];
  readonly versions: Readonly<Record<string, number>>;
}

beforeAll(async () => {
  cluster = await attachCluster();
  // When it is played once more, its namespace may still be going.
  await cluster.kubectl(['delete', 'namespace', '--ignore-not-found', NAMESPACE]);
  await cluster.kubectl(['create', 'namespace', NAMESPACE]);
  await eventually('the default ServiceAccount', async () => (await cluster.tryKubectl(['-n', NAMESPACE, 'get', 'sa', 'default'])).code === 0);
  const pods = cluster.nodes.map((node) => toolsPod({ name: `on-${node.name}`, namespace: NAMESPACE, node: node.name }));
  await cluster.apply(...pods);
  await cluster.kubectl(['-n', NAMESPACE, 'wait', '--for=condition=Ready', 'pods', '--all', '--timeout=60s']);
});
afterAll(() => cluster.kubectl(['delete', 'namespace', NAMESPACE, '--wait=false']));

const kubectl = (...args: readonly string[]): Promise<string> => cluster.kubectl(['-n', NAMESPACE, ...args]);
const inPod = (pod: string, ...argv: readonly string[]): Promise<string> => kubectl('exec', pod, '--', ...argv);
const podAddress = (pod: string): Promise<string> => kubectl('get', 'pod', pod, '-o', 'jsonpath={.status.podIP}');
const callFrom = async (pod: string, url: string): Promise<PodAnswer> => JSON.parse(await inPod(pod, 'curl', '-s', '-m', '10', url)) as PodAnswer;
const reaches = async (pod: string, url: string): Promise<boolean> =>
  (await cluster.tryKubectl(['-n', NAMESPACE, 'exec', pod, '--', 'curl', '-sf', '-m', '2', url])).code === 0;

test('three nodes are ready, two in one zone and one in another', async () => {
  const zones = await cluster.kubectl(['get', 'nodes', '-o', 'jsonpath={range .items[*]}{.metadata.name}={.metadata.labels.topology\\.kubernetes\\.io/zone} {end}']);
  expect(zones.trim()).toBe('n1=z0 n2=z0 n3=z1');
});

test('a pod calls a pod on another node: with its own address, over the fabric', async () => {
  const before = await cluster.node('n1').counters();
  const answer = await callFrom('on-n1', `http://${await podAddress('on-n2')}:8080/`);
  expect(answer).toMatchObject({ pod: 'on-n2', node: 'n2', from: await podAddress('on-n1') });
  expect((await cluster.node('n1').counters()).sent).toBeGreaterThan(before.sent);
});

test('the way to another node is what the fabric says: a route learnt by BGP, or the VXLAN device', async () => {
  const { stdout } = await cluster.node('n1').exec('ip', 'route', 'get', await podAddress('on-n2'));
  const { stdout: route } = await cluster.node('n1').exec('ip', 'route', 'show', cluster.node('n2').podCidr);
  expect(cluster.fabric).toBe(FABRIC);
  expect(stdout).toContain(FABRIC === 'bgp' ? `via ${cluster.node('n2').address} dev eth0` : 'dev vx0');
  expect(route).toContain(FABRIC === 'bgp' ? 'proto bird' : 'via 10.244.2.0 dev vx0');
  expect(await inPod('on-n1', 'cat', '/sys/class/net/eth0/mtu')).toBe(FABRIC === 'bgp' ? '1500\n' : '1450\n');
});

test('the process of the test itself reaches pods', async () => {
  const answer = (await (await fetch(`http://${await podAddress('on-n3')}:8080/`)).json()) as PodAnswer;
  expect(answer.node).toBe('n3');
});

describe('with a Service of two pods', () => {
  beforeAll(async () => {
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: NAMESPACE }, spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] } };
    await cluster.apply(service, toolsDeployment({ name: 'web', namespace: NAMESPACE, version: 'one' }, 2));
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
    // The news reaches CoreDNS and each node's kube-proxy a moment later.
    for (const pod of ['on-n1', 'on-n2']) await eventually(`${pod} reaches web`, () => reaches(pod, 'http://web/'));
  });

  test('it is called by its name, short and whole', async () => {
    for (const name of ['web', `web.${NAMESPACE}.svc.cluster.local`]) expect(await callFrom('on-n1', `http://${name}/`)).toMatchObject({ version: 'one' });
  });

  test('a rolling update under load loses no call', async () => {
    const load = inPod('on-n2', 'node', '/opt/pod/load.mjs', 'http://web/', '--seconds', '12', '--workers', '2', '--interval-ms', '5', '--connection', 'per-call');
    await cluster.apply(toolsDeployment({ name: 'web', namespace: NAMESPACE, version: 'two' }, 2));
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
    const result = JSON.parse(await load) as LoadResult;
    expect(result.failures).toEqual([]);
    expect(result.versions).toMatchObject({ one: expect.any(Number) as number, two: expect.any(Number) as number });
  });
});

test('kubectl logs and exec', async () => {
  await cluster.apply(toolsPod({ name: 'talker', namespace: NAMESPACE, container: { command: ['sh', '-c', 'echo hello; sleep 1000'], readinessProbe: null } }));
  await kubectl('wait', '--for=condition=Ready', 'pod/talker', '--timeout=60s');
  await eventually('the log', async () => (await kubectl('logs', 'talker')) === 'hello\n');
  expect(await cluster.kubectl(['-n', NAMESPACE, 'exec', '-i', 'talker', '--', 'cat'], { input: 'input' })).toBe('input');
});

test('a DaemonSet on the host network: the node\'s own address, host name and folders', async () => {
  const template = {
    metadata: { labels: { app: 'host' } },
    spec: {
      ...toolsPodSpec({ env: { PORT: '8090' }, container: { ports: [], readinessProbe: null, volumeMounts: [{ name: 'state', mountPath: '/state' }] } }),
      hostNetwork: true,
      volumes: [{ name: 'state', hostPath: { path: '/var/lib/lab-test', type: 'DirectoryOrCreate' } }],
    },
  };
  await cluster.apply({ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'host', namespace: NAMESPACE }, spec: { selector: { matchLabels: { app: 'host' } }, template } });
  await kubectl('rollout', 'status', 'daemonset/host', '--timeout=60s');
  const pods = (await kubectl('get', 'pods', '-l', 'app=host', '-o', 'jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.spec.nodeName}{"\\n"}{end}')).trim().split('\n');
  expect(pods).toHaveLength(3);
  for (const line of pods) {
    const [pod = '', address = '', name = ''] = line.split(' ');
    expect(address).toBe(cluster.node(name).address);
    await inPod(pod, 'sh', '-c', `hostname > /state/name`);
  }
  // The nodes share the machine's disk, yet not this folder.
  for (const node of cluster.nodes) expect((await node.exec('cat', '/var/lib/lab-test/name')).stdout).toBe(`${node.name}\n`);
});

test('a hostPort is answered at the node\'s address', async () => {
  await cluster.apply(toolsPod({ name: 'host-port', namespace: NAMESPACE, node: 'n3', container: { ports: [{ containerPort: 8080, hostPort: 80 }] } }));
  await kubectl('wait', '--for=condition=Ready', 'pod/host-port', '--timeout=60s');
  expect(await callFrom('on-n1', `http://${cluster.node('n3').address}/`)).toMatchObject({ pod: 'host-port' });
});

test('a pod\'s token names its node, and the Node authorizer keeps kubelets apart', async () => {
  const token = await inPod('on-n2', 'cat', '/var/run/secrets/kubernetes.io/serviceaccount/token');
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token } };
  const reviewed = JSON.parse(await cluster.kubectl(['create', '-o', 'json', '-f', '-'], { input: JSON.stringify(review) })) as { status: { user: { extra: Record<string, string[]> } } };
  expect(reviewed.status.user.extra).toMatchObject({ 'authentication.kubernetes.io/node-name': ['n2'], 'authentication.kubernetes.io/pod-name': ['on-n2'] });
  const kubeconfig = `${cluster.folder}/kubelet-n1.kubeconfig`;
  const own = await cluster.tryKubectl(['label', 'node', 'n1', 'lab-test=1'], { kubeconfig });
  const other = await cluster.tryKubectl(['label', 'node', 'n2', 'lab-test=1'], { kubeconfig });
  expect({ own: own.code, other: other.stderr }).toMatchObject({ own: 0, other: expect.stringContaining("node 'n1' cannot read 'n2'") as string });
});

test('users have the rights that RBAC gives them, and no others', async () => {
  const kubeconfig = await cluster.userKubeconfig('alice', ['team']);
  await kubectl('create', 'rolebinding', 'team', '--clusterrole=view', '--group=team');
  await eventually('alice sees her namespace', async () => (await cluster.tryKubectl(['-n', NAMESPACE, 'get', 'pods'], { kubeconfig })).code === 0);
  const elsewhere = await cluster.tryKubectl(['-n', 'kube-system', 'get', 'pods'], { kubeconfig });
  expect(elsewhere.stderr).toContain('User "alice" cannot list resource "pods"');
});

test('the API server away: calls between pods go on; back, all is there', async () => {
  const address = await podAddress('on-n2');
  const load = inPod('on-n1', 'node', '/opt/pod/load.mjs', `http://${address}:8080/`, '--seconds', '2');
  await load;
  await cluster.apiServer.stop();
  const away = await cluster.tryKubectl(['get', 'nodes']);
  const answer = await fetch(`http://${address}:8080/`);
  await cluster.apiServer.start();
  expect(away.code).not.toBe(0);
  expect(answer.status).toBe(200);
  expect(await cluster.kubectl(['get', 'nodes', '-o', 'name'])).toBe('node/n1\nnode/n2\nnode/n3\n');
});

test('a node that lost its power comes back with its pods', async () => {
  const node = cluster.node('n3');
  await node.powerOff();
  expect((await cluster.tryKubectl(['-n', NAMESPACE, 'exec', 'on-n3', '--', 'true'])).code).not.toBe(0);
  await node.boot();
  await node.join();
  await eventually('the pod on n3 answers again', () => reaches('on-n3', 'http://localhost:8080/'), 90_000);
});
