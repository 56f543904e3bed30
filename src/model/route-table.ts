import type { Problem } from './problem.ts';
import type { BalanceAlgorithm, BreakerSpec, Locality, Protocol, RouteSpec, RuleType } from './service-route.ts';
import type { TokenCode } from './token.ts';

export type Tier = 'node' | 'zone' | 'any';

/** One server of a version as this node sees it. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
  readonly tier: Tier;
  /** `terminating`: not ready but serving, used only while no allowed tier has a ready one. `not-ready`: never used. */
  readonly state: 'ready' | 'terminating' | 'not-ready';
  /** `namespace/name` of the pod behind it. */
  readonly pod?: string;
  readonly node?: string;
}

/** How a version is chosen. `weight`: of 100 (Percentage) or relative (type "", by endpoints). `match`: PCRE, unanchored. */
export interface Version {
  /** The Service's name. */
  readonly name: string;
  readonly weight?: number;
  readonly match?: string;
  /** `h2`: clear-text HTTP/2 to the server (appProtocol kubernetes.io/h2c or grpc). Meaningless on tcp routes. */
  readonly serverProtocol: 'h1' | 'h2';
  /** Everything known, sorted by tier, address, port: for people. */
  readonly endpoints: readonly Endpoint[];
  /** The servers that take the traffic: the nearest usable tier (locality Cluster: all). Empty: 503 `no-endpoints`. */
  readonly active: readonly Endpoint[];
  /** The next tier, used when no active server can be connected. At most 16 of a farther tier, the same choice at each build. */
  readonly backup: readonly Endpoint[];
  readonly algorithm: BalanceAlgorithm;
  readonly hashHeader?: string;
  readonly breaker?: BreakerSpec;
  /** Set when calls leave a saturated tier (`spec.spillAt`, PreferLocal only). */
  readonly spill?: Spill;
}

/**
 * Spill-over. A tier is saturated when the calls in flight at its servers reach `at` for each of them that is up. A call goes to the nearest tier
 * that is not; when all are, to the nearest one after all: nothing is refused or waits because of it.
 */
export interface Spill {
  /** Calls in flight for each server. */
  readonly at: number;
  /** The tiers beyond the active one, nearest first: `backup`, then the one behind it. At most two, none empty. */
  readonly tiers: readonly (readonly Endpoint[])[];
}

/**
 * How a request picks its version; computed once so that both proxies and `explain` cannot differ.
 * - `fixed`: always that version (index into `versions`).
 * - `weighted`: draw r uniformly in [0, total); the first share with r < its `below` wins; none: `otherwise`.
 * - `header`: first version in order whose `match` finds in the value (last line of that header, trimmed); none: `otherwise`.
 * - `none`: no version can be chosen (503 `no-version`).
 * `otherwise`: index of the preferred version, absent: 503 `no-version`.
 */
export type Choice =
  | { readonly kind: 'fixed'; readonly version: number }
  | { readonly kind: 'weighted'; readonly total: number; readonly shares: readonly { readonly below: number; readonly version: number }[]; readonly otherwise?: number }
  | { readonly kind: 'header'; readonly header: string; readonly otherwise?: number }
  | { readonly kind: 'none' };

/**
 * Who may call, by source address, after the caller is known (see CallerTable).
 * Isolation: on `vip` callers of `namespace`, `host` and trusted ones; on `globalVip` every known caller.
 * ACL: an address in `exceptions` gets the opposite of `defaultAllow`; host callers never match an exception.
 */
export interface Access {
  readonly namespace: string;
  readonly defaultAllow: boolean;
  /** Addresses of this node's pods that the entries match, sorted. */
  readonly exceptions: readonly string[];
  /** The same entries for callers known by a token alone: `namespace/name` of ServiceAccounts, sorted. Service entries never match those. */
  readonly accounts: readonly string[];
  /** Whether the ServiceRoute has entries at all (false and defaultAllow: no ACL rule is needed). */
  readonly hasEntries: boolean;
}

export interface Route {
  readonly namespace: string;
  readonly name: string;
  readonly vip: string;
  readonly vip6?: string;
  /** Set while this namespace holds the global name. */
  readonly globalVip?: string;
  readonly globalVip6?: string;
  /** Port on the VIPs. */
  readonly listen: number;
  readonly protocol: Protocol;
  /** True: the spec cannot be served; every call gets 503 `route-invalid` (tcp: closed), and nothing below is used. */
  readonly invalid: boolean;
  readonly rule: { readonly type: RuleType; readonly header?: string; readonly prefer?: string };
  readonly choice: Choice;
  readonly versions: readonly Version[];
  readonly access: Access;
  readonly locality: Locality;
  readonly timeout: RouteSpec['timeout'];
  readonly retries: RouteSpec['retries'];
  readonly rateLimit?: RouteSpec['rateLimit'];
  /** Absent: no access log. */
  readonly log?: { readonly mode: 'Errors' | 'Sampled'; readonly percent: number };
  /** Name or number of `spec.port.targetPort`, for SRV names. */
  readonly targetPort?: string | number;
  readonly problems: readonly Problem[];
}

/** A live pod of this node: a caller known by its address. */
export interface Caller {
  readonly address: string;
  readonly namespace: string;
  readonly pod: string;
  readonly serviceAccount: string;
  /** Names of the Services (of its namespace) whose selector matches it, sorted. */
  readonly services: readonly string[];
  /** Named by `--trusted-callers`: may call private routes of any namespace. */
  readonly trusted: boolean;
}

/**
 * Identity by source address, the longest prefix first: `pods` (single addresses), then `unknownPrefixes`
 * (127.88.0.0/16 on loopback), then `hostPrefixes` (the VIP pool, the node's own addresses, 127.0.0.0/8). Anything else is unknown.
 */
export interface CallerTable {
  /** Sorted by address. */
  readonly pods: readonly Caller[];
  readonly unknownPrefixes: readonly string[];
  readonly hostPrefixes: readonly string[];
  /** `--trusted-callers`, for callers known by a token alone: a whole namespace, or one ServiceAccount of it. */
  readonly trusted: readonly { readonly namespace: string; readonly serviceAccount?: string }[];
}

/** What one node serves: the complete, sorted result of a Snapshot. */
export interface RouteTable {
  readonly node: string;
  readonly zone?: string;
  /** Sorted by namespace and name. Every route has a VIP. */
  readonly routes: readonly Route[];
  readonly callers: CallerTable;
  /** Opaque caller codes, by digest. */
  readonly tokenCodes: readonly TokenCode[];
  /** All problems, the routes' own and the snapshot's, sorted. */
  readonly problems: readonly Problem[];
}
