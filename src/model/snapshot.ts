import type { Origin, Problem } from './problem.ts';
import type { ServiceRoute } from './service-route.ts';
import type { TokenCode } from './token.ts';

export interface ServicePort {
  /** Absent on a Service's only, unnamed port. */
  readonly name?: string;
  readonly port: number;
  readonly targetPort: string | number;
  /** `TCP`, `UDP` or `SCTP`. */
  readonly protocol: string;
  readonly appProtocol?: string;
}

export interface Service {
  readonly namespace: string;
  readonly name: string;
  readonly ports: readonly ServicePort[];
  /** Absent or empty: selects nothing. */
  readonly selector?: Readonly<Record<string, string>>;
  /** Every cluster IP; empty for headless ("None") and ExternalName. */
  readonly clusterIPs: readonly string[];
  readonly type: string;
  readonly origin?: Origin;
}

/** One endpoint of a slice. Conditions keep their three states: `undefined` is Kubernetes' null. */
export interface SliceEndpoint {
  readonly addresses: readonly string[];
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
  readonly nodeName?: string;
  readonly zone?: string;
  readonly targetRef?: { readonly kind: string; readonly namespace: string; readonly name: string; readonly uid?: string };
}

/** discovery.k8s.io/v1 EndpointSlice of one Service (label `kubernetes.io/service-name`). */
export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  readonly serviceName: string;
  readonly addressType: 'IPv4' | 'IPv6' | 'FQDN';
  readonly ports: readonly { readonly name?: string; readonly port?: number; readonly protocol: string; readonly appProtocol?: string }[];
  readonly endpoints: readonly SliceEndpoint[];
  readonly origin?: Origin;
}

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly nodeName?: string;
  /** Defaults to `default`, as Kubernetes does. */
  readonly serviceAccount: string;
  readonly hostNetwork: boolean;
  /** Pending, Running, Succeeded, Failed, Unknown. */
  readonly phase: string;
  readonly podIPs: readonly string[];
  readonly origin?: Origin;
}

export interface Node {
  readonly name: string;
  /** Label `topology.kubernetes.io/zone`. */
  readonly zone?: string;
  /** InternalIP and ExternalIP addresses. */
  readonly addresses: readonly string[];
  /**
   * The first two addresses of each of its pod CIDRs. Most pod networks give them to the node itself (Flannel's VXLAN device, the gateway
   * of a bridge) and say so nowhere else; a few give them to pods.
   */
  readonly podGateways: readonly string[];
  readonly origin?: Origin;
}

export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
  readonly origin?: Origin;
}

/** Everything a source knows at one moment, trimmed; each list sorted by namespace and name; `problems` found while reading. */
export interface Snapshot {
  readonly serviceRoutes: readonly ServiceRoute[];
  readonly services: readonly Service[];
  readonly endpointSlices: readonly EndpointSlice[];
  readonly pods: readonly Pod[];
  readonly nodes: readonly Node[];
  readonly serviceAccounts: readonly ServiceAccount[];
  /** Opaque caller codes, sorted by digest. */
  readonly tokenCodes: readonly TokenCode[];
  readonly problems: readonly Problem[];
  /** The API server's resourceVersion up to which ServiceRoutes are known; absent on files. */
  readonly resourceVersion?: string;
}
