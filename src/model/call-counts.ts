import type { LeaveReason } from './leave-reason.ts';
import type { Tier } from './route-table.ts';

/** What a proxy has counted since it (or its present worker) began: names of fixed sets, and this node's routes. */
export interface CallCounts {
  /** Calls of each route, refused ones too; absent where the proxy does not count them by route. */
  readonly routes: readonly { readonly namespace: string; readonly route: string; readonly calls: number }[];
  /** Calls that the proxy answered itself, by refusal code; `failed`: servers that failed, where the codes are not told apart. */
  readonly refused: Readonly<Record<string, number>>;
  /** Calls that servers answered, by the tier of the server. */
  readonly answered: Readonly<Partial<Record<Tier, number>>>;
  /** Of these, the ones that left this node, by why they did. */
  readonly left: Readonly<Partial<Record<LeaveReason, number>>>;
}

export const NO_CALLS: CallCounts = { routes: [], refused: {}, answered: {}, left: {} };
