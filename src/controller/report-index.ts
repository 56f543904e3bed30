import { compareVersions, isAtLeast } from '../model/resource-version.ts';
import type { NodeReport } from './observed.ts';

export interface NodeCount {
  /** Live nodes on which it is in effect. */
  readonly count: number;
  /** Live nodes. */
  readonly of: number;
  /** Nodes that know it and say why not: `n3: port-taken`. */
  readonly refusals: readonly string[];
}

/** The live reports, in an order in which thousands of nodes are counted for thousands of routes without looking at each pair. */
export class ReportIndex {
  readonly #live: readonly NodeReport[];
  /** Versions that can be compared, ascending. */
  readonly #versions: readonly string[];
  readonly #refusals: ReadonlyMap<string, readonly { readonly report: NodeReport; readonly code: string }[]>;

  constructor(reports: readonly NodeReport[]) {
    this.#live = reports.filter((report) => report.live);
    this.#versions = this.#live.map(({ version }) => version).filter((version) => isAtLeast(version, version)).sort((a, b) => compareVersions(a, b) ?? 0);
    this.#refusals = Map.groupBy(
      this.#live.flatMap((report) => [...report.notInEffect].map(([key, code]) => ({ key, report, code }))),
      ({ key }) => key,
    );
  }

  /** Nodes that have `key` in effect as of `since`; undefined: nobody can have it yet. */
  count(key: string, since: string | undefined): NodeCount {
    if (since === undefined) return { count: 0, of: this.#live.length, refusals: [] };
    const refusals = (this.#refusals.get(key) ?? []).filter(({ report }) => isAtLeast(report.version, since)).map(({ report, code }) => `${report.node}: ${code}`);
    return { count: this.#countSince(since) - refusals.length, of: this.#live.length, refusals };
  }

  #countSince(since: string): number {
    if (!isAtLeast(since, since)) return 0;
    let [low, high] = [0, this.#versions.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isAtLeast(this.#versions[middle] ?? '', since)) high = middle;
      else low = middle + 1;
    }
    return this.#versions.length - low;
  }
}
