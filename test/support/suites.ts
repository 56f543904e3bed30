import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { OtherErrors } from './errors-reporter.ts';

/** What is read of vitest's JSON report. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    /** What failed at the file's top level; empty when a hook inside a `describe` failed. */
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string; readonly failureMessages?: readonly string[] | null }[];
  }[];
}

export interface Suite {
  readonly what: string;
  /** Vitest's configuration file. */
  readonly config: string;
  /** Only the files whose path contains one of these; none: all. */
  readonly files?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Words before the command, `nsenter ...` say. Files are played once more at once: what they enter may be gone later. */
  readonly within?: readonly string[];
  /** Begins each line of what it says: for a suite that others run beside. Files of it are played once more when the others are done. */
  readonly label?: string;
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
  /** What failed, each with its message: shown once more at the end, where a long log is read. */
  failures: string[];
  /** What failed and passed when its file was played once more, with the message of the failure. */
  unsteady: string[];
}

const VITEST = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs');

/** Characters of a failure's message that are shown again. */
const MESSAGE_LENGTH = 1500;

/** How long the last words of a suite with a label are waited for. */
const LAST_WORDS_MS = 2_000;

/** So many files of a suite are played once more, alone, when tests of theirs fail: more is no accident. */
const MOST_PLAYED_AGAIN = 2;

/** What these show has to hold every time. */
const STRICT_FILES = /(?:^|\/)(?:chaos|faults)\.test\.ts$/;
/** Fast-check draws other examples the next time: the one that failed is a defect. */
const COUNTEREXAMPLE = 'Property failed after';

/**
 * Runs vitest once per suite and sums up. In CI a skipped test is an error. Several runs that name one file in TEST_TOTALS count on: each
 * ends with the sum of all so far.
 *
 * Most tests here wait for real processes on a machine that others use, too. So a file with a failed test is played once more when the
 * others are done: a test that passes then counts as passed, and is shown with its message at the end, for it is a defect all the same,
 * of the test or of Onehop. Chaos, faults and counterexamples are not played again.
 *
 * Suites may run beside each other, where each of them waits a good part of its time: see `label`.
 */
export class Suites {
  /** For what suites need; `finish` removes it. */
  readonly folder = mkdtempSync(join(tmpdir(), 'onehop-test-'));
  readonly #totals = process.env['TEST_TOTALS'];
  readonly #counts: Counts = (readJson(this.#totals) as Counts | undefined) ?? { passed: 0, failed: 0, skipped: 0, failures: [], unsteady: [] };
  /** What is played once more when all else is done. */
  readonly #later: (() => Promise<void>)[] = [];
  #isInterrupted = false;

  async run(suite: Suite): Promise<void> {
    if (this.#isInterrupted) return;
    const say = sayer(suite.label);
    say(`\n== ${suite.what}`);
    const first = await this.#play(suite);
    const bad = first.filter(({ failed }) => failed.length > 0);
    const again = this.#isInterrupted || bad.some(isFinal) || bad.length > MOST_PLAYED_AGAIN ? [] : bad.map(({ file }) => file);
    if (again.length === 0) this.#count(first);
    else if (suite.label === undefined || suite.within !== undefined) await this.#playAgain(suite, first, again);
    else this.#later.push(() => this.#playAgain(suite, first, again));
  }

  async #playAgain(suite: Suite, first: readonly PlayedFile[], again: readonly string[]): Promise<void> {
    sayer(suite.label)(`\n== once more: ${again.join(', ')}`);
    const second = await this.#play({ ...suite, files: again });
    const passed = new Set(second.flatMap((file) => file.passed));
    // A set-up that failed has no test of its own: it goes by the name of its file, of which nothing may fail.
    const whole = new Set(second.flatMap(({ file, failed }) => (failed.length === 0 ? file : [])));
    const isMended = ({ test }: FailedTest): boolean => passed.has(test) || whole.has(test);
    const failedAgain = new Set(second.flatMap(({ failed }) => failed.map(({ test }) => test)));
    const failures = first.flatMap(({ failed }) => failed);
    this.#count([...first.filter(({ file }) => !again.includes(file)), ...second]);
    this.#counts.unsteady.push(...failures.filter(isMended).map(asText));
    const left = failures.filter((failure) => !isMended(failure) && !failedAgain.has(failure.test));
    this.#count([{ file: NO_FILE, passed: [], skipped: 0, failed: left }]);
  }

  /** Ctrl-C: no other suite begins. */
  interrupt(): void {
    if (!this.#isInterrupted) this.fail('interrupted');
    this.#isInterrupted = true;
  }

  /** A suite that could not even start. */
  fail(why: string): void {
    process.stdout.write(`\n${why}\n`);
    this.#counts.failed += 1;
    this.#counts.failures.push(why);
  }

  /** Ends with the plain line `N passed, N failed`; returns the exit code. */
  async finish(): Promise<number> {
    for (const play of this.#later) await play();
    const { passed, failed, skipped, failures, unsteady } = this.#counts;
    if (this.#totals !== undefined) writeFileSync(this.#totals, JSON.stringify(this.#counts));
    const inCi = process.env['CI'] === 'true';
    if (inCi && skipped > 0) process.stdout.write(`\n${skipped} tests were skipped: in CI that is an error\n`);
    for (const each of unsteady) process.stdout.write(`\nUNSTEADY, passed when played once more: ${each}\n`);
    for (const failure of failures) process.stdout.write(`\nFAILED ${failure}\n`);
    process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
    // A process that ends late may still write what it compiled.
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
    return failed > 0 || (inCi && skipped > 0) || passed === 0 ? 1 : 0;
  }

  async #play({ what, config, files = [], env = {}, within = [], label }: Suite): Promise<readonly PlayedFile[]> {
    const folder = mkdtempSync(join(this.folder, 'play-'));
    const [reportPath, errorsPath] = [join(folder, 'report.json'), join(folder, 'errors.json')];
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`, `--reporter=${join(import.meta.dirname, 'errors-reporter.ts')}`];
    const [program = '', ...args] = [...within, process.execPath, VITEST, 'run', '--config', config, ...reporters, ...files];
    // Hundreds of processes are started from the same sources: each compiles them in half the time after the first.
    const compiled = { NODE_COMPILE_CACHE: join(this.folder, 'compiled') };
    const vitest = spawn(program, args, { stdio: label === undefined ? 'inherit' : ['ignore', 'pipe', 'pipe'], env: { ...compiled, ...process.env, ...env, OTHER_ERRORS: errorsPath } });
    const said = [vitest.stdout, vitest.stderr].filter((stream) => stream !== null).map((stream) => passOn(stream, sayer(label)));
    const [status] = (await once(vitest, 'exit').catch((error: unknown) => [String(error)])) as [unknown];
    // What a test has left running may hold them open.
    await Promise.race([Promise.all(said), delay(LAST_WORDS_MS, undefined, { ref: false })]);
    const [report, errors] = [readJson(reportPath) as Report | undefined, readJson(errorsPath) as OtherErrors | undefined];
    const played = (report?.testResults ?? []).map((file) => playedFile(file, errors?.hooks[file.name]));
    if (report === undefined || errors === undefined) played.push(broken(what, 'ended without a report'));
    else if (errors.unhandled.length > 0) played.push(broken(what, shortened(`errors that no test caught:\n${errors.unhandled.join('\n')}`)));
    else if (status !== 0 && played.every(({ failed }) => failed.length === 0)) played.push(broken(what, 'ended badly, though no test failed'));
    return played;
  }

  #count(files: readonly PlayedFile[]): void {
    for (const { passed, skipped, failed } of files) {
      this.#counts.passed += passed.length;
      this.#counts.skipped += skipped;
      this.#counts.failed += failed.length;
      this.#counts.failures.push(...failed.map(asText));
    }
  }
}

interface FailedTest {
  /** The file with the test's name, or the file alone. */
  readonly test: string;
  readonly message: string;
}

/** What one run of vitest showed of a file. */
interface PlayedFile {
  readonly file: string;
  readonly passed: readonly string[];
  readonly skipped: number;
  readonly failed: readonly FailedTest[];
}

/** Where no file is to blame. */
const NO_FILE = '';

const broken = (what: string, why: string): PlayedFile => ({ file: NO_FILE, passed: [], skipped: 0, failed: [{ test: what, message: why }] });

/** Whether another play could show nothing else. */
const isFinal = ({ file, failed }: PlayedFile): boolean => file === NO_FILE || STRICT_FILES.test(file) || failed.some(({ message }) => message.includes(COUNTEREXAMPLE));

const asText = ({ test, message }: FailedTest): string => `${test}\n${message}`;

/** A file that failed to load, or with a hook that failed, counts as one failed test; what was left out for that is not skipped. */
function playedFile({ name, status, message, assertionResults }: Report['testResults'][number], ofHooks: readonly string[] = []): PlayedFile {
  const file = relative(process.cwd(), name);
  const withStatus = (...wanted: readonly string[]): Report['testResults'][number]['assertionResults'] => assertionResults.filter((each) => wanted.includes(each.status));
  const nameOf = ({ fullName }: { readonly fullName: string }): string => `${file}: ${fullName}`;
  const passed = withStatus('passed').map(nameOf);
  const failed = withStatus('failed').map((each) => ({ test: nameOf(each), message: shortened((each.failureMessages ?? []).join('\n')) }));
  if (failed.length > 0 || status !== 'failed') return { file, passed, skipped: withStatus('skipped', 'pending', 'todo').length, failed };
  return { file, passed, skipped: 0, failed: [{ test: file, message: shortened([message, ...ofHooks].join('\n').trim()) }] };
}

/** Writes lines, each after its label. */
const sayer =
  (label?: string) =>
  (lines: string): void =>
    void process.stdout.write(lines.replaceAll(/^(?=.)/gm, label === undefined ? '' : `${label} | `) + '\n');

async function passOn(stream: Readable, say: (line: string) => void): Promise<void> {
  for await (const line of createInterface({ input: stream })) say(line);
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
