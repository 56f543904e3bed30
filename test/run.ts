import { runOnOtherHaproxy } from './support/other-haproxy.ts';
import { Suites } from './support/suites.ts';

/**
 * `npm test`: everything that needs no cluster, but chaos; the lab (network namespaces) when root; scenes and change tests once
 * more on another HAProxy. Ends with the plain line `N passed, N failed`.
 * In CI a skipped test is an error.
 */
const suites = new Suites();
suites.run({ what: 'unit, golden, property and integration tests', config: 'vitest.config.ts' });
if (process.getuid?.() === 0) suites.run({ what: 'lab tests in network namespaces', config: 'test/lab/vitest.config.ts' });
else process.stdout.write('\nThe lab tests (network namespaces) need root and were not run: sudo npm test\n');
await runOnOtherHaproxy(suites);
process.exitCode = suites.finish();
