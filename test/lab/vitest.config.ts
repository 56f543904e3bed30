import { defineConfig } from 'vitest/config';

/** Root only: `vitest run --config test/lab/vitest.config.ts`. One file at a time: each lab is a small network with processes of its own. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/lab/**/*.test.ts'],
    testTimeout: 90_000,
    hookTimeout: 120_000,
    pool: 'forks',
    // The message alone has to say what was there: a log is often read by its end.
    chaiConfig: { truncateThreshold: 1_000 },
    fileParallelism: false,
  },
});
