import { defineConfig } from 'vitest/config';

/**
 * Run by test/cluster/run.ts, which says which suite: `own` (files that open clusters of their own, most of them control planes without
 * nodes) or `shared` (files that attach to the cluster that the runner has opened). One file after another:
 * there are few cores.
 */
const isOwn = process.env['SUITE'] === 'own';

export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: [isOwn ? 'test/cluster/{api,alone}/**/*.test.ts' : 'test/cluster/{once/,}*.test.ts'],
    testTimeout: 180_000,
    hookTimeout: 300_000,
    pool: 'forks',
    fileParallelism: false,
  },
});
