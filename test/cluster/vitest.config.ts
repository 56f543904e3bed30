import { basename } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';

/**
 * Run by test/cluster/run.ts, which says which suite: `api` and `alone` (files that open clusters of their own) or `shared` (files that attach
 * to the cluster that the runner has opened). One file after another: there are few cores, and beside each other all take longer.
 */
const suite = process.env['SUITE'] ?? 'shared';

/**
 * By path, so that each run is alike. Last come the files that stop the API server and whole nodes: what watches it takes a while to be back
 * (support/cluster/in-step.ts waits for it).
 */
const LAST = ['faults.test.ts', 'outage.test.ts', 'lab.test.ts'];
class ByPath extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => LAST.indexOf(basename(moduleId));
    return files.toSorted((a, b) => place(a) - place(b) || (a.moduleId < b.moduleId ? -1 : 1));
  }
}

export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: [suite === 'shared' ? 'test/cluster/{once/,}*.test.ts' : `test/cluster/${suite}/*.test.ts`],
    testTimeout: 180_000,
    hookTimeout: 300_000,
    pool: 'forks',
    setupFiles: suite === 'shared' ? ['test/support/cluster/in-step.ts'] : [],
    // The message alone has to say what was there: a log is often read by its end.
    chaiConfig: { truncateThreshold: 1_000 },
    ...(suite === 'api' ? { maxWorkers: 2 } : { fileParallelism: false }),
    sequence: { sequencer: ByPath },
  },
});
