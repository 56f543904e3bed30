import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string; readonly failureMessages?: readonly string[] | null }[];
  }[];
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
  /** What failed, each with its message: shown once more at the end, where a long log is read. */
  failures: string[];
}

/** Characters of a failure's message that are shown again. */
const MESSAGE_LENGTH = 1500;

/**
 * Runs vitest once per suite and sums up. In CI a skipped test is an error. Several runs that name one file in TEST_TOTALS count on: each
 * ends with the sum of all so far.
 */
export class Suites {
  readonly #folder = mkdtempSync(join(tmpdir(), 'onehop-test-'));
  readonly #totals = process.env['TEST_TOTALS'];
  readonly #counts: Counts = (readJson(this.#totals) as Counts | undefined) ?? { passed: 0, failed: 0, skipped: 0, failures: [] };

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
    this.#counts.failures.push(...failuresOf(what, report));
    this.#counts.skipped += (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0);
  }

  /** A suite that could not even start. */
  fail(why: string): void {
    process.stdout.write(`\n${why}\n`);
    this.#counts.failed += 1;
    this.#counts.failures.push(why);
  }

  /** Ends with the plain line `N passed, N failed`; returns the exit code. */
  finish(): number {
    rmSync(this.#folder, { recursive: true });
    const { passed, failed, skipped, failures } = this.#counts;
    if (this.#totals !== undefined) writeFileSync(this.#totals, JSON.stringify(this.#counts));
    const inCi = process.env['CI'] === 'true';
    if (inCi && skipped > 0) process.stdout.write(`\n${skipped} tests were skipped: in CI that is an error\n`);
    for (const failure of failures) process.stdout.write(`\nFAILED ${failure}\n`);
    process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
    return failed > 0 || (inCi && skipped > 0) || passed === 0 ? 1 : 0;
  }
}

function failuresOf(what: string, report: Report | undefined): readonly string[] {
  if (report === undefined) return [`${what}: ended without a report`];
  return report.testResults.flatMap(({ name, message, assertionResults }) => {
    const file = relative(process.cwd(), name);
    const failed = assertionResults.filter(({ status }) => status === 'failed');
    const unloaded = failed.length === 0 && message !== '' ? [`${file}: ${shortened(message)}`] : [];
    return [...unloaded, ...failed.map(({ fullName, failureMessages }) => `${file}: ${fullName}\n${shortened((failureMessages ?? []).join('\n'))}`)];
  });
}

const shortened = (message: string): string =>
  message
    .split('\n')
    .filter((line) => !line.includes('node_modules'))
    .join('\n')
    .slice(0, MESSAGE_LENGTH);

function readJson(path: string | undefined): unknown {
  try {
    return path === undefined ? undefined : JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
