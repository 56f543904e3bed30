import { defineConfig } from 'vitest/config';

/**
 * Run by test/cluster/run.ts, which opens the cluster and says which suite: `api` (a control plane without nodes, opened by each file
 * under a name of its own) or `nodes` (all files share one cluster, one after another).
 */
const isApi = process.env['SUITE'] === 'api';

export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: [isApi ? 'test/cluster/api/**/*.test.ts' : 'test/cluster/*.test.ts'],
    testTimeout: 180_000,
    hookTimeout: 300_000,
    pool: 'forks',
    fileParallelism: false,
  },
});
