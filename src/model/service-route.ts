import type { Origin } from './problem.ts';

export type RuleType = '' | 'Percentage' | 'Header';
export type Locality = 'PreferLocal' | 'Local' | 'Cluster';
export type Protocol = 'http' | 'tcp';
export type BalanceAlgorithm = 'RoundRobin' | 'LeastConn' | 'Random' | 'SourceHash' | 'HeaderHash';
export type RetryCondition = 'connect-failure' | 'empty-response' | 'response-timeout';

/** One exception to `acl.defaultAllow`. Without `kind` it means a ServiceAccount or a Service of that name. */
export interface AclEntry {
  readonly kind?: 'ServiceAccount' | 'Service';
  readonly name: string;
  readonly namespace: string;
}

export interface Acl {
  readonly defaultAllow: boolean;
  readonly entries: readonly AclEntry[];
}

export interface BreakerSpec {
  /** Errors within the window that open it; 0: off. */
  readonly threshold: number;
  readonly windowSeconds: number;
  readonly breakTimeSeconds: number;
  /** Concurrent requests (tcp: connections) above which calls are refused; 0: off. */
  readonly connLimit: number;
}

/** One `spec.to[]` entry. `weight` is set on Percentage routes, `match` (a PCRE, never empty) on Header routes. */
export interface VersionSpec {
  /** Name of a Service in the route's namespace. */
  readonly name: string;
  readonly weight?: number;
  readonly match?: string;
  readonly algorithm?: BalanceAlgorithm;
  readonly hashHeader?: string;
  readonly breaker?: BreakerSpec;
}

/** A valid `spec`, with every default of the CRD applied. */
export interface RouteSpec {
  readonly rule: { readonly type: RuleType; readonly header?: string; readonly prefer?: string };
  readonly global: boolean;
  readonly acl: Acl;
  readonly to: readonly VersionSpec[];
  readonly protocol?: Protocol;
  /** `targetPort`: a port's name, a number, or `<number>-<protocol>`. `listen`: port on the VIP. */
  readonly port: { readonly targetPort?: string | number; readonly listen?: number };
  readonly locality: Locality;
  readonly spillAt?: number;
  readonly timeout: { readonly connectMs: number; readonly requestMs: number };
  readonly retries: { readonly attempts: number; readonly on: readonly RetryCondition[]; readonly nonIdempotent: boolean };
  readonly rateLimit?: { readonly requestsPerSecond: number; readonly burst: number; readonly per: 'Caller' | 'Route' };
  readonly log: { readonly mode: 'Off' | 'Errors' | 'Sampled'; readonly percent: number };
}

/** A ServiceRoute (`paas.io/v1`) whose name is valid. `spec` is absent when it is invalid: its calls get 503 `route-invalid`. */
export interface ServiceRoute {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  readonly generation?: number;
  /** `metadata.creationTimestamp` in ms since the epoch; absent in most files. */
  readonly createdAtMs?: number;
  readonly spec?: RouteSpec;
  /** Without `spec`: the port that callers use, where that much of it can be read. */
  readonly listen?: number;
  /** Addresses assigned by the controller, or pinned in the file; unchecked text. */
  readonly status: { readonly vip?: string; readonly globalVip?: string };
  readonly origin?: Origin;
}
