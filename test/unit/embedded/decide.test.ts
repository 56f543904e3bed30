import { describe, expect, it } from 'vitest';
import { compileRegex } from '../../../src/embedded/compile-regex.ts';
import { decide, explainDecision } from '../../../src/embedded/decide.ts';
import type { Call, CallLimits } from '../../../src/embedded/decide.ts';
import type { CallerIdentity } from '../../../src/embedded/identify.ts';
import type { Choice, Route } from '../../../src/model/route-table.ts';
import { caller, endpoint, route, version } from '../../support/embedded-world.ts';

const up = [endpoint('127.88.73.1', 80)];
const two = [version('v-a', up, { match: '^a' }), version('v-b', up, { match: 'b' })];
const pod = (namespace: string, more: { trusted?: boolean; address?: string } = {}): CallerIdentity => ({ kind: 'pod', caller: caller(more.address ?? '10.0.0.1', namespace, more.trusted ?? false) });
const matches = (pattern: string, value: string): boolean => {
  const compiled = compileRegex(pattern);
  return 'test' in compiled && compiled.test(value);
};
const unlimited: CallLimits = { takeRate: () => 0, breakerOpen: () => false, inFlight: () => 0 };
const aCall = (more: Partial<Call> = {}): Call => ({ identity: pod('b'), arrivedOn: 'vip', headerValue: () => undefined, draw: 0, matches, limits: unlimited, ...more });
const withChoice = (choice: Choice, more: Partial<Route> = {}): Route => route('svc', '127.73.1.1', two, { choice, ...more });
/** The code of a refusal, or the name of the version. */
const outcome = (of: Route, more: Partial<Call> = {}): string => {
  const decision = decide(of, aCall(more));
  return decision.kind === 'refuse' ? decision.code : decision.version.name;
};

const split: Choice = { kind: 'weighted', total: 100, shares: [{ below: 30, version: 0 }, { below: 80, version: 1 }] };
const header: Choice = { kind: 'header', header: 'X-Version' };
const fixed: Choice = { kind: 'fixed', version: 0 };
const acl = (defaultAllow: boolean, exceptions: readonly string[]): Partial<Route> => ({ access: { namespace: 'b', defaultAllow, exceptions, accounts: [], hasEntries: true } });

describe('decide', () => {
  it.each<[string, Route, Partial<Call>, string]>([
    ['an invalid route refuses even unknown callers with route-invalid', withChoice(fixed, { invalid: true }), { identity: { kind: 'unknown' } }, 'route-invalid'],
    ['an unknown caller', withChoice(fixed), { identity: { kind: 'unknown' } }, 'caller-unknown'],
    ['an unknown caller on the global name', withChoice(fixed), { identity: { kind: 'unknown' }, arrivedOn: 'global' }, 'caller-unknown'],
    ['a caller of the same namespace', withChoice(fixed), {}, 'v-a'],
    ['a caller of another namespace on the private name', withChoice(fixed), { identity: pod('a') }, 'namespace-isolated'],
    ['a caller of another namespace on the global name', withChoice(fixed), { identity: pod('a'), arrivedOn: 'global' }, 'v-a'],
    ['a trusted caller of another namespace', withChoice(fixed), { identity: pod('ops', { trusted: true }) }, 'v-a'],
    ['a host caller', withChoice(fixed), { identity: { kind: 'host' } }, 'v-a'],
    ['isolation comes before the acl', withChoice(fixed, acl(false, [])), { identity: pod('a') }, 'namespace-isolated'],
    ['an exception to defaultAllow true', withChoice(fixed, acl(true, ['10.0.0.1'])), {}, 'acl-denied'],
    ['another caller with defaultAllow true', withChoice(fixed, acl(true, ['10.0.0.2'])), {}, 'v-a'],
    ['an exception to defaultAllow false', withChoice(fixed, acl(false, ['10.0.0.1'])), {}, 'v-a'],
    ['another caller with defaultAllow false', withChoice(fixed, acl(false, ['10.0.0.2'])), {}, 'acl-denied'],
    ['a host caller never matches an exception (allow)', withChoice(fixed, acl(true, ['10.0.0.1'])), { identity: { kind: 'host' } }, 'v-a'],
    ['a host caller never matches an exception (deny)', withChoice(fixed, acl(false, ['10.0.0.1'])), { identity: { kind: 'host' } }, 'acl-denied'],
    ['a trusted caller is still subject to the acl', withChoice(fixed, acl(false, [])), { identity: pod('ops', { trusted: true }) }, 'acl-denied'],
    ['the acl comes before the version', withChoice({ kind: 'none' }, acl(false, [])), {}, 'acl-denied'],
    ['a draw in the first share', withChoice(split), { draw: 0.299 }, 'v-a'],
    ['a draw at the border belongs to the next share', withChoice(split), { draw: 0.3 }, 'v-b'],
    ['a draw at the end of the last share', withChoice(split), { draw: 0.7999 }, 'v-b'],
    ['a draw beyond all shares', withChoice(split), { draw: 0.8 }, 'no-version'],
    ['a draw beyond all shares with prefer', withChoice({ ...split, otherwise: 0 }), { draw: 0.999_999 }, 'v-a'],
    ['a share of zero is never drawn', withChoice({ kind: 'weighted', total: 100, shares: [{ below: 0, version: 0 }, { below: 100, version: 1 }] }), { draw: 0 }, 'v-b'],
    ['a header that matches the first', withChoice(header), { headerValue: () => 'ab' }, 'v-a'],
    ['a header that matches the second alone', withChoice(header), { headerValue: () => 'xb' }, 'v-b'],
    ['a header that matches nothing', withChoice(header), { headerValue: () => 'x' }, 'no-version'],
    ['a header that matches nothing with prefer', withChoice({ ...header, otherwise: 1 }), { headerValue: () => 'x' }, 'v-b'],
    ['an absent header', withChoice(header), {}, 'no-version'],
    ['an absent header with prefer', withChoice({ ...header, otherwise: 1 }), {}, 'v-b'],
    ['a present empty header can match ^$', route('svc', '127.73.1.1', [version('empty', up, { match: '^$' })], { choice: header }), { headerValue: () => '' }, 'empty'],
    ['an absent header never matches ^$', route('svc', '127.73.1.1', [version('empty', up, { match: '^$' })], { choice: header }), {}, 'no-version'],
    ['a missing regex never matches', route('svc', '127.73.1.1', [version('none', up)], { choice: header }), { headerValue: () => 'x' }, 'no-version'],
    ['an empty regex never matches', route('svc', '127.73.1.1', [version('none', up, { match: '' })], { choice: header }), { headerValue: () => 'x' }, 'no-version'],
    ['matching has regard to case', withChoice(header), { headerValue: () => 'A' }, 'no-version'],
    ['no policy that chooses', withChoice({ kind: 'none' }), {}, 'no-version'],
    ['no endpoint in the chosen version', route('svc', '127.73.1.1', [version('empty', []), version('full', up)], { choice: fixed }), {}, 'no-endpoints'],
    ['a fixed version that does not exist', withChoice({ kind: 'fixed', version: 7 }), {}, 'no-version'],
  ])('%s', (_name, of, more, expected) => {
    expect(outcome(of, more)).toBe(expected);
  });

  const breaker = { threshold: 5, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 10 };
  const guarded = route('svc', '127.73.1.1', [version('v-a', up, { breaker }), version('v-b', up, { breaker })], { choice: split, rateLimit: { requestsPerSecond: 5, burst: 7, per: 'Caller' } });
  const limits = (more: Partial<CallLimits>): Partial<Call> => ({ limits: { ...unlimited, ...more } });
  const exhausted: CallLimits = { takeRate: () => 3, breakerOpen: () => true, inFlight: () => 10 };

  it.each<[string, Route, Partial<Call>, string]>([
    ['nothing is exhausted', guarded, {}, 'v-a'],
    ['the rate comes before the version', guarded, { draw: 0.9, limits: exhausted }, 'rate-limited'],
    ['the acl comes before the rate', { ...guarded, ...acl(false, []) }, { limits: exhausted }, 'acl-denied'],
    ['the version comes before the breaker', guarded, { draw: 0.9, ...limits({ breakerOpen: () => true }) }, 'no-version'],
    ['the breaker comes before the connection limit', guarded, { limits: { ...exhausted, takeRate: () => 0 } }, 'breaker-open'],
    ['the breaker of another version is nothing to it', guarded, limits({ breakerOpen: ({ name }) => name === 'v-b' }), 'v-a'],
    ['one below the connection limit', guarded, limits({ inFlight: () => 9 }), 'v-a'],
    ['at the connection limit', guarded, limits({ inFlight: () => 10 }), 'conn-limit'],
    ['the connection limit comes before the endpoints', route('svc', '127.73.1.1', [version('v', [], { breaker })]), limits({ inFlight: () => 10 }), 'conn-limit'],
    ['a route without limits asks for none', withChoice(fixed), { limits: exhausted }, 'v-a'],
    ['a threshold of 0 is no breaker', route('svc', '127.73.1.1', [version('v', up, { breaker: { ...breaker, threshold: 0 } })]), limits({ breakerOpen: () => true }), 'v'],
  ])('limits: %s', (_name, of, more, expected) => {
    expect(outcome(of, more)).toBe(expected);
  });

  it('says when to call again, and shows the limits as steps', () => {
    expect(decide(guarded, aCall({ limits: exhausted }))).toEqual({ kind: 'refuse', code: 'rate-limited', reason: 'at most 5 a second from each caller, 7 at once', retryAfterSeconds: 3 });
    expect(explainDecision(guarded, aCall()).steps.slice(-5)).toEqual([
      { rule: 'rateLimit', passed: true, detail: 'at most 5 a second from each caller, 7 at once' },
      { rule: 'version', passed: true, detail: 'endpoint 0 of 100 < 30' },
      { rule: 'breaker', passed: true, detail: 'the breaker of v-a is closed' },
      { rule: 'connLimit', passed: true, detail: 'at most 10 at once with v-a' },
      { rule: 'endpoints', passed: true, detail: 'version v-a: 1 active (tier node), 0 backup' },
    ]);
  });

  it('takes of the rate only when it comes to it', () => {
    let taken = 0;
    const counting = limits({ takeRate: () => (taken++, 0) });
    decide({ ...guarded, ...acl(false, []) }, aCall(counting));
    expect(taken).toBe(0);
    decide(guarded, aCall(counting));
    expect(taken).toBe(1);
  });

  it('gives its reason in words', () => {
    const reason = (of: Route, more: Partial<Call> = {}): string => decide(of, aCall(more)).reason;
    const percentage = withChoice(split, { rule: { type: 'Percentage' } });
    expect(reason(percentage, { draw: 0.42 })).toBe('percentage 42 of 100 < 80');
    expect(reason(percentage, { draw: 0.9 })).toBe('percentage 90 of 100 falls to no version; none is preferred');
    expect(reason(withChoice(header), { headerValue: () => 'ab' })).toBe('header X-Version matches ^a');
    expect(reason(withChoice({ ...header, otherwise: 1 }))).toBe('preferred: header X-Version is absent');
    expect(reason(withChoice(fixed))).toBe('preferred');
    expect(reason(route('svc', '127.73.1.1', [version('v', up)]))).toBe('only version');
  });

  it('shows every rule that was tried, and stops at the one that refuses', () => {
    const { decision, steps } = explainDecision(withChoice(fixed), aCall({ identity: pod('a') }));
    expect(decision).toMatchObject({ kind: 'refuse', code: 'namespace-isolated' });
    expect(steps.map(({ rule, passed }) => [rule, passed])).toEqual([['route', true], ['caller', true], ['isolation', false]]);
    expect(explainDecision(withChoice(fixed), aCall()).steps.map(({ rule }) => rule)).toEqual(['route', 'caller', 'isolation', 'acl', 'version', 'endpoints']);
  });

  it('never shows a tenant text that is not printable', () => {
    const of = withChoice({ kind: 'header', header: 'X-\u001b[31m' });
    expect(decide(of, aCall()).reason).toBe(String.raw`header X-\u{1b}[31m is absent; none is preferred`);
  });
});
