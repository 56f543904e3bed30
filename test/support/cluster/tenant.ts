import type { RunResult } from '../lab/run.ts';
import { eventually } from '../lab/run.ts';
import type { Cluster } from './cluster.ts';
import { toolsPod } from './tools-pod.ts';
import type { ToolsPodPlan } from './tools-pod.ts';

/** What a call from a pod got. `status` 0: no HTTP answer. */
export interface CallResult {
  readonly status: number;
  /** `x-onehop-reason`: why the proxy refused. */
  readonly reason: string;
  /** The pod that served, where the pod server did. */
  readonly pod: string;
  readonly body: string;
}

export interface TenantPlan {
  /** Level of Pod Security that the namespace enforces. */
  readonly podSecurity?: 'privileged' | 'baseline' | 'restricted';
}

/** A namespace and its admin: a real user with the shipped ClusterRole `admin` there, and nothing else. */
export class Tenant {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly #kubeconfig: string;

  constructor(cluster: Cluster, namespace: string, kubeconfig: string) {
    this.cluster = cluster;
    this.namespace = namespace;
    this.#kubeconfig = kubeconfig;
  }

  /** kubectl as this admin, in his namespace. */
  kubectl(...args: readonly string[]): Promise<string> {
    return this.cluster.kubectl(['-n', this.namespace, ...args], { kubeconfig: this.#kubeconfig });
  }

  tryKubectl(args: readonly string[], input?: string): Promise<RunResult> {
    return this.cluster.tryKubectl(['-n', this.namespace, ...args], { kubeconfig: this.#kubeconfig, ...(input === undefined ? {} : { input }) });
  }

  /** Applies objects; what they say of a namespace counts. */
  async apply(...objects: readonly object[]): Promise<void> {
    const { code, stderr } = await this.tryApply(...objects);
    if (code !== 0) throw new Error(`${this.namespace} may not: ${stderr}`);
  }

  tryApply(...objects: readonly object[]): Promise<RunResult> {
    return this.tryKubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  }

  /** Starts pods of the pod server and waits until they are ready. */
  async startPods(...pods: readonly Omit<ToolsPodPlan, 'namespace'>[]): Promise<void> {
    await this.apply(...pods.map((pod) => toolsPod({ ...pod, namespace: this.namespace })));
    await this.kubectl('wait', '--for=condition=Ready', '--timeout=120s', 'pod', ...pods.map(({ name }) => name));
  }

  podAddress(pod: string): Promise<string> {
    return this.kubectl('get', 'pod', pod, '-o', 'jsonpath={.status.podIP}');
  }

  exec(pod: string, argv: readonly string[], input?: string): Promise<RunResult> {
    return this.tryKubectl(['exec', ...(input === undefined ? [] : ['-i']), pod, '--', ...argv], input);
  }

  /** curl in a pod. */
  async call(pod: string, url: string, ...flags: readonly string[]): Promise<CallResult> {
    const { stdout } = await this.exec(pod, ['curl', '-s', '-m', '6', '-w', '\n%{http_code} %header{x-onehop-reason}', ...flags, url]);
    const [, body = '', status = '0', reason = ''] = /^([\s\S]*)\n(\d{3}) (.*)$/.exec(stdout) ?? [];
    return { status: Number(status), reason, pod: /"pod":"([^"]*)"/.exec(body)?.[1] ?? '', body };
  }
}

/** Opens a namespace with an admin of its own; `closeTenants` removes it. */
export async function openTenant(cluster: Cluster, namespace: string, { podSecurity = 'baseline' }: TenantPlan = {}): Promise<Tenant> {
  const user = `${namespace}-admin`;
  await cluster.apply(
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: { 'pod-security.kubernetes.io/enforce': podSecurity } } },
    grant(namespace, user, { kind: 'ClusterRole', name: 'admin' }),
  );
  const tenant = new Tenant(cluster, namespace, await cluster.userKubeconfig(user));
  await eventually(`the default ServiceAccount of ${namespace}`, async () => (await tenant.tryKubectl(['get', 'serviceaccount', 'default'])).code === 0);
  return tenant;
}

export async function closeTenants(...tenants: readonly Tenant[]): Promise<void> {
  const [first] = tenants;
  await first?.cluster.kubectl(['delete', 'namespace', '--ignore-not-found', '--timeout=120s', ...tenants.map(({ namespace }) => namespace)]);
}

/** Lets the admin of a namespace write EndpointSlices, as clusters that began before Kubernetes 1.22 do (CVE-2021-25740). */
export async function grantEndpointSlices({ cluster, namespace }: Tenant): Promise<void> {
  const rules = [{ apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['*'] }];
  const role = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { namespace, name: 'endpointslices' }, rules };
  await cluster.apply(role, grant(namespace, `${namespace}-admin`, { kind: 'Role', name: 'endpointslices' }));
}

/** A Service over pods of the pod server. `spec` and `metadata` are merged into it. */
export const service = (name: string, app: string, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, ...metadata },
  spec: { selector: { app }, ports: [{ port: 80, targetPort: 8080 }], ...spec },
});

/** A ServiceRoute to one version. `spec` is merged into its spec, `top` into the object. */
export const route = (name: string, version: string, spec: object = {}, top: object = {}): object => ({
  apiVersion: 'paas.io/v1',
  kind: 'ServiceRoute',
  metadata: { name },
  spec: { rule: { type: '' }, to: [{ kind: 'Service', name: version }], ...spec },
  ...top,
});

function grant(namespace: string, user: string, role: { readonly kind: string; readonly name: string }): object {
  const subjects = [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }];
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', ...role };
  return { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'RoleBinding', metadata: { namespace, name: `${user}-${role.name}` }, roleRef, subjects };
}
