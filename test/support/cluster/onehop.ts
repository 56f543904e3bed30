import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { eventually } from '../lab/run.ts';
import type { Cluster } from './cluster.ts';
import { CLUSTER_DNS_ADDRESS } from './coredns.ts';
import { onehopImage } from './onehop-image.ts';
import { Onehop, SYSTEM_NAMESPACE } from './installed-onehop.ts';

const ROOT = join(import.meta.dirname, '../../..');
const OVERLAY = 'daemonset/overlays/coredns';
const READY_LIMIT_S = 120;
/** The kubelet looks at ConfigMaps every 10 s in the lab, CoreDNS at its file every 3 s. */
const COREDNS_LIMIT_MS = 60_000;
const SNIPPET = /^# onehop: begin\n[\s\S]*?^# onehop: end\n/m;

/** Callers of this namespace are trusted (`--trusted-callers`), as those of an ingress controller are. */
export const TRUSTED_NAMESPACE = 'edge';

/**
 * Installs Onehop as docs/install.md tells, and waits until it is ready. The shipped overlay is applied through an overlay of one's own,
 * as the docs say, which only names the trusted callers: the image has in the tests the name that it is shipped with. Installed already,
 * of the same image and manifests: nothing to do, so that files of tests share one installation.
 */
export async function installOnehop(cluster: Cluster): Promise<Onehop> {
  const archive = await onehopImage();
  const manifests = await renderOverlay(cluster);
  const wanted = `${archive}\n${manifests}`;
  const before = await readFile(stampFile(cluster), 'utf8').catch(() => undefined);
  if (before !== wanted) {
    await cluster.load(archive);
    await cluster.kubectl(['apply', '-f', '-'], { input: manifests });
    // Another image under the same name: only new pods take it.
    if (before !== undefined) await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'rollout', 'restart', 'daemonset/onehop', 'deployment/onehop-controller']);
    await Promise.all([forwardZone(cluster), untilRolledOut(cluster, 'daemonset/onehop'), untilRolledOut(cluster, 'deployment/onehop-controller')]);
    await untilZoneAnswers(cluster);
    await writeFile(stampFile(cluster), wanted);
  }
  return new Onehop(cluster);
}

/** What `kubectl apply -k` of an administrator's own overlay applies. */
async function renderOverlay(cluster: Cluster): Promise<string> {
  const folder = await mkdtemp(join(cluster.folder, 'overlay-'));
  const flag = [{ op: 'add', path: '/spec/template/spec/containers/0/args/-', value: `--trusted-callers=${TRUSTED_NAMESPACE}` }];
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: [relative(folder, join(ROOT, OVERLAY))],
    patches: [{ target: { kind: 'DaemonSet', name: 'onehop' }, patch: JSON.stringify(flag) }],
  };
  await writeFile(join(folder, 'kustomization.yaml'), JSON.stringify(kustomization));
  const manifests = await cluster.kubectl(['kustomize', folder]);
  await rm(folder, { recursive: true });
  return manifests;
}

/** Removes everything that `installOnehop` brought into the cluster; what agents left on the nodes stays. */
export async function uninstallOnehop(cluster: Cluster): Promise<void> {
  await rm(stampFile(cluster), { force: true });
  await editCorefile(cluster, (text) => text.replace(SNIPPET, ''));
  await cluster.kubectl(['delete', '--ignore-not-found', '-k', join(ROOT, OVERLAY)]);
}

/** Waits until a rollout is complete. @param what `daemonset/NAME` or `deployment/NAME` in the system namespace */
export async function untilRolledOut(cluster: Cluster, what: string, namespace = SYSTEM_NAMESPACE): Promise<void> {
  const { code, stderr, stdout } = await cluster.tryKubectl(['-n', namespace, 'rollout', 'status', what, `--timeout=${READY_LIMIT_S}s`]);
  if (code === 0) return;
  const pods = await cluster.tryKubectl(['-n', namespace, 'get', 'pods', '-o', 'wide']);
  const logs = await cluster.tryKubectl(['-n', namespace, 'logs', what, '--all-containers', '--prefix', '--tail=30']);
  throw new Error(`${what} is not ready: ${stderr}${stdout}\n${pods.stdout}\n${logs.stdout}${logs.stderr}`);
}

/** Merges the shipped snippet into CoreDNS's ConfigMap: in the place of an earlier one, else at the end. */
async function forwardZone(cluster: Cluster): Promise<void> {
  const shipped = await readFile(join(ROOT, OVERLAY, 'onehop.corefile'), 'utf8');
  const dns = await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'get', 'service', 'onehop-dns', '-o', 'jsonpath={.spec.clusterIP}']);
  await editCorefile(cluster, (text) => text.replace(SNIPPET, '') + shipped.replaceAll('ONEHOP_DNS', dns));
}

async function editCorefile(cluster: Cluster, edit: (text: string) => string): Promise<void> {
  const configMap = ['-n', 'kube-system', 'configmap', 'coredns'];
  const { data } = await cluster.get<{ data: { Corefile: string } }>(...configMap);
  const patch = { data: { Corefile: edit(data.Corefile) } };
  await cluster.kubectl(['patch', ...configMap, '--type=merge', '--patch', JSON.stringify(patch)]);
}

/** CoreDNS has taken the snippet, and reaches the agents. */
async function untilZoneAnswers(cluster: Cluster): Promise<void> {
  await Promise.all(
    cluster.nodes.map(async (node) => {
      const ask = ['dig', '+time=1', '+tries=1', `@${CLUSTER_DNS_ADDRESS}`, 'route.internal', 'SOA'];
      await eventually(`CoreDNS answers for route.internal on ${node.name}`, async () => (await node.exec(...ask)).stdout.includes('status: NOERROR'), COREDNS_LIMIT_MS);
    }),
  );
}

const stampFile = (cluster: Cluster): string => join(cluster.folder, 'onehop-installed');
