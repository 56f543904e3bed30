import type { BreakerState } from '../model/breaker.ts';
import type { RouteTable } from '../model/route-table.ts';
import type { Problem } from '../model/problem.ts';
import type { VipPool } from '../model/vip-pool.ts';

/** Body of the agent's `GET /table` (host callers only): what `onehop explain` needs to decide a call as the node does. */
export interface TableView {
  /** The agent's process; absent in a view of a folder. */
  readonly pid?: number;
  readonly generation: number;
  readonly proxy: 'haproxy' | 'embedded';
  readonly zone: string;
  readonly globalNamespace: string;
  readonly pool: VipPool;
  readonly dnsListen: readonly { readonly address: string; readonly port: number }[];
  /** What is in effect; routes that could not be opened are in it, their Problems in `applyProblems`. */
  readonly table: RouteTable;
  readonly applyProblems: readonly Problem[];
  /** Of every version that has a breaker; none in a view of a folder. */
  readonly breakers: readonly BreakerState[];
}
