import { defineConfig } from 'vitest/config';

/**
 * Run by test/cluster/run.ts, which says which suite: `api` and `alone` (files that open clusters of their own, those of `api` control planes
 * without nodes, which mostly wait: two files at a time) or `shared` (files that attach to the cluster that the runner has opened, one
 * after another: there are few cores).
 */
const suite = process.env['SUITE'] ?? 'shared';

export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: [suite === 'shared' ? 'test/cluster/{once/,}*.test.ts' : `test/cluster/${suite}/*.test.ts`],
    testTimeout: 180_000,
    hookTimeout: 300_000,
    pool: 'forks',
    fileParallelism: suite === 'api',
    maxWorkers: 2,
  },
});
