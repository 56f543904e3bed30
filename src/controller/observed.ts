import type { RouteState } from '../kube/parse-route-state.ts';
import type { AccessPointMark, ServiceState } from '../kube/parse-service-state.ts';
import type { RouteStatus } from '../model/route-status.ts';
import type { VipPool } from '../model/vip-pool.ts';
import type { VipRecords } from '../routing/assign-vips.ts';

/** One node's report, and whether it was renewed lately. */
export interface NodeReport {
  readonly node: string;
  /** resourceVersion of ServiceRoutes that is in effect there. */
  readonly version: string;
  readonly notInEffect: ReadonlyMap<string, string>;
  /** Renewed within 3 minutes, by this process's own clock. */
  readonly live: boolean;
  /** When a renewal was last seen, on this process's monotonic clock. */
  readonly renewedAtMs: number;
}

/** A node that carries the startup taint. */
export interface TaintedNode {
  readonly name: string;
  readonly resourceVersion: string;
  /** All taints of the node, as the API server has them. */
  readonly taints: readonly Readonly<Record<string, unknown>>[];
  /** When this process first saw it, on its monotonic clock. */
  readonly seenAtMs: number;
}

export interface RefusedPoint {
  /** What the API server said. */
  readonly message: string;
  /** It is time to try again. */
  readonly isDue: boolean;
}

/** Everything that a plan is made of. */
export interface Observed {
  readonly routes: readonly RouteState[];
  /** resourceVersion up to which `routes` is known. */
  readonly routesVersion: string;
  /** By `namespace/name`. */
  readonly services: ReadonlyMap<string, ServiceState>;
  readonly reports: readonly NodeReport[];
  readonly taintedNodes: readonly TaintedNode[];
  /** The ledger as it stands in the API server. */
  readonly records: VipRecords;
  /** Access points that the API server refused to create or change, by `namespace/name` of the Service. */
  readonly refusedPoints: ReadonlyMap<string, RefusedPoint>;
}

export interface ControllerOptions {
  readonly pool: VipPool;
  /** Zone of the route names, without the final dot. */
  readonly zone: string;
  readonly globalNamespace: string;
  /** Default port of http routes on their VIP. */
  readonly httpPort: number;
  /** Key of a taint that is taken away once the node's agent reports. */
  readonly startupTaint?: string;
}

/** A Service of type ExternalName, wanted. */
export interface AccessPoint {
  readonly namespace: string;
  readonly name: string;
  readonly externalName: string;
  readonly mark: AccessPointMark;
}

/** An Event about a route. */
export interface Note {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly note: string;
}

/** One object as it was when the step was planned: what a write is bound to. */
export interface Target {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
}

/**
 * What to write. Each step relies only on what is already observed, so steps of one plan are independent of each other: any of them may
 * fail, or the process may end between two, and the next plan goes on from what is there.
 */
export type Step =
  | { readonly kind: 'write-ledger'; readonly records: VipRecords }
  /** `isUrgent`: more than the count of nodes changed. `notes`: Events once it is written. */
  | { readonly kind: 'write-status'; readonly target: Target; readonly status: RouteStatus; readonly isUrgent: boolean; readonly notes: readonly Note[] }
  | { readonly kind: 'create-access-point'; readonly point: AccessPoint }
  | { readonly kind: 'update-access-point'; readonly point: AccessPoint; readonly target: Target }
  | { readonly kind: 'delete-access-point'; readonly target: Target; readonly why: string }
  | { readonly kind: 'remove-taint'; readonly node: TaintedNode; readonly taints: TaintedNode['taints'] };
