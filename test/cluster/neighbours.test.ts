import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attachCluster } from '../support/cluster/cluster.ts';
import type { Cluster } from '../support/cluster/cluster.ts';
import { CLUSTER_DNS_ADDRESS } from '../support/cluster/coredns.ts';
import type { Onehop } from '../support/cluster/installed-onehop.ts';
import { installOnehop, TRUSTED_NAMESPACE } from '../support/cluster/onehop.ts';
import { Shop } from '../support/cluster/shop.ts';
import { startLoads } from '../support/cluster/test-pod.ts';
import type { TestPod } from '../support/cluster/test-pod.ts';
import { caller, callers, hostPortServers, leadsTo, percentage, server, service, serviceRoute } from '../support/cluster/workloads.ts';
import { eventually } from '../support/lab/run.ts';

/** Onehop beside others: a pod that has port 80 of every node, an ingress controller, servers with TLS, and an agent that is down. */
const NAMESPACE = 'neighbours';
const OTHER = 'neighbours-other';
let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;
let web: readonly TestPod[];

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  shop = await Shop.open(cluster, NAMESPACE, OTHER, TRUSTED_NAMESPACE);
  await shop.run(
    hostPortServers(OTHER, 'port80', 80),
    server({ namespace: NAMESPACE, name: 'v1', node: 'n1' }),
    server({ namespace: NAMESPACE, name: 'v2', node: 'n2' }),
    server({ namespace: NAMESPACE, name: 'vault-pods', node: 'n3', env: { TLS_PORT: '8443' } }),
    service(NAMESPACE, 'v1'),
    service(NAMESPACE, 'v2'),
    service(NAMESPACE, 'vault-pods', [{ name: 'https', port: 443, targetPort: 8443 }]),
    serviceRoute(NAMESPACE, 'private', percentage(['v1', 50], ['v2', 50])),
    serviceRoute(NAMESPACE, 'public', { ...leadsTo('v1'), global: true }),
    serviceRoute(NAMESPACE, 'vault', { ...leadsTo('vault-pods'), protocol: 'tcp' }),
    callers(NAMESPACE, 'web'),
    caller({ namespace: OTHER, name: 'stranger', node: 'n2' }),
    caller({ namespace: TRUSTED_NAMESPACE, name: 'ingress', node: 'n2' }),
  );
  web = await shop.pods(NAMESPACE, 'web');
  await Promise.all(['private', 'public', 'vault'].map((name) => onehop.untilProgrammed(NAMESPACE, name)));
  await Promise.all(web.flatMap((pod) => ['http://private/', 'http://public.global/', 'https://vault/'].map((url) => shop.untilCallable(pod, url))));
});
afterAll(() => shop.close());

describe('with a pod that has port 80 of every node', () => {
  test('calls by name reach the versions of the route, from pods of every node', async () => {
    expect(web).toHaveLength(3);
    for (const pod of web) {
      const answers = await pod.calls('http://private/', 40);
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
      expect([...new Set(answers.map(({ version }) => version))].sort()).toEqual(['v1', 'v2']);
      expect(await pod.call('http://public.global/')).toMatchObject({ status: 200, version: 'v1' });
    }
  });

  test('processes of the nodes reach them too', async () => {
    const vip = (await onehop.route(NAMESPACE, 'private')).status?.vip;
    for (const node of cluster.nodes) {
      const { stdout } = await node.exec('curl', '-s', '-m', '10', `http://${vip}/`);
      expect(['v1', 'v2']).toContain((JSON.parse(stdout) as { version: string }).version);
    }
  });

  test("the node's own port 80 is still answered by that pod, of every node and from every node", async () => {
    for (const pod of web) {
      for (const node of cluster.nodes) expect(await pod.call(`http://${node.address}/`)).toMatchObject({ status: 200, version: 'port80', node: node.name });
    }
  });

  test('isolation holds: another namespace reaches the public name only', async () => {
    const stranger = await shop.pod(OTHER, 'stranger');
    expect(await stranger.call(`http://private.${NAMESPACE}/`)).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    expect(await stranger.call('http://public.global/')).toMatchObject({ status: 200, version: 'v1' });
  });
});

test('a caller named in --trusted-callers, as an ingress controller is, reaches private routes', async () => {
  const ingress = await shop.pod(TRUSTED_NAMESPACE, 'ingress');
  expect(await ingress.call(`http://private.${NAMESPACE}/`)).toMatchObject({ status: 200 });
});

test('HTTPS goes through a tcp route untouched: the certificate is that of the server', async () => {
  for (const pod of web) {
    expect(await pod.call('https://vault/')).toMatchObject({ status: 200, version: 'vault-pods', node: 'n3' });
    const { stdout } = await pod.exec('sh', '-c', 'openssl s_client -connect vault:443 </dev/null 2>/dev/null');
    expect(stdout).toMatch(/subject=CN ?= ?vault-pods-/);
  }
});

describe('with the agent down on the node of CoreDNS', () => {
  /** Ends the agents of a node again and again, until aborted: the kubelet starts them anew, at longer and longer intervals. */
  async function keepDown(node: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // Only processes of that node are seen from inside it.
      await cluster.node(node).exec('pkill', '-9', '-f', '[o]nehop.mjs agent');
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }

  test('names resolve through the second upstream, calls go on, and none fails', async () => {
    const node = await cluster.kubectl(['-n', 'kube-system', 'get', 'pods', '-l', 'k8s-app=kube-dns', '-o', 'jsonpath={.items[0].spec.nodeName}']);
    const local = web.find((pod) => pod.node === node);
    const load = await startLoads(...web.map((pod) => pod.load('http://private/', { connection: 'per-call', intervalMs: 50 })));
    const up = new AbortController();
    const down = keepDown(node, up.signal);
    try {
      await eventually('the agent is down', async () => (await cluster.node(node).exec('dig', '+time=1', '+tries=1', '@169.254.192.10', 'route.internal', 'SOA')).code !== 0);
      // Names that nobody asked for before: no cache has them.
      for (const [name, status] of [[`_80._tcp.private.${NAMESPACE}.route.internal`, 'NOERROR'], ['nobody.asked.route.internal', 'NXDOMAIN']] as const) {
        const { stdout } = await cluster.node(node).exec('dig', '+time=5', `@${CLUSTER_DNS_ADDRESS}`, name, 'SRV');
        expect(stdout).toContain(`status: ${status}`);
      }
      expect(await local?.call('http://public/')).toMatchObject({ status: 200, version: 'v1' });
      expect((await local?.calls('http://private/', 20))?.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 200));
    } finally {
      up.abort();
      await down;
    }
    const { failures } = await load.stop();
    expect(failures).toEqual([]);
    await eventually('the agent is back', async () => (await onehop.routes(node).catch(() => undefined)) !== undefined, 120_000);
  });
});
