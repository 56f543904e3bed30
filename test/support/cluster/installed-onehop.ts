import type { RunResult } from '../lab/run.ts';
import { eventually } from '../lab/run.ts';
import type { Cluster } from './cluster.ts';

export const SYSTEM_NAMESPACE = 'onehop-system';
const AGENTS = 'app.kubernetes.io/name=onehop,app.kubernetes.io/component=agent';

/** What tests read of `GET /routes`. */
export interface RoutesView {
  readonly node: string;
  readonly generation: number;
  readonly source: string;
  readonly proxy: string;
  readonly routes: readonly RouteView[];
  readonly problems: readonly ProblemView[];
}

export interface RouteView {
  readonly namespace: string;
  readonly name: string;
  readonly vip: string;
  readonly globalVip?: string;
  readonly versions: readonly {
    readonly name: string;
    readonly weight?: number;
    readonly match?: string;
    readonly endpoints: readonly { readonly address: string; readonly port: number; readonly tier: string; readonly state: string; readonly use: string }[];
  }[];
  readonly problems: readonly ProblemView[];
}

export interface ProblemView {
  readonly code: string;
  readonly message: string;
  readonly object: { readonly kind: string; readonly namespace?: string; readonly name: string };
}

export interface PodObject {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly uid: string; readonly deletionTimestamp?: string; readonly ownerReferences?: readonly object[] };
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly name: string; readonly containerID?: string }[];
  };
}

/** A ServiceRoute as the API server gives it. */
export interface RouteObject {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly generation: number };
  readonly status?: {
    readonly vip?: string;
    readonly globalVip?: string;
    readonly programmed?: string;
    readonly observedGeneration?: number;
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string; readonly observedGeneration?: number }[];
  };
}

/** Onehop in a cluster, as tests look at it. */
export class Onehop {
  readonly cluster: Cluster;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  /** The agent's pod on a node: with two generations side by side, the one that is not being deleted. */
  async agentPod(node: string): Promise<PodObject> {
    const { items } = await this.cluster.get<{ items: readonly PodObject[] }>('-n', SYSTEM_NAMESPACE, 'pods', '-l', AGENTS, '--field-selector', `spec.nodeName=${node}`);
    const pod = items.find(({ metadata }) => metadata.deletionTimestamp === undefined);
    if (pod === undefined) throw new Error(`no agent on ${node}, only ${JSON.stringify(items.map(({ metadata }) => metadata.name))}`);
    return pod;
  }

  /** Runs a program in a container of the node's agent pod, through the API server and the kubelet. */
  async execInAgent(node: string, argv: readonly string[], container: 'agent' | 'haproxy' = 'agent'): Promise<RunResult> {
    const { metadata } = await this.agentPod(node);
    return this.cluster.tryKubectl(['-n', SYSTEM_NAMESPACE, 'exec', metadata.name, '-c', container, '--', ...argv]);
  }

  /** `GET /routes` of a node's agent on its admin.sock, asked inside its pod. */
  async routesInPod(node: string): Promise<RoutesView> {
    const curl = 'exec curl -sf -m 5 --unix-socket "$ONEHOP_RUN_DIR/admin.sock" http://agent/routes';
    const { code, stdout, stderr } = await this.execInAgent(node, ['sh', '-c', curl]);
    if (code !== 0) throw new Error(`no /routes of ${node}: ${stderr}`);
    return JSON.parse(stdout) as RoutesView;
  }

  /** The same through the node's folder: needs neither API server nor kubelet, and is cheap enough to ask again and again. */
  async routes(node: string): Promise<RoutesView> {
    const { code, stdout, stderr } = await this.cluster.node(node).exec('curl', '-sf', '-m', '5', '--unix-socket', '/run/onehop/current/admin.sock', 'http://agent/routes');
    if (code !== 0) throw new Error(`no /routes of ${node}: curl ${code} ${stderr}`);
    return JSON.parse(stdout) as RoutesView;
  }

  /** Waits until what the agents of all nodes (or of those named) have in effect of a route is as `isAsWanted` says. */
  async untilServed(
    namespace: string,
    name: string,
    isAsWanted: (route: RouteView | undefined) => boolean = (route) => route !== undefined,
    nodes: readonly string[] = this.cluster.nodes.map((node) => node.name),
  ): Promise<void> {
    await Promise.all(
      nodes.map(async (node) => {
        let seen: RouteView | undefined;
        const ask = async (): Promise<boolean> => {
          seen = (await this.routes(node)).routes.find((route) => route.namespace === namespace && route.name === name);
          return isAsWanted(seen);
        };
        await eventually(`${namespace}/${name} as wanted on ${node}`, ask, 30_000).catch((error: unknown) => {
          throw new Error(`${String(error)}; there is ${JSON.stringify(seen)}`, { cause: error });
        });
      }),
    );
  }

  async route(namespace: string, name: string): Promise<RouteObject> {
    return this.cluster.get<RouteObject>('-n', namespace, 'serviceroute', name);
  }

  /** Waits until the controller says that the route's present generation is in effect on every node; gives the route. */
  async untilProgrammed(namespace: string, name: string): Promise<RouteObject> {
    const wanted = `${this.cluster.nodes.length}/${this.cluster.nodes.length}`;
    let seen: RouteObject | undefined;
    try {
      return await eventually(
        `${namespace}/${name} is programmed ${wanted}`,
        async () => {
          seen = await this.route(namespace, name);
          return seen.status?.observedGeneration === seen.metadata.generation && seen.status.programmed === wanted && seen;
        },
        60_000,
      );
    } catch (error) {
      throw new Error(`${String(error)}; status ${JSON.stringify(seen?.status)}`, { cause: error });
    }
  }
}
