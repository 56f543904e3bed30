import type { VipPool } from '../model/vip-pool.ts';

/** An address and a port to listen on; IPv6 without brackets. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** Where objects come from. `path` is absolute. */
export type SourceSetting = { readonly kind: 'kubernetes' } | { readonly kind: 'dir'; readonly path: string };

/** Callers that may call private routes of any namespace: a whole namespace, or one ServiceAccount of it. */
export interface TrustedCaller {
  readonly namespace: string;
  readonly serviceAccount?: string;
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** Everything an agent is told by its command line and environment. Frozen; paths are absolute. */
export interface Settings {
  readonly source: SourceSetting;
  /** Empty: the variable KUBECONFIG, else the credentials of the pod. */
  readonly kubeconfig: string;
  /** Empty: the pod's own namespace, else onehop-system. */
  readonly systemNamespace: string;
  readonly nodeName: string;
  /** Lower case, without the final dot. */
  readonly zone: string;
  readonly globalNamespace: string;
  readonly trustedCallers: readonly TrustedCaller[];
  readonly vipPool: VipPool;
  /** False with `--no-pool-route`: the pool route and the claim table are left to others. */
  readonly poolRoute: boolean;
  readonly httpPort: number;
  /** At least one, no two alike. */
  readonly dnsListen: readonly ListenAddress[];
  readonly adminListen: ListenAddress;
  readonly proxy: 'haproxy' | 'embedded' | 'auto';
  /** A path, or a bare name to look up in PATH. */
  readonly haproxyBin: string;
  readonly haproxyAttach: boolean;
  readonly runDir: string;
  readonly stateDir: string;
  readonly clientIp: 'forwarded' | 'preserve';
  readonly drainTimeoutSeconds: number;
  /** From SIGTERM until whoever sent it ends the process; at least 5. */
  readonly graceSeconds: number;
  readonly tokenHeader: string;
  /** An http(s) URL or an absolute path. Empty: the cluster's own; on a folder no JWT is accepted. */
  readonly tokenJwks: string;
  /** Empty: the cluster's own. Never empty on a folder with `tokenJwks`. */
  readonly tokenIssuer: string;
  readonly tokenAudience: string;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly logFormat: 'json' | 'pretty';
}

/** What a process knows about itself, read once by `main.ts`. */
export interface Facts {
  readonly hostname: string;
  readonly workingDirectory: string;
  /** True when standard error is a terminal. */
  readonly terminal: boolean;
}
