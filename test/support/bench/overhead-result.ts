import { median, pairedRatio, spread } from './statistics.ts';

/** One proxy in one case: a figure per round. */
export interface VariantFigures {
  readonly name: string;
  readonly requestsPerSecond: readonly number[];
  /** User and system time of the proxy's process per request, in microseconds. */
  readonly cpuMicroseconds: readonly number[];
}

export interface OverheadCase {
  readonly routes: number;
  readonly load: 'keep-alive' | 'connection per request';
  readonly variants: readonly VariantFigures[];
}

/** What `npm run bench:overhead` writes and the page in docs is made of. */
export interface OverheadResult {
  readonly machine: string;
  readonly programs: string;
  readonly method: string;
  readonly cases: readonly OverheadCase[];
  /** CPU time of one reading of all counters (`show stat`), in ms, by number of routes. */
  readonly scrapes: readonly { readonly routes: number; readonly cpuMs: number }[];
}

export const MINIMAL = 'minimal HAProxy';
export const FULL_ROUTE = 'Onehop, full route';
export const ENVOY_FULL = 'Envoy, the same';
export const ENVOY_MINIMAL = 'minimal Envoy';

export const LEAST_THROUGHPUT = 0.85;
export const AIMED_THROUGHPUT = 0.95;
export const MOST_OF_ENVOY = 0.5;

/** A requirement in one case. `value` absent: could not be measured. */
export interface Verdict {
  readonly what: string;
  readonly value?: number;
  readonly limit: string;
  readonly kept: boolean;
}

/** The requirements, each as the median of the ratios within one round. */
export function judge({ cases }: OverheadResult): readonly Verdict[] {
  return cases.flatMap(({ routes, load, variants }) => {
    const find = (name: string): VariantFigures | undefined => variants.find((variant) => variant.name === name);
    const [full, minimal, envoy] = [find(FULL_ROUTE), find(MINIMAL), find(ENVOY_FULL)];
    if (full === undefined || minimal === undefined) return [];
    const throughput = pairedRatio(full.requestsPerSecond, minimal.requestsPerSecond);
    const where = `${describeRoutes(routes)}, ${load}`;
    const envoyLimit = `at most ${MOST_OF_ENVOY}`;
    const required = { what: `requests per second of the full route / minimal HAProxy (${where})`, value: throughput, limit: `at least ${LEAST_THROUGHPUT}, aim ${AIMED_THROUGHPUT}`, kept: throughput >= LEAST_THROUGHPUT };
    const what = `CPU per request of the full route / Envoy doing the same (${where})`;
    if (envoy === undefined) return [required, { what, limit: envoyLimit, kept: true }];
    const cpu = pairedRatio(full.cpuMicroseconds, envoy.cpuMicroseconds);
    // A connection per call is mostly the kernel's work, which is the same for all: there the ratio is told, not required.
    return [required, load === 'keep-alive' ? { what, value: cpu, limit: envoyLimit, kept: cpu <= MOST_OF_ENVOY } : { what, value: cpu, limit: 'not required', kept: true }];
  });
}

/** `requests per second of ...: 0.97 (at least 0.85, aim 0.95)` */
export function describeVerdict({ what, value, limit, kept }: Verdict): string {
  if (value === undefined) return `${what}: not measured (${limit})`;
  return `${what}: ${value.toFixed(2)} (${limit})${kept ? '' : ': MISSED'}`;
}

export const describeRoutes = (routes: number): string => `${routes.toLocaleString('en')} route${routes === 1 ? '' : 's'}`;

const percent = (share: number): string => `±${(share * 100).toFixed(0)} %`;

/** Rows of a table: proxy, requests per second, CPU per request, and both as ratio to the minimal HAProxy. */
export function tabulate({ variants }: OverheadCase): readonly (readonly string[])[] {
  const base = variants.find((variant) => variant.name === MINIMAL);
  return variants.map(({ name, requestsPerSecond: rps, cpuMicroseconds: cpu }) => [
    name,
    `${median(rps).toFixed(0)} (${percent(spread(rps))})`,
    base === undefined ? '' : pairedRatio(rps, base.requestsPerSecond).toFixed(2),
    `${median(cpu).toFixed(1)} µs (${percent(spread(cpu))})`,
    base === undefined ? '' : pairedRatio(cpu, base.cpuMicroseconds).toFixed(2),
  ]);
}

export const COLUMNS = ['', 'requests/s', 'to minimal', 'CPU per request', 'to minimal'] as const;
