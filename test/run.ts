import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * `npm test`: everything that needs no cluster; the lab (network namespaces) when root. Ends with the plain line `N passed, N failed`.
 * In CI a skipped test is an error.
 */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numFailedTestSuites: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
}

const folder = mkdtempSync(join(tmpdir(), 'onehop-test-'));
const counts = { passed: 0, failed: 0, skipped: 0 };

runSuite('unit, golden, property and integration tests', 'vitest.config.ts');
if (process.getuid?.() === 0) runSuite('lab tests in network namespaces', 'test/lab/vitest.config.ts');
else process.stdout.write('\nThe lab tests (network namespaces) need root and were not run: sudo npm test\n');
rmSync(folder, { recursive: true });

const inCi = process.env['CI'] === 'true';
if (inCi && counts.skipped > 0) process.stdout.write(`\n${counts.skipped} tests were skipped: in CI that is an error\n`);
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed\n`);
process.exitCode = counts.failed > 0 || (inCi && counts.skipped > 0) || counts.passed === 0 ? 1 : 0;

function runSuite(what: string, config: string): void {
  process.stdout.write(`\n== ${what}\n`);
  const reportPath = join(folder, 'report.json');
  rmSync(reportPath, { force: true });
  const args = ['vitest', 'run', '--config', config, '--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`];
  const { status } = spawnSync('npx', args, { stdio: 'inherit' });
  const report = readReport(reportPath);
  counts.passed += report?.numPassedTests ?? 0;
  // A suite that failed to load has no failed test of its own; a run without a report failed as a whole.
  const failedTests = report?.numFailedTests ?? 0;
  counts.failed += failedTests > 0 || status === 0 ? failedTests : Math.max(1, report?.numFailedTestSuites ?? 1);
  counts.skipped += (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0);
}

function readReport(path: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch {
    return undefined;
  }
}
