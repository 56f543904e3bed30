import { must } from '../lab/run.ts';

export interface WrkOptions {
  readonly connections: number;
  readonly threads?: number;
  readonly seconds: number;
  /** A Lua script that makes the requests (wrk's own format). */
  readonly script?: string;
  readonly headers?: readonly string[];
}

/** What one run of wrk counted. */
export interface WrkResult {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/**
 * Loads `url` in a closed loop for some seconds.
 * @throws Error when any call failed or was not answered with 2xx: a figure over failures says nothing.
 */
export async function wrk(url: string, { connections, threads = 1, seconds, script, headers = [] }: WrkOptions): Promise<WrkResult> {
  const argv = ['wrk', '--latency', `-t${threads}`, `-c${connections}`, `-d${seconds}s`, '--timeout', '10s'];
  const output = await must([...argv, ...headers.flatMap((header) => ['-H', header]), ...(script === undefined ? [] : ['-s', script]), url], '', seconds * 1000 + 60_000);
  const result = parseWrk(output);
  if (result === undefined) throw new Error(`calls of ${url} failed:\n${output}`);
  return result;
}

/** Reads the output of `wrk --latency`; undefined when there were failures or nothing was answered. */
export function parseWrk(output: string): WrkResult | undefined {
  if (/^\s*(?:Socket errors|Non-2xx)/m.test(output)) return undefined;
  const requests = Number(/^\s*(\d+) requests in/m.exec(output)?.[1] ?? 0);
  const requestsPerSecond = Number(/^Requests\/sec:\s+([\d.]+)/m.exec(output)?.[1] ?? 0);
  const percentile = (percent: number): number => parseTimeMs(new RegExp(`^\\s*${percent}%\\s+(\\S+)`, 'm').exec(output)?.[1] ?? '');
  return requests > 0 ? { requests, requestsPerSecond, p50Ms: percentile(50), p99Ms: percentile(99) } : undefined;
}

/** wrk writes `812.00us`, `1.23ms`, `2.01s`, `1.10m`. */
function parseTimeMs(text: string): number {
  const [, value, unit] = /^([\d.]+)(us|ms|s|m)$/.exec(text) ?? [];
  const factors: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };
  return Number(value ?? Number.NaN) * (factors[unit ?? ''] ?? Number.NaN);
}
