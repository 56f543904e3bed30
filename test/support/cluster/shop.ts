import { eventually } from '../lab/run.ts';
import type { Cluster } from './cluster.ts';
import type { PodObject } from './installed-onehop.ts';
import { TestPod } from './test-pod.ts';

const READY_LIMIT_S = 90;

/** The namespaces of one file of tests, and what runs in them. */
export class Shop {
  readonly cluster: Cluster;
  readonly namespaces: readonly string[];

  private constructor(cluster: Cluster, namespaces: readonly string[]) {
    this.cluster = cluster;
    this.namespaces = namespaces;
  }

  /** Makes the namespaces anew: what an earlier run left goes first. */
  static async open(cluster: Cluster, ...namespaces: readonly string[]): Promise<Shop> {
    await cluster.kubectl(['delete', 'namespace', '--ignore-not-found', ...namespaces]);
    await cluster.apply(...namespaces.map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })));
    return new Shop(cluster, namespaces);
  }

  /** Has all of it deleted; does not wait for the end of it. */
  async close(): Promise<void> {
    await this.cluster.kubectl(['delete', 'namespace', '--ignore-not-found', '--wait=false', ...this.namespaces]);
  }

  /** Applies objects and waits until every pod of the namespaces is ready. */
  async run(...objects: readonly object[]): Promise<void> {
    await this.cluster.apply(...objects);
    await this.untilReady();
  }

  /** Waits until every Deployment and DaemonSet is rolled out, and every other pod ready. */
  async untilReady(): Promise<void> {
    await Promise.all(
      this.namespaces.map(async (namespace) => {
        const { items } = await this.cluster.get<{ items: readonly { kind: string; metadata: { name: string } }[] }>('-n', namespace, 'deployments,daemonsets');
        const rollouts = items.map(({ kind, metadata }) => ['rollout', 'status', `${kind.toLowerCase()}/${metadata.name}`]);
        for (const words of rollouts) await this.#ready(namespace, words);
        // Only pods without an owner: others may be on their way out.
        const pods = await this.#pods(namespace);
        const single = pods.filter(({ metadata }) => metadata.ownerReferences === undefined).map(({ metadata }) => `pod/${metadata.name}`);
        if (single.length > 0) await this.#ready(namespace, ['wait', '--for=condition=Ready', ...single]);
      }),
    );
  }

  async #ready(namespace: string, words: readonly string[]): Promise<void> {
    const { code, stderr } = await this.cluster.tryKubectl(['-n', namespace, ...words, `--timeout=${READY_LIMIT_S}s`]);
    if (code === 0) return;
    const pods = await this.cluster.tryKubectl(['-n', namespace, 'get', 'pods', '-o', 'wide']);
    const events = await this.cluster.tryKubectl(['-n', namespace, 'get', 'events', '--sort-by=.metadata.creationTimestamp']);
    throw new Error(`${namespace}: ${words.join(' ')}: ${stderr}\n${pods.stdout}\n${events.stdout.slice(-3_000)}`);
  }

  /** A ready pod by its name. */
  async pod(namespace: string, name: string): Promise<TestPod> {
    return new TestPod(await this.cluster.get<PodObject>('-n', namespace, 'pod', name));
  }

  /** The ready pods of an app that are not on their way out. */
  async pods(namespace: string, app: string): Promise<readonly TestPod[]> {
    const { items } = await this.cluster.get<{ items: readonly PodObject[] }>('-n', namespace, 'pods', '-l', `app=${app}`);
    const isReady = ({ status }: PodObject): boolean => status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
    return items.filter((pod) => isReady(pod) && pod.metadata.deletionTimestamp === undefined).map((pod) => new TestPod(pod));
  }

  /** The one ready pod of an app on a node. */
  async podOn(node: string, namespace: string, app: string): Promise<TestPod> {
    const pods = await this.pods(namespace, app);
    const pod = pods.find((each) => each.node === node);
    if (pod === undefined) throw new Error(`no ready pod of ${namespace}/${app} on ${node}, only on ${pods.map((each) => each.node).join(' ')}`);
    return pod;
  }

  /** Waits until pods of the namespaces can look a name up and call it: names of new routes take a moment through CoreDNS's cache. */
  async untilCallable(from: TestPod, url: string, limitMs = 40_000): Promise<void> {
    let last = '';
    await eventually(`${from.name} can call ${url}`, async () => {
      const { status, failure, reason } = await from.call(url);
      last = `${status} ${reason} ${failure}`;
      return status === 200;
    }, limitMs).catch((error: unknown) => {
      throw new Error(`${String(error)}; last: ${last}`, { cause: error });
    });
  }

  async #pods(namespace: string): Promise<readonly PodObject[]> {
    return (await this.cluster.get<{ items: readonly PodObject[] }>('-n', namespace, 'pods')).items;
  }
}
