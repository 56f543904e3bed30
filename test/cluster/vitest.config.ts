import { basename } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';

/**
 * Run by test/cluster/run.ts, which says which suite: `api` (files that open clusters of their own) or `shared` (files that attach to the
 * cluster that the runner has opened), one after another: what they do to the cluster is not for others to see.
 */
const suite = process.env['SUITE'] ?? 'shared';

/**
 * By path, so that each run is alike. First comes the file that waits longest, while the tests of `api` run beside it; last those that stop the
 * API server and whole nodes: what watches it takes a while to be back (support/cluster/in-step.ts waits for it), and longest after the faults,
 * which stop it again and again.
 */
const FIRST = 'outage.test.ts';
const LAST = ['lab.test.ts', 'faults.test.ts'];
class ByPath extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = (file: string): number => (file === FIRST ? -1 : LAST.indexOf(file) + 1);
    return files.toSorted((a, b) => place(basename(a.moduleId)) - place(basename(b.moduleId)) || (a.moduleId < b.moduleId ? -1 : 1));
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
