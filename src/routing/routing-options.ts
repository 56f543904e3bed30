import type { VipPool } from '../model/vip-pool.ts';
import type { TrustedCaller } from './build-callers.ts';

/** What the node's administrator decides. */
export interface RoutingOptions {
  readonly nodeName: string;
  /** Addresses of this node's interfaces, without loopback ones. */
  readonly ownAddresses: readonly string[];
  readonly pool: VipPool;
  /** Who gives addresses: this agent (files), or the controller through `status.vip` and `status.globalVip` (API server). */
  readonly vips: 'allocate' | 'status';
  readonly globalNamespace: string;
  readonly trustedCallers: readonly TrustedCaller[];
  /** Default port of http routes on their VIP. */
  readonly httpPort: number;
}
