import { describe, expect, it } from 'vitest';
import { decide, explainDecision, type Call } from '../../../src/embedded/decide.ts';
import type { CallerIdentity } from '../../../src/embedded/identify.ts';
import { identifyByToken, readTokenField } from '../../../src/embedded/identify-by-token.ts';
import { MAX_TOKEN_BYTES, type TokenVerdict } from '../../../src/model/token.ts';
import type { Access, Caller, Route } from '../../../src/model/route-table.ts';
import { anEndpoint, aRoute, aVersion } from '../../support/route-tables.ts';

const HEADER = 'X-Onehop-Token';

describe('the token header', () => {
  it.each([
    ['none', ['Host', 'x'], undefined],
    ['one, whatever its case', ['x-ONEHOP-token', ' abc '], { token: 'abc' }],
    ['of 8 KB', [HEADER, 'x'.repeat(MAX_TOKEN_BYTES)], { token: 'x'.repeat(MAX_TOKEN_BYTES) }],
  ])('%s', (_, raw, found) => {
    expect(readTokenField(raw, HEADER)).toEqual(found);
  });

  it.each([
    ['two lines', [HEADER, 'abc', 'X-Other', 'y', 'X-onehop-token', 'abc'], 'more than one'],
    ['two lines, one empty', [HEADER, '', HEADER, 'abc'], 'more than one'],
    ['an empty line', [HEADER, '  '], 'empty'],
    ['more than 8 KB', [HEADER, 'x'.repeat(MAX_TOKEN_BYTES + 1)], 'longer'],
  ])('%s is refused unseen', (_, raw, says) => {
    expect(readTokenField(raw, HEADER)).toEqual({ refused: expect.stringContaining(says) as string });
  });
});

const pod: Caller = { address: '127.88.70.5', namespace: 'front', pod: 'web-1', serviceAccount: 'web', services: [], trusted: false };
const good = (namespace: string, serviceAccount: string): TokenVerdict => ({ ok: true, identity: { namespace, serviceAccount } });
const bad: TokenVerdict = { ok: false, why: 'it has expired' };
const SOURCES: readonly CallerIdentity[] = [{ kind: 'pod', caller: pod }, { kind: 'host' }, { kind: 'unknown' }];

/** What is decided of a call with this token from this source; `access` on top of a private route of namespace shop. */
function decision(source: CallerIdentity, verdict: TokenVerdict, access: Partial<Access> = {}, arrivedOn: Call['arrivedOn'] = 'vip', trusted: Parameters<typeof identifyByToken>[2] = []): string {
  const base: Route = aRoute('svc', { vip: '127.73.70.21', listen: 8080, versions: [aVersion('v1', [anEndpoint('127.88.70.9', 8080)])] });
  const route: Route = { ...base, access: { namespace: 'shop', defaultAllow: true, exceptions: [], accounts: [], hasEntries: access.accounts !== undefined, ...access } };
  const identity = identifyByToken(source, verdict, trusted);
  const limits = { takeRate: () => 0, breakerOpen: () => false, inFlight: () => 0 };
  const made = decide(route, { identity, arrivedOn, headerValue: () => undefined, draw: 0, matches: () => false, limits });
  return made.kind === 'forward' ? 'served' : `${made.code}${made.status === undefined ? '' : ` ${made.status}`}`;
}

describe('who showed a token', () => {
  it.each(SOURCES)('%j with a token that does not verify: 401, before anything else', (source) => {
    expect(decision(source, bad, { defaultAllow: false })).toBe('bad-token');
    expect(decision(source, bad, {}, 'global')).toBe('bad-token');
  });

  it.each([['front', 'admin'], ['shop', 'web']])('a pod with a token of %s/%s, not its own: 403', (namespace, account) => {
    expect(decision({ kind: 'pod', caller: pod }, good(namespace, account), { namespace: 'front' })).toBe('bad-token 403');
  });

  it('a pod with its own token stays that pod: its Services and addresses count', () => {
    expect(identifyByToken({ kind: 'pod', caller: pod }, good('front', 'web'), [])).toEqual({ kind: 'pod', caller: pod, proven: true });
    expect(decision({ kind: 'pod', caller: pod }, good('front', 'web'))).toBe('namespace-isolated');
    expect(decision({ kind: 'pod', caller: pod }, good('front', 'web'), { namespace: 'front', defaultAllow: false, hasEntries: true, exceptions: [pod.address] })).toBe('served');
  });

  it.each(SOURCES.slice(1))('%j becomes the account: its isolation, and no longer that of the host', (source) => {
    expect(decision(source, good('front', 'web'))).toBe('namespace-isolated');
    expect(decision(source, good('shop', 'web'))).toBe('served');
    expect(decision(source, good('front', 'web'), {}, 'global')).toBe('served');
  });

  it.each(SOURCES.slice(1))('%j is trusted when its account or namespace is', (source) => {
    expect(decision(source, good('mon', 'prometheus'), {}, 'vip', [{ namespace: 'mon', serviceAccount: 'prometheus' }])).toBe('served');
    expect(decision(source, good('mon', 'other'), {}, 'vip', [{ namespace: 'mon', serviceAccount: 'prometheus' }])).toBe('namespace-isolated');
    expect(decision(source, good('mon', 'other'), {}, 'vip', [{ namespace: 'mon' }])).toBe('served');
  });

  it.each(SOURCES.slice(1))('%j meets the ACL as its account, never by an address', (source) => {
    expect(decision(source, good('shop', 'web'), { defaultAllow: false, accounts: ['shop/web'] })).toBe('served');
    expect(decision(source, good('shop', 'web'), { defaultAllow: true, accounts: ['shop/web'] })).toBe('acl-denied');
    expect(decision(source, good('shop', 'web'), { defaultAllow: false, accounts: ['shop/other'], exceptions: ['127.0.0.1'] })).toBe('acl-denied');
  });

  it('explain shows the token among the rules, and nothing where there is none', () => {
    const limits = { takeRate: () => 0, breakerOpen: () => false, inFlight: () => 0 };
    const rules = (identity: CallerIdentity) => explainDecision(aRoute('svc', { vip: '127.73.70.21', listen: 8080, versions: [aVersion('v1', [anEndpoint('127.88.70.9', 8080)])] }), { identity, arrivedOn: 'global', headerValue: () => undefined, draw: 0, matches: () => false, limits }).steps.map(({ rule }) => rule);
    expect(rules({ kind: 'host' })).not.toContain('token');
    expect(rules(identifyByToken({ kind: 'host' }, good('a', 'b'), [])).slice(0, 3)).toEqual(['route', 'token', 'caller']);
  });
});
