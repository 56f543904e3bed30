import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { attachCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import { CLUSTER_DNS_ADDRESS } from '../../support/cluster/coredns.ts';
import { DocShell } from '../../support/cluster/doc-shell.ts';
import { SYSTEM_NAMESPACE } from '../../support/cluster/installed-onehop.ts';
import { MINIMAL_CRDS } from '../../support/cluster/minimal-crds.ts';
import { onehopImage } from '../../support/cluster/onehop-image.ts';
import { uninstallOnehop } from '../../support/cluster/onehop.ts';
import { docBlocks } from '../../support/doc-blocks.ts';
import { eventually } from '../../support/lab/run.ts';

/** docs/install.md from its first command to its last, in this order, on a cluster that has no Onehop. */
const DONE = { code: 0 };
/** Blocks that other tests run: test/lab/node-network.test.ts, systemd.test.ts, tokens.test.ts; `image` needs registries, onehop-image.ts does it without. */
const ELSEWHERE = [/^install6?$/, /^remove6?$/, /-client-ip$/, /^systemd-/, /^image$/, /^k8s-token-codes$/];
const ran = new Set<string>();

let cluster: Cluster;
let shell: DocShell;

beforeAll(async () => {
  cluster = await attachCluster();
  await uninstallOnehop(cluster);
  await cluster.load(await onehopImage());
  shell = await DocShell.open(cluster);
});
afterAll(() => shell.close());

async function block(name: string, node?: string): ReturnType<DocShell['block']> {
  ran.add(name);
  return shell.block(name, node === undefined ? {} : { node });
}

const route = { apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { name: 'cart', namespace: 'default' }, spec: { rule: { type: '' }, to: [{ kind: 'Service', name: 'kubernetes' }] } };
const soa = (node: string): Promise<string> => cluster.node(node).exec('dig', '+time=1', '+tries=1', `@${CLUSTER_DNS_ADDRESS}`, 'route.internal', 'SOA').then(({ stdout }) => stdout);
const corefile = (name: string): Promise<string> => cluster.kubectl(['-n', 'kube-system', 'get', 'configmap', name, '-o', 'jsonpath={.data.Corefile}']);

describe('docs/install.md', () => {
  test('an overlay of one\'s own names the registry, and keeps the rest', async () => {
    const { stdout, code } = await block('k8s-overlay');
    expect(code).toBe(0);
    expect(stdout.match(/image: .*/g)).toEqual(Array.from({ length: 4 }, () => 'image: registry.example.com/onehop:0.1.0'));
    const daemonSet = parseAllDocuments(stdout).map((one) => one.toJS() as { kind: string; spec: { template: { spec: { containers: { args: string[] }[] } } } }).find(({ kind }) => kind === 'DaemonSet');
    expect(daemonSet?.spec.template.spec.containers[0]?.args).toContain('--trusted-callers=ingress-nginx');
  });

  test('installs', async () => {
    expect(await block('k8s-install')).toMatchObject(DONE);
  });

  test('makes CoreDNS forward the zone; said twice it stands there once', async () => {
    const before = await corefile('coredns');
    expect(await block('k8s-coredns')).toMatchObject(DONE);
    await eventually('CoreDNS answers for the zone', async () => (await soa('n1')).includes('status: NOERROR'));
    const once = await corefile('coredns');
    expect(await block('k8s-coredns')).toMatchObject(DONE);
    expect(await corefile('coredns')).toBe(once);
    expect(once.startsWith(before.trimEnd())).toBe(true);
    expect(once).not.toContain('ONEHOP_DNS');
  });

  test("NodeLocal DNSCache gets its block, bound where its other blocks are", async () => {
    const cache = 'cluster.local:53 {\n    bind 169.254.20.10 10.96.0.10\n    forward . 10.96.100.100 { force_tcp }\n}\n.:53 {\n    bind 169.254.20.10 10.96.0.10\n}\n';
    await cluster.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'node-local-dns', namespace: 'kube-system' }, data: { Corefile: cache } });
    expect(await block('k8s-nodelocaldns')).toMatchObject(DONE);
    const text = await corefile('node-local-dns');
    expect(text).toContain(cache);
    expect(text.match(/bind .*/g)).toEqual(Array.from({ length: 3 }, () => 'bind 169.254.20.10 10.96.0.10'));
    expect(text).not.toMatch(/ONEHOP_DNS|NODELOCAL/);
    await cluster.kubectl(['-n', 'kube-system', 'delete', 'configmap', 'node-local-dns']);
  });

  test("OpenShift's DNS operator is told", async () => {
    const crd = MINIMAL_CRDS.filter(({ spec }) => spec.names.kind === 'DNS');
    await cluster.apply(...crd);
    await cluster.kubectl(['wait', '--for=condition=Established', 'crd/dnses.operator.openshift.io']);
    await cluster.apply({ apiVersion: 'operator.openshift.io/v1', kind: 'DNS', metadata: { name: 'default' }, spec: {} });
    expect(await block('k8s-openshift')).toMatchObject(DONE);
    await cluster.kubectl(['delete', 'crd', 'dnses.operator.openshift.io']);
  });

  test('shows that all is well, in the pods and on a node', async () => {
    await cluster.apply(route);
    await cluster.kubectl(['wait', 'serviceroute/cart', '--for=condition=Programmed', '--timeout=60s']);
    const { stdout, code } = await block('k8s-verify');
    expect(code).toBe(0);
    expect(stdout).toContain('all is well');
    expect(stdout).toMatch(/cart +169\.254\.\d+\.\d+/);
    for (const node of cluster.nodes) expect(await block('node-verify', node.name)).toMatchObject({ code: 0, stdout: expect.stringContaining('dnat to ip daddr') });
  });

  test('updates', async () => {
    expect(await block('k8s-update')).toMatchObject(DONE);
    expect((await block('k8s-verify')).stdout).toContain('all is well');
  });

  test('removes everything from the cluster, and from a node', async () => {
    expect(await block('k8s-remove')).toMatchObject(DONE);
    expect((await cluster.tryKubectl(['get', 'namespace', SYSTEM_NAMESPACE, 'global'])).stdout).toBe('');
    const left = await cluster.kubectl(['get', 'crd,clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding', '-o', 'name']);
    expect(left.split('\n').filter((name) => /onehop|paas\.io/.test(name))).toEqual([]);
    expect(await cluster.kubectl(['get', 'services', '-A', '-l', 'onehop.paas.io/access-point', '-o', 'name'])).toBe('');
    expect(await corefile('coredns')).not.toContain('onehop');
    for (const node of cluster.nodes) {
      expect(await shell.block('remove', { node: node.name })).toMatchObject(DONE);
      expect(await block('node-remove', node.name)).toMatchObject(DONE);
      expect((await node.exec('sh', '-c', 'ip route show table local | grep 169.254.192; nft list tables | grep onehop; ls -d /run/onehop /var/lib/onehop')).stdout).toBe('');
    }
  });

  test('has no command that no test runs', () => {
    const all = [...docBlocks('install.md').keys()];
    expect(all.filter((name) => !ran.has(name) && !ELSEWHERE.some((pattern) => pattern.test(name)))).toEqual([]);
  });
});
