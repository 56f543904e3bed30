/** One version's breaker. `version` is an index into the route's `versions`. */
export interface BreakerRef {
  readonly namespace: string;
  readonly route: string;
  readonly version: number;
}

/** What an operator wants of a breaker: held open, held closed, or left to its errors (which begins with an empty window). */
export type BreakerMode = 'open' | 'close' | 'auto';

/** What a breaker does on this node now. */
export interface BreakerState extends BreakerRef {
  readonly mode: BreakerMode;
  readonly open: boolean;
  /** When it closes by itself, in ms since the epoch; absent while closed or held. */
  readonly openUntilMs?: number;
  /** Errors within the window. */
  readonly errors: number;
}
