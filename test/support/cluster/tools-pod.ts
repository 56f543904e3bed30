import { IMAGES } from './images.ts';

export interface ToolsPodPlan {
  readonly name: string;
  readonly namespace?: string;
  /** Pinned to this node. */
  readonly node?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly version?: string;
  readonly serviceAccount?: string;
  /** The pod server's environment: TLS_PORT, ECHO_PORT, DRAIN_MS ... */
  readonly env?: Readonly<Record<string, string>>;
  /** Merged into the pod's spec. */
  readonly spec?: Readonly<Record<string, unknown>>;
  /** Merged into the container. */
  readonly container?: Readonly<Record<string, unknown>>;
}

/** A pod that runs the pod server on 8080: it serves, and has curl, dig, wrk and Node to call others with. */
export function toolsPod(plan: ToolsPodPlan): object {
  const { name, namespace = 'default', labels = { app: name } } = plan;
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels }, spec: toolsPodSpec(plan) };
}

/** The same as a Deployment. */
export function toolsDeployment(plan: ToolsPodPlan, replicas: number): object {
  const { name, namespace = 'default', labels = { app: name } } = plan;
  const template = { metadata: { labels }, spec: toolsPodSpec(plan) };
  return { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name, namespace }, spec: { replicas, selector: { matchLabels: labels }, template } };
}

export function toolsPodSpec({ node, version = '', serviceAccount, env = {}, spec, container }: Omit<ToolsPodPlan, 'name'>): object {
  const fromField = (name: string, fieldPath: string): object => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  return {
    // Not nodeName: that goes past the scheduler, and with it past taints and cordons.
    ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
    ...(serviceAccount === undefined ? {} : { serviceAccountName: serviceAccount }),
    terminationGracePeriodSeconds: 15,
    containers: [
      {
        name: 'tools',
        image: IMAGES.tools,
        imagePullPolicy: 'Never',
        env: [
          fromField('POD_NAME', 'metadata.name'),
          fromField('POD_NAMESPACE', 'metadata.namespace'),
          fromField('NODE_NAME', 'spec.nodeName'),
          { name: 'VERSION', value: version },
          ...Object.entries(env).map(([name, value]) => ({ name, value })),
        ],
        ports: [{ name: 'http', containerPort: 8080 }],
        // A refusal counts at once; an answer that is late only because the machine is busy does not.
        readinessProbe: { httpGet: { path: '/ready', port: 8080 }, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 5 },
        ...container,
      },
    ],
    ...spec,
  };
}
