import type { Lab, LabNode, LabPod } from './lab.ts';

/** How often each answer came, by its first line; a call without an answer counts as `failed`. */
export type Tally = Readonly<Record<string, number>>;

/** Makes `count` GETs one after the other, half of them on connections of their own. */
export async function call(lab: Lab, from: LabPod | LabNode, address: string, count: number): Promise<Tally> {
  const urls = (part: string): string => `http://${address}/?${part}[1-${Math.ceil(count / 2)}]`;
  const common = ['curl', '-s', '-m', '20', '--no-progress-meter'];
  const reused = await lab.exec(from, ...common, urls('reused'));
  const single = await lab.exec(from, ...common, '-H', 'Connection: close', urls('single'));
  return tally(reused.stdout + single.stdout, count);
}

function tally(text: string, expected: number): Tally {
  const counts: Record<string, number> = {};
  for (const line of text.split('\n').filter((line) => line !== '')) counts[line] = (counts[line] ?? 0) + 1;
  const answered = Object.values(counts).reduce((sum, count) => sum + count, 0);
  return answered < expected ? { ...counts, failed: expected - answered } : counts;
}

export interface Load {
  readonly requests: number;
  /** Answers other than 2xx and 3xx. */
  readonly refused: number;
  /** Connections refused, reset, broken or timed out. */
  readonly broken: number;
}

/**
 * Keeps GETs going over 16 connections for `seconds` with wrk, which takes the processor time that the others leave. With `header`
 * `Connection: close` each has a connection of its own. Path `/soon`, which is answered after 10 ms, limits them to 1,600 a second.
 */
export async function load(lab: Lab, from: LabPod, address: string, seconds: number, header = 'X-Load: wrk', path = '/'): Promise<Load> {
  const { stdout } = await lab.exec(from, 'nice', 'wrk', '-t1', '-c16', `-d${seconds}s`, '--timeout', '30s', '-H', header, `http://${address}${path}`);
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout)?.slice(1).map(Number) ?? [];
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0);
  if (requests < 20) throw new Error(`too little load to tell anything: ${stdout}`);
  return {
    requests,
    refused: Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0),
    broken: errors.reduce((sum, count) => sum + count, 0),
  };
}

/** One GET: status, reason of a refusal, body. */
export async function get(lab: Lab, from: LabPod | LabNode, url: string): Promise<{ status: number; reason: string; body: string }> {
  const { stdout } = await lab.exec(from, 'curl', '-s', '-m', '20', '-w', '\n%{http_code} %header{x-onehop-reason}', url);
  const split = stdout.lastIndexOf('\n');
  const [status = '', reason = ''] = stdout.slice(split + 1).split(' ');
  return { status: Number(status), reason, body: stdout.slice(0, split).trim() };
}

/** What `dig +short` says. */
export async function resolve(lab: Lab, from: LabPod | LabNode, ...query: readonly string[]): Promise<string> {
  return (await lab.exec(from, 'dig', '+short', '+time=2', '+tries=2', '@169.254.192.10', ...query)).stdout.trim();
}
