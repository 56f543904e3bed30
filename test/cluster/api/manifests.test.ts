import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { openCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import { MINIMAL_CRDS } from '../../support/cluster/minimal-crds.ts';

/** The shipped manifests, on a control plane without nodes: what renders, and what a real API server says to it. */
const ROOT = join(import.meta.dirname, '../../..');
const OVERLAYS = readdirSync(join(ROOT, 'daemonset/overlays'));
const COMPONENTS = readdirSync(join(ROOT, 'daemonset/components'));

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
}

interface PodTemplate {
  readonly spec: {
    readonly hostNetwork?: boolean;
    readonly initContainers?: readonly Container[];
    readonly containers: readonly Container[];
    readonly terminationGracePeriodSeconds?: number;
  };
}

interface Container {
  readonly name: string;
  readonly ports?: unknown;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts?: readonly { readonly mountPath: string }[];
  readonly securityContext: { readonly allowPrivilegeEscalation: boolean; readonly readOnlyRootFilesystem: boolean; readonly capabilities: { readonly drop: readonly string[]; readonly add?: readonly string[] } };
}

let cluster: Cluster;

beforeAll(async () => {
  cluster = await openCluster({ name: 'manifests', nodes: 0 });
  await cluster.apply(...MINIMAL_CRDS);
  await cluster.kubectl(['apply', '-f', 'daemonset/base/namespaces.yaml']);
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all']);
});
afterAll(() => cluster.close());

const render = (folder: string): Promise<string> => cluster.kubectl(['kustomize', folder]);
const objectsOf = (yaml: string): readonly Manifest[] => parseAllDocuments(yaml).map((one) => one.toJS() as Manifest);
/** What the API server would do. An overlay's fixed address lies in its platform's range for Services; here it is one of this cluster's. */
const dryRun = (yaml: string): Promise<string> =>
  cluster.kubectl(['apply', '--dry-run=server', '-f', '-'], { input: yaml.replace(/clusterIP: .*/, 'clusterIP: 10.96.0.53') });

/** A kustomization as a user of the base writes it, in a folder beside the manifests' own. */
async function renderWith(components: readonly string[]): Promise<string> {
  const folder = await mkdtemp(join(cluster.folder, 'overlay-'));
  const path = (part: string): string => relative(folder, join(ROOT, 'daemonset', part));
  await writeFile(join(folder, 'kustomization.yaml'), JSON.stringify({ resources: [path('base')], components: components.map((name) => path(`components/${name}`)) }));
  const text = await render(folder);
  await rm(folder, { recursive: true });
  return text;
}

describe('what is shipped', () => {
  test.each(['base', ...OVERLAYS.map((name) => `overlays/${name}`)])('%s renders, and the API server takes it whole', async (folder) => {
    const yaml = await render(`daemonset/${folder}`);
    const said = await dryRun(yaml);
    expect(said.trim().split('\n')).toHaveLength(objectsOf(yaml).length);
    expect(said).toContain('daemonset.apps/onehop created (server dry run)');
  });

  test('with every component too', async () => {
    const yaml = await renderWith(COMPONENTS);
    const said = await dryRun(yaml);
    expect(said.trim().split('\n')).toHaveLength(objectsOf(yaml).length);
    for (const name of ['onehop', 'onehop-controller']) expect(said).toContain(`podmonitor.monitoring.coreos.com/${name} created`);
  });

  test('every object bears the label of Onehop', async () => {
    const objects = [...objectsOf(await renderWith(COMPONENTS)), ...objectsOf(await render('daemonset/overlays/openshift'))];
    expect(objects.filter(({ metadata }) => metadata.labels?.['app.kubernetes.io/name'] !== 'onehop')).toEqual([]);
  });

  test("an update can place its second pod beside the first: nothing declares a port on the host's network", async () => {
    const { hostNetwork, containers } = (await podTemplate('DaemonSet')).spec;
    expect(hostNetwork).toBe(true);
    expect(containers.filter(({ ports }) => ports !== undefined)).toEqual([]);
  });

  test('each container has the least: read-only root, all capabilities dropped but the named ones', async () => {
    const rights = async (kind: string): Promise<unknown> => {
      const { initContainers = [], containers } = (await podTemplate(kind)).spec;
      const all = [...initContainers, ...containers];
      expect(all.filter(({ securityContext: { readOnlyRootFilesystem, capabilities } }) => !readOnlyRootFilesystem || capabilities.drop.join(' ') !== 'ALL')).toEqual([]);
      return Object.fromEntries(all.map(({ name, securityContext: { allowPrivilegeEscalation, capabilities } }) => [name, [allowPrivilegeEscalation, ...(capabilities.add ?? [])]]));
    };
    expect(await rights('DaemonSet')).toEqual({ folders: [false, 'CHOWN'], agent: [true, 'NET_ADMIN', 'NET_BIND_SERVICE'], haproxy: [true, 'NET_BIND_SERVICE'] });
    expect(await rights('Deployment')).toEqual({ controller: [false] });
  });

  test("HAProxy's container has no token; both are told the pod's grace period", async () => {
    const { containers, terminationGracePeriodSeconds } = (await podTemplate('DaemonSet')).spec;
    const withToken = containers.filter(({ volumeMounts = [] }) => volumeMounts.some(({ mountPath }) => mountPath.includes('serviceaccount')));
    expect(withToken.map(({ name }) => name)).toEqual(['agent']);
    const told = containers.map(({ env = [] }) => env.find(({ name }) => name === 'ONEHOP_GRACE_SECONDS')?.value);
    expect(told).toEqual([String(terminationGracePeriodSeconds), String(terminationGracePeriodSeconds)]);
  });

  async function podTemplate(kind: string): Promise<PodTemplate> {
    const found = objectsOf(await render('daemonset/base')).find((one) => one.kind === kind) as (Manifest & { spec: { template: PodTemplate } }) | undefined;
    if (found === undefined) throw new Error(`no ${kind}`);
    return found.spec.template;
  }
});

describe('the DNS of platforms', () => {
  const read = (path: string): string => readFileSync(join(ROOT, 'daemonset/overlays', path), 'utf8');

  test.each(['k3s', 'openshift'])('%s: the address of the second upstream is the one that the Service asks for', async (platform) => {
    const service = objectsOf(await render(`daemonset/overlays/${platform}`)).find(({ kind, metadata }) => kind === 'Service' && metadata.name === 'onehop-dns');
    const { clusterIP } = (service as Manifest & { spec: { clusterIP: string } }).spec;
    expect(read(platform === 'k3s' ? 'k3s/coredns-custom.yaml' : 'openshift/dns-operator-patch.yaml')).toContain(clusterIP);
  });

  test('k3s and the node-local cache serve what plain CoreDNS serves', () => {
    const bare = (text: string): readonly string[] => text.split('\n').map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
    const custom = (parse(read('k3s/coredns-custom.yaml')) as { data: Record<string, string> }).data['onehop.server'] ?? '';
    expect(bare(custom)).toEqual(bare(read('coredns/onehop.corefile').replaceAll('ONEHOP_DNS', '10.43.0.53')));
    expect(bare(read('nodelocaldns/onehop.corefile')).filter((line) => !line.startsWith('bind'))).toEqual(bare(read('coredns/onehop.corefile')));
  });

  test("OpenShift: the DNS operator's object takes the patch, with the pool's reverse zones one by one", async () => {
    await cluster.apply({ apiVersion: 'operator.openshift.io/v1', kind: 'DNS', metadata: { name: 'default' }, spec: {} });
    await cluster.kubectl(['patch', 'dns.operator.openshift.io/default', '--type', 'merge', '--patch-file', join(ROOT, 'daemonset/overlays/openshift/dns-operator-patch.yaml')]);
    const dns = await cluster.get<{ spec: { servers: { zones: string[] }[] } }>('dns.operator.openshift.io/default');
    expect(dns.spec.servers[0]?.zones).toEqual(['route.internal', ...Array.from({ length: 32 }, (_, i) => `${192 + i}.254.169.in-addr.arpa`)]);
  });
});
