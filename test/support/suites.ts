import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numFailedTestSuites: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
}

export interface Suite {
  readonly what: string;
  /** Vitest's configuration file. */
  readonly config: string;
  /** Only the files whose path contains one of these; none: all. */
  readonly files?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Words before the command, `nsenter ...` say. */
  readonly within?: readonly string[];
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Runs vitest once per suite and sums up. In CI a skipped test is an error. Several runs that name one file in TEST_TOTALS count on: each
 * ends with the sum of all so far.
 */
export class Suites {
  readonly #folder = mkdtempSync(join(tmpdir(), 'onehop-test-'));
  readonly #totals = process.env['TEST_TOTALS'];
  readonly #counts: Counts = (readJson(this.#totals) as Counts | undefined) ?? { passed: 0, failed: 0, skipped: 0 };

  run({ what, config, files = [], env = {}, within = [] }: Suite): void {
    process.stdout.write(`\n== ${what}\n`);
    const reportPath = join(this.#folder, 'report.json');
    rmSync(reportPath, { force: true });
    const vitest = ['npx', 'vitest', 'run', '--config', config, '--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`, ...files];
    const [program = '', ...args] = [...within, ...vitest];
    const { status } = spawnSync(program, args, { stdio: 'inherit', env: { ...process.env, ...env } });
    const report = readJson(reportPath) as Report | undefined;
    this.#counts.passed += report?.numPassedTests ?? 0;
    // A suite that failed to load has no failed test of its own; a run without a report failed as a whole.
    const failedTests = report?.numFailedTests ?? 0;
    this.#counts.failed += failedTests > 0 || status === 0 ? failedTests : Math.max(1, report?.numFailedTestSuites ?? 1);
    this.#counts.skipped += (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0);
  }

  /** A suite that could not even start. */
  fail(why: string): void {
    process.stdout.write(`\n${why}\n`);
    this.#counts.failed += 1;
  }

  /** Ends with the plain line `N passed, N failed`; returns the exit code. */
  finish(): number {
    rmSync(this.#folder, { recursive: true });
    const { passed, failed, skipped } = this.#counts;
    if (this.#totals !== undefined) writeFileSync(this.#totals, JSON.stringify(this.#counts));
    const inCi = process.env['CI'] === 'true';
    if (inCi && skipped > 0) process.stdout.write(`\n${skipped} tests were skipped: in CI that is an error\n`);
    process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
    return failed > 0 || (inCi && skipped > 0) || passed === 0 ? 1 : 0;
  }
}

function readJson(path: string | undefined): unknown {
  try {
    return path === undefined ? undefined : JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
