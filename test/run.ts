import { chaosSuite } from './support/chaos/chaos-suite.ts';
import { runOnOtherHaproxy } from './support/other-haproxy.ts';
import { Suites } from './support/suites.ts';

/**
 * `npm test`: everything that needs no cluster; scenes and change tests once more on another HAProxy; when root, the lab (network namespaces)
 * and chaos beside that, in networks of their own. Ends with the plain line `N passed, N failed`. In CI a skipped test is an error.
 */
const suites = new Suites();
process.on('SIGINT', () => suites.interrupt());
const tests = { what: 'unit, golden, property and integration tests', config: 'vitest.config.ts' };

if (process.getuid?.() === 0) {
  // These wait most of the time, for what they have started: two lanes keep two cores busy.
  const inOneNetwork = async (): Promise<void> => {
    await suites.run({ ...tests, label: 'tests' });
    await runOnOtherHaproxy(suites, { label: 'haproxy' });
  };
  const inOthers = async (): Promise<void> => {
    await suites.run({ what: 'lab tests in network namespaces', config: 'test/lab/vitest.config.ts', label: 'lab' });
    await suites.run({ ...chaosSuite(), label: 'chaos' });
  };
  await Promise.all([inOneNetwork(), inOthers()]);
} else {
  await suites.run(tests);
  await runOnOtherHaproxy(suites);
  process.stdout.write('\nThe lab tests (network namespaces) and chaos need root and were not run: sudo npm test\n');
}
process.exitCode = await suites.finish();
