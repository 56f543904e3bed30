import { defineConfig } from 'vitest/config';

/** In a network namespace of its own, where there is one to be had: `node test/chaos/run.ts` sees to it. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/chaos/**/*.test.ts'],
    testTimeout: 10_000,
    hookTimeout: 2 * 3_600_000,
    pool: 'forks',
    // The message alone has to say what was there: a log is often read by its end.
    chaiConfig: { truncateThreshold: 1_000 },
    fileParallelism: false,
  },
});
