/** One address ever given out. `namespace` is the holder of a global name. `freedAtMs` is set once the holder is gone. */
export interface VipHolding {
  readonly vip: string;
  readonly namespace?: string;
  readonly freedAtMs?: number;
}

/** Who holds which VIP, kept over restarts. Keys: `namespace/name` of a route; a star in place of the namespace for a global name. */
export type VipLedger = Readonly<Record<string, VipHolding>>;
