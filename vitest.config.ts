import { basename } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';

/** What takes longest begins first: else the run ends with one file of minutes, alone. */
const FIRST = ['scenes-haproxy.test.ts', 'agent-life.test.ts', 'scenes-embedded.test.ts', 'stand-in.test.ts', 'explain.test.ts', 'spill.test.ts', 'agent-access-log.test.ts', 'haproxy-attached.test.ts'];
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => (FIRST.indexOf(basename(moduleId)) + FIRST.length + 1) % (FIRST.length + 1);
    return files.toSorted((a, b) => place(a) - place(b) || (a.moduleId < b.moduleId ? -1 : 1));
  }
}

/** Most of these tests wait for processes of their own most of the time: three at a time keep two cores busy, and no more. */
export default defineConfig({
  test: {
    include: ['test/{unit,golden,property,integration}/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 30_000,
    pool: 'forks',
    // The message alone has to say what was there: a log is often read by its end.
    chaiConfig: { truncateThreshold: 1_000 },
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
  },
});
