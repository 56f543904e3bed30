import type { ReportLease } from '../kube/parse-node-report.ts';
import type { NodeReport } from './observed.ts';

/** A report that was not renewed for this long is that of a node which is gone or cut off (agents renew every 60 s). */
export const REPORT_LIFE_MS = 180_000;

interface Sighting {
  readonly renewTime: string;
  readonly renewedAtMs: number;
}

/**
 * Tells which reports are live. The clocks of nodes are not trusted: what counts is when this process saw `renewTime` change, on its own
 * monotonic clock. Only at first sight, when there is nothing else, is a `renewTime` compared with this machine's clock.
 */
export class ReportClock {
  #sightings: ReadonlyMap<string, Sighting> = new Map();

  /**
   * `nowMs` monotonic, `wallMs` since the epoch. `heardAtMs`: when anything was heard about reports last; while nothing is heard, nobody
   * grows older.
   */
  observe(leases: Iterable<ReportLease>, now: { readonly nowMs: number; readonly wallMs: number; readonly heardAtMs: number }): readonly NodeReport[] {
    const next = new Map<string, Sighting>();
    const reports: NodeReport[] = [];
    for (const { node, renewTime, version, notInEffect } of leases) {
      const last = this.#sightings.get(node);
      const sighting = last === undefined ? { renewTime, renewedAtMs: firstSight(renewTime, now) } : last.renewTime === renewTime ? last : { renewTime, renewedAtMs: now.nowMs };
      next.set(node, sighting);
      reports.push({ node, version, notInEffect, renewedAtMs: sighting.renewedAtMs, live: now.heardAtMs - sighting.renewedAtMs < REPORT_LIFE_MS });
    }
    this.#sightings = next;
    return reports;
  }
}

function firstSight(renewTime: string, { nowMs, wallMs }: { readonly nowMs: number; readonly wallMs: number }): number {
  const writtenMs = Date.parse(renewTime);
  return Number.isNaN(writtenMs) ? -Infinity : nowMs - Math.max(0, wallMs - writtenMs);
}
