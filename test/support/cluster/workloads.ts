import { toolsPod, toolsPodSpec } from './tools-pod.ts';

/** Objects of test workloads: plain data for `kubectl apply`. The server is pod-server.mjs; its answers name pod, node and version. */
export interface ServerPlan {
  readonly namespace: string;
  /** Of the Deployment. */
  readonly name: string;
  /** The label `app` of its pods, which the Service of that name selects; default: `name`. */
  readonly app?: string;
  /** What it says in its answers; default: `app`. */
  readonly version?: string;
  /** The node that it may run on; default: any. */
  readonly node?: string;
  readonly replicas?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** A folder of the node, made when missing, in which each pod notes its calls (CALL_LOG of pod-server.mjs). */
  readonly callLog?: string;
  /** Default: one more than `replicas`, none fewer. */
  readonly rollingUpdate?: { readonly maxSurge: number | string; readonly maxUnavailable: number | string };
}

export interface CallerPlan {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  /** Default: `default`. */
  readonly serviceAccount?: string;
}

export interface RouteSpec {
  readonly rule: { readonly type: 'Percentage' | 'Header' | ''; readonly header?: string; readonly prefer?: string };
  readonly to: readonly { readonly kind?: 'Service'; readonly name: string; readonly balance?: { readonly rule: number | string } }[];
  readonly [field: string]: unknown;
}

export const SERVER_PORT = 8080;

/**
 * A Deployment of servers. Told to end, a server goes on serving for 2 s (DRAIN_MS of pod-server.mjs), as every pod behind kube-proxy must
 * (a preStop sleep or the server's own grace): the news that it ends takes a moment to reach the nodes.
 */
export function server(plan: ServerPlan): object {
  const { namespace, name, app = name, version = app, node, replicas = 1, env = {}, callLog, rollingUpdate = { maxSurge: 1, maxUnavailable: 0 } } = plan;
  // Every Deployment selects its own pods alone; several of them may share an app.
  const labels = { app, deployment: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace, name },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      strategy: { rollingUpdate },
      template: { metadata: { labels }, spec: toolsPodSpec({ version, env, ...(node === undefined ? {} : { node }), ...(callLog === undefined ? {} : notesCallsIn(callLog, env)) }) },
    },
  };
}

const notesCallsIn = (path: string, env: Readonly<Record<string, string>>): object => ({
  env: { ...env, CALL_LOG: '/calls' },
  spec: { volumes: [{ name: 'calls', hostPath: { path, type: 'DirectoryOrCreate' } }] },
  container: { volumeMounts: [{ name: 'calls', mountPath: '/calls' }] },
});

/** A Service of the pods with the label `app`; one http port, 80, unless others are given. */
export function service(namespace: string, app: string, ports: readonly object[] = [{ name: 'http', port: 80, targetPort: SERVER_PORT }]): object {
  return { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name: app }, spec: { selector: { app }, ports } };
}

/** A pod that calls from one node. */
export function caller({ namespace, name, node, serviceAccount = 'default' }: CallerPlan): object {
  return toolsPod({ namespace, name, node, serviceAccount, ...ONLY_CALLS });
}

/** A caller on every node, also on a cordoned one; draining a node leaves it there, as it does with every DaemonSet. */
export const callers = (namespace: string, name: string): object =>
  onEveryNode(namespace, name, toolsPodSpec({ spec: { tolerations: [{ operator: 'Exists' }], ...ONLY_CALLS.spec }, container: ONLY_CALLS.container }));

/** A server on every node, behind a port of the node itself. */
export const hostPortServers = (namespace: string, name: string, hostPort: number): object =>
  onEveryNode(namespace, name, toolsPodSpec({ version: name, env: { DRAIN_MS: '0' }, container: { ports: [{ containerPort: SERVER_PORT, hostPort }] } }));

function onEveryNode(namespace: string, name: string, spec: object): object {
  const labels = { app: name };
  return { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { namespace, name }, spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } } };
}

export const serviceAccount = (namespace: string, name: string): object => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name } });

export function serviceRoute(namespace: string, name: string, spec: RouteSpec): object {
  // The name would be that Service's own, as ever, and calls of it would not come to Onehop.
  if (spec.to.some((version) => version.name === name)) throw new Error(`route ${name} leads to a Service of its own name`);
  return { apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { namespace, name }, spec };
}

/** `[version, weight]` pairs of a Percentage route. */
export const percentage = (...weights: readonly (readonly [version: string, weight: number])[]): RouteSpec => ({
  timeout: PATIENT,
  rule: { type: 'Percentage' },
  to: weights.map(([name, rule]) => ({ kind: 'Service', name, balance: { rule } })),
});

/** The spec of a route that leads to one Service. */
export const leadsTo = (name: string): RouteSpec => ({ timeout: PATIENT, rule: { type: '' }, to: [{ kind: 'Service', name }] });

/** A server whose connection takes longer than the default of 250 ms counts as down for a second; a whole cluster on two cores may be that slow. */
const PATIENT = { connect: '2s' };

/** Calls come by exec: the container itself only waits. `sleep` as process 1 ignores SIGTERM. */
const ONLY_CALLS = {
  spec: { terminationGracePeriodSeconds: 0 },
  container: { command: ['sleep', 'infinity'], readinessProbe: null },
};
