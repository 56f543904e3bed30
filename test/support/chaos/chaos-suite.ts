import type { Suite } from '../suites.ts';

export interface ChaosFlags {
  readonly seed?: string | undefined;
  readonly calls?: string | undefined;
  readonly seconds?: string | undefined;
  readonly rate?: string | undefined;
  readonly keep?: boolean;
}

/** The chaos run as a suite, in a network of its own when that can be had (root): strangers on the same addresses would take calls. */
export function chaosSuite({ seed, calls, seconds, rate, keep = false }: ChaosFlags = {}): Suite {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries({ CHAOS_SEED: seed, CHAOS_CALLS: calls, CHAOS_SECONDS: seconds, CHAOS_RATE: rate })) if (value !== undefined) env[name] = value;
  if (keep) env['CHAOS_KEEP'] = '1';
  return {
    what: 'chaos: faults while calls run',
    config: 'test/chaos/vitest.config.ts',
    env,
    ...(process.getuid?.() === 0 ? { within: ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'] } : {}),
  };
}
