import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** null: ended by a signal or the time limit. */
  readonly code: number | null;
}

/** Runs a program to its end, at most `timeoutMs`; never throws for an exit code. */
export function run(argv: readonly string[], input = '', timeoutMs = 60_000): Promise<RunResult> {
  const [program = '', ...args] = argv;
  return new Promise((resolve) => {
    const child = execFile(program, args, { timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024 }, (_error, stdout, stderr) => {
      resolve({ stdout, stderr, code: child.exitCode });
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** Runs a program that must succeed; resolves with what it printed. */
export async function must(argv: readonly string[], input = '', timeoutMs = 60_000): Promise<string> {
  const { stdout, stderr, code } = await run(argv, input, timeoutMs);
  if (code !== 0) throw new Error(`${argv.join(' ')} (exit ${code}): ${stderr.trim()}${input === '' ? '' : `\n${input}`}`);
  return stdout;
}

/** Argv of a program inside a network namespace. nsenter becomes the program: its pid is the program's. */
export const inside = (namespace: string, argv: readonly string[]): readonly string[] => ['nsenter', `--net=/run/netns/${namespace}`, '--', ...argv];

/** Starts a program whose output goes to a file. */
export function start(argv: readonly string[], logFile: string): ChildProcess {
  const [program = '', ...args] = argv;
  const log = openSync(logFile, 'a');
  return spawn(program, args, { stdio: ['ignore', log, log] });
}

/** Sends a signal and waits for the end, at most `limitMs`, then kills. Resolves with the exit code, null when it was killed. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals, limitMs = 20_000): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exit = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  await exit;
  clearTimeout(timer);
  return child.exitCode;
}

const PAUSE_MS = { least: 50, most: 300 };

/** Asks until `ask` gives something, at most `limitMs`. What takes long to ask is asked more rarely: a kubectl costs a fifth of a second of the machine. */
export async function eventually<T>(what: string, ask: () => Promise<T | undefined | false>, limitMs = 20_000): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    const askedAt = performance.now();
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    const now = performance.now();
    if (now > end) throw new Error(`${what}: not within ${limitMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(Math.max(2 * (now - askedAt), PAUSE_MS.least), PAUSE_MS.most)));
  }
}
