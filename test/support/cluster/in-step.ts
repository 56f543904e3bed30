import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { beforeAll } from 'vitest';
import { eventually } from '../lab/run.ts';
import { attachCluster } from './cluster.ts';
import type { Cluster } from './cluster.ts';
import type { PodObject } from './installed-onehop.ts';
import { Shop } from './shop.ts';
import { callers, server, service } from './workloads.ts';

/**
 * Set-up of each file on a shared cluster: where an earlier one had the API server away, it waits until the cluster follows it again. Kubelets,
 * kube-proxies and CoreDNS look for an API server that was away again and again only 30 to 60 s after they last did (client-go,
 * tools/cache/reflector.go); what tests allow for news takes no account of that.
 */
const NAMESPACE = 'in-step';
const LIMIT_MS = 120_000;

beforeAll(async () => {
  const cluster = await attachCluster();
  if (!existsSync(cluster.apiServerWasAway)) return;
  const startedAt = performance.now();
  // A test that failed may have left it away.
  if ((await cluster.tryKubectl(['get', '--raw', '/readyz'])).code !== 0) await cluster.apiServer.start();
  await untilInStep(cluster);
  await rm(cluster.apiServerWasAway, { force: true });
  process.stdout.write(`the cluster follows its API server again after ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
});

/** Kubelets start pods, each CoreDNS knows a new Service, and it is called from every node. */
async function untilInStep(cluster: Cluster): Promise<void> {
  const shop = await Shop.open(cluster, NAMESPACE);
  await shop.run(server({ namespace: NAMESPACE, name: 'here' }), service(NAMESPACE, 'here'), callers(NAMESPACE, 'web'));
  const name = `here.${NAMESPACE}.svc.cluster.local`;
  const [node] = cluster.nodes;
  let unaware: readonly string[] = [];
  const allKnow = async (): Promise<boolean> => {
    const { items } = await cluster.get<{ items: readonly PodObject[] }>('-n', 'kube-system', 'pods', '-l', 'k8s-app=kube-dns');
    const addresses = items.flatMap(({ metadata, status }) => (metadata.deletionTimestamp === undefined ? [status.podIP ?? ''] : []));
    const answers = await Promise.all(addresses.map(async (address) => (await node?.exec('dig', '+time=1', '+tries=1', `@${address}`, name))?.stdout ?? ''));
    unaware = addresses.filter((_, i) => answers[i]?.includes('status: NOERROR') !== true);
    return unaware.length === 0;
  };
  await eventually(`each CoreDNS knows ${name}`, allKnow, LIMIT_MS).catch((error: unknown) => {
    throw new Error(`${String(error)}; not those at ${unaware.join(' ')}`, { cause: error });
  });
  const web = await shop.pods(NAMESPACE, 'web');
  await Promise.all(web.map((pod) => shop.untilCallable(pod, 'http://here/', LIMIT_MS)));
  await shop.close();
}
