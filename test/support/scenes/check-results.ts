import { CONTRADICTED_STATUS, REFUSALS } from '../../../src/model/refusal.ts';
import type { RefusalCode } from '../../../src/model/refusal.ts';
import type { Result } from './scene-client.ts';
import type { CallPlan, Expectation } from './scene.ts';

/** The answers of one line of calls and what they are held against. */
export interface Outcome {
  readonly call: CallPlan;
  readonly results: readonly Result[];
  /** Source address of the caller; undefined: a process of the node, whose address the system chose. */
  readonly from: string | undefined;
  /** Requests that reached each pod by these calls. */
  readonly reached: (pod: string) => number;
  /** `pod` or `namespace/pod` -> `namespace/pod`. */
  readonly podKey: (name: string) => string;
}

/** Says what is wrong, one line each; empty: all as expected. Shares are checked apart, see {@link sharesOutside}. */
export function checkOutcome(outcome: Outcome): readonly string[] {
  const { call, results } = outcome;
  const { expect } = call;
  const faults = new Map<string, number>();
  for (const result of results) {
    for (const fault of checkResult(result, expect, outcome)) faults.set(fault, (faults.get(fault) ?? 0) + 1);
  }
  const lines = [...faults].map(([fault, count]) => `${fault}${results.length === 1 ? '' : ` (${count} of ${results.length} calls)`}`);
  for (const [pod, count] of Object.entries(expect.reached ?? {})) {
    const reached = outcome.reached(outcome.podKey(pod));
    if (reached !== count) lines.push(`${reached} requests reached ${pod}, not ${count}`);
  }
  const pods = new Set(results.map(({ answered }) => answered?.pod ?? 'nobody'));
  if (expect.sticky === true && pods.size > 1) lines.push(`answered by ${[...pods].join(', ')}, not by one pod`);
  return lines.map((line) => `${call.via} ${call.from} -> ${call.to}: ${line}`);
}

function* checkResult(result: Result, expect: Expectation, outcome: Outcome): Generator<string> {
  const shown = result.cut ?? `${result.status} ${String(result.headers['x-onehop-reason'] ?? '')} ${result.body.slice(0, 200)}`;
  if (expect.closed === true) {
    if (result.cut === undefined) yield `answered ${shown} instead of being closed`;
    return;
  }
  const status = expect.status ?? 200;
  const wanted = outcome.call.via === 'ws' && status === 200 ? 101 : status;
  if (result.status !== wanted) {
    yield `${shown}, not ${status} ${expect.reason ?? ''}`;
    return;
  }
  if (status === 200) yield* checkAnswered(result, expect, outcome);
  else yield* checkRefusal(result, expect, outcome.call);
  for (const [name, value] of Object.entries(expect.headers ?? {})) {
    const received = result.headers[name.toLowerCase()] ?? null;
    if (String(received) !== String(value)) yield `header ${name} is ${String(received)}, not ${String(value)}`;
  }
  for (const [name, value] of Object.entries(expect.trailers ?? {})) {
    if (result.trailers[name] !== value) yield `trailer ${name} is ${String(result.trailers[name])}, not ${value}`;
  }
  if (expect.atLeastMs !== undefined && result.tookMs < expect.atLeastMs) yield `took ${Math.round(result.tookMs)} ms, less than ${expect.atLeastMs}`;
  if (expect.atMostMs !== undefined && result.tookMs > expect.atMostMs) yield `took ${Math.round(result.tookMs)} ms, more than ${expect.atMostMs}`;
}

/** A server's answer: the right one, nothing of ours to be seen on either side, the caller's address believed from nobody else. */
function* checkAnswered(result: Result, expect: Expectation, { call, from, podKey }: Outcome): Generator<string> {
  const { answered } = result;
  if (call.method === 'HEAD') {
    if (result.body !== '') yield `the answer to HEAD has a body: ${result.body.slice(0, 200)}`;
    return;
  }
  if (answered === undefined) {
    yield `no server answered: ${result.body.slice(0, 200)}`;
    return;
  }
  const allowed = typeof expect.by === 'string' ? [expect.by] : Array.isArray(expect.by) ? (expect.by as string[]) : Object.keys(expect.by ?? {});
  if (allowed.length > 0 && !allowed.some((pod) => podKey(pod) === answered.pod)) yield `answered by ${answered.pod}, not ${allowed.join(' or ')}`;
  if (expect.port !== undefined && answered.port !== expect.port) yield `answered on port ${answered.port}, not ${expect.port}`;
  if (expect.body !== undefined && answered.body !== expect.body) yield `the server received the body '${answered.body}'`;
  if (call.via === 'tcp') return;
  const lines = (name: string): string[] => answered.headers.filter(([one]) => one.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  if (answered.path !== '/path?query=1') yield `the server saw ${answered.path}`;
  if (answered.method !== (call.via === 'ws' ? 'GET' : call.method)) yield `the server saw ${answered.method}`;
  const forwardedFor = lines('x-forwarded-for');
  if (forwardedFor.length !== 1 || (from !== undefined && forwardedFor[0] !== from)) yield `the server saw X-Forwarded-For ${forwardedFor.join(' | ')}`;
  const leaked = [...answered.headers.map(([name]) => name.toLowerCase()), ...Object.keys(result.headers)].filter((name) => name.startsWith('x-onehop-'));
  if (leaked.length > 0) yield `passed on: ${leaked.join(', ')}`;
  if (call.via !== 'ws' && result.headers['x-server'] !== 'kept') yield `the server's header x-server is ${String(result.headers['x-server'])}`;
  for (const [name, value] of Object.entries(expect.seen ?? {})) {
    const wanted = value === null ? [] : typeof value === 'string' ? [value] : value;
    if (lines(name).join('\n') !== wanted.join('\n')) yield `the server saw ${name}: ${lines(name).join(' | ').slice(0, 200) || 'none'}`;
  }
}

/** Our own answer: the code's status and text, one line. */
function* checkRefusal(result: Result, expect: Expectation, call: CallPlan): Generator<string> {
  const reason = result.headers['x-onehop-reason'];
  if (reason !== expect.reason) yield `x-onehop-reason is ${String(reason)}, not ${String(expect.reason)}`;
  if (expect.reason === undefined) return;
  const { status, text } = REFUSALS[expect.reason as RefusalCode];
  const contradicted = expect.reason === 'bad-token' && result.status === CONTRADICTED_STATUS;
  if (result.status !== status && !contradicted) yield `${expect.reason} came with ${result.status}`;
  if (call.method !== 'HEAD' && result.body !== `${text}\n`) yield `the body is '${result.body}'`;
  if (!String(result.headers['content-type']).startsWith('text/plain')) yield `content-type is ${String(result.headers['content-type'])}`;
}

/** Pods whose share of the answers lies more than 3 standard deviations off. */
export function sharesOutside({ call, results, podKey }: Outcome): readonly string[] {
  const { by } = call.expect;
  if (typeof by !== 'object' || Array.isArray(by)) return [];
  return Object.entries(by as Record<string, number>).flatMap(([pod, share]) => {
    const count = results.filter(({ answered }) => answered?.pod === podKey(pod)).length;
    const sigma = Math.sqrt(results.length * share * (1 - share));
    const off = Math.abs(count - results.length * share);
    return off <= 3 * sigma ? [] : [`${call.from} -> ${call.to}: ${pod} answered ${count} of ${results.length}, ${(off / sigma).toFixed(1)} sigma off ${share}`];
  });
}
