import { buildZone } from '../dns/build-zone.ts';
import type { Zone } from '../dns/zone.ts';
import type { RouteTable } from '../model/route-table.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { VipLedger } from '../routing/allocate-vips.ts';
import { buildTable, type RoutingOptions } from '../routing/build-table.ts';

export interface DesiredOptions extends RoutingOptions {
  /** Name of the route zone, without the final dot. */
  readonly zoneName: string;
  /** Onehop's version, for `version.server`. */
  readonly version: string;
}

/** What one node should serve. */
export interface Desired {
  readonly table: RouteTable;
  readonly zone: Zone;
  readonly ledger: VipLedger;
}

/** Snapshot -> Desired. Pure: the same input gives the same output, on every node and in every tool. */
export function buildDesired(snapshot: Snapshot, options: DesiredOptions, ledger: VipLedger, nowMs: number): Desired {
  const { table, ledger: next } = buildTable(snapshot, options, ledger, nowMs);
  const zone = buildZone({
    zoneName: options.zoneName,
    globalNamespace: options.globalNamespace,
    pool: options.pool,
    routes: table.routes,
    nodeName: options.nodeName,
    version: options.version,
  });
  return { table, zone, ledger: next };
}
