import { describe, expect, it } from 'vitest';
import { CLOCK_SKEW_SECONDS } from '../../../src/tokens/check-claims.ts';
import { parseJwks } from '../../../src/tokens/parse-jwks.ts';
import { verifyJwt, type KeySet } from '../../../src/tokens/verify-jwt.ts';
import { AUDIENCE, forgeWithPublicKey, ISSUER, jwksOf, makeKey, serviceAccountClaims, signToken, unsignedToken, type TestKey } from '../../support/tokens.ts';

const NOW_MS = 1_800_000_000_500;
const rsa = makeKey('RS256', 'rsa-1');
const ec = makeKey('ES256', 'ec-1');
const stranger = makeKey('RS256', 'rsa-1');
const set = (...keys: readonly TestKey[]): KeySet => ({ keys: parseJwks(jwksOf(...keys)).keys, issuers: [ISSUER], audiences: [AUDIENCE] });
const both = set(rsa, ec);
const claims = (over: Readonly<Record<string, unknown>> = {}) => serviceAccountClaims('shop', 'web', over, NOW_MS);
const second = Math.floor(NOW_MS / 1000);
const ok = { ok: true, identity: { namespace: 'shop', serviceAccount: 'web', expiresAtMs: (second + 3600) * 1000 } };

describe('a token that is good', () => {
  it.each(['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512'])('%s', async (alg) => {
    const key = makeKey(alg, 'k');
    expect(await verifyJwt(signToken(key, claims()), set(key), NOW_MS)).toEqual(ok);
  });

  it.each([
    ['one audience as a text', { aud: AUDIENCE }],
    ['several audiences', { aud: ['other', AUDIENCE] }],
    ['no claim kubernetes.io', { 'kubernetes.io': undefined }],
    ['no nbf and iat', { nbf: undefined, iat: undefined }],
    ['a clock of the issuer that is ahead by the bound', { nbf: second + CLOCK_SKEW_SECONDS, iat: second + CLOCK_SKEW_SECONDS }],
    ['the last second of its life', { exp: second + 1 }],
  ])('%s', async (_, over) => {
    expect(await verifyJwt(signToken(ec, claims(over)), both, NOW_MS)).toMatchObject({ ok: true, identity: { namespace: 'shop', serviceAccount: 'web' } });
  });

  it('without a kid is tried with every key of its algorithm', async () => {
    expect(await verifyJwt(signToken(rsa, claims(), { kid: undefined }), set(stranger, ec, rsa), NOW_MS)).toEqual(ok);
  });

  it('is found among two keys of one kid', async () => {
    expect(await verifyJwt(signToken(rsa, claims()), set(stranger, rsa), NOW_MS)).toEqual(ok);
  });

  it('may end as late as it likes, and counts until 2100', async () => {
    expect(await verifyJwt(signToken(rsa, claims({ exp: 1e300 })), both, NOW_MS)).toMatchObject({ ok: true, identity: { expiresAtMs: Date.UTC(2100, 0, 1) } });
  });
});

describe('a token that is refused', () => {
  const refused = (why: string) => ({ ok: false, why: expect.stringContaining(why) as string });

  it.each([
    ['it has ended this very second', { exp: second }, 'expired'],
    ['it ended', { exp: second - CLOCK_SKEW_SECONDS }, 'expired'],
    ['no exp', { exp: undefined }, 'exp'],
    ['exp is a text', { exp: String(second + 60) }, 'exp'],
    ['nbf too far ahead', { nbf: second + CLOCK_SKEW_SECONDS + 1 }, 'nbf'],
    ['iat too far ahead', { iat: second + CLOCK_SKEW_SECONDS + 1 }, 'iat'],
    ['nbf is no number', { nbf: 'now' }, 'nbf'],
    ['another audience', { aud: ['https://kubernetes.default.svc'] }, 'audience'],
    ['an audience that begins like ours', { aud: `${AUDIENCE}.evil` }, 'audience'],
    ['no audience', { aud: undefined }, 'audience'],
    ['another issuer', { iss: `${ISSUER}/` }, 'issuer'],
    ['no issuer', { iss: undefined }, 'issuer'],
    ['a list of issuers', { iss: [ISSUER] }, 'issuer'],
    ['a user', { sub: 'system:node:n1' }, 'subject'],
    ['a subject with one part more', { sub: 'system:serviceaccount:shop:web:x' }, 'subject'],
    ['a subject with a hostile name', { sub: 'system:serviceaccount:shop:web\n' }, 'subject'],
    ['no subject', { sub: undefined }, 'subject'],
    ['a claim kubernetes.io of another account', { 'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'admin' } } }, 'contradicts'],
    ['a claim kubernetes.io of another namespace', { 'kubernetes.io': { namespace: 'bank', serviceaccount: { name: 'web' } } }, 'contradicts'],
    ['a claim kubernetes.io without an account', { 'kubernetes.io': { namespace: 'shop' } }, 'contradicts'],
    ['a claim kubernetes.io that is null', { 'kubernetes.io': null }, 'contradicts'],
  ])('%s', async (_, over, why) => {
    expect(await verifyJwt(signToken(rsa, claims(over)), both, NOW_MS)).toEqual(refused(why));
  });

  it.each([
    ['alg none, without a signature', unsignedToken(claims()), 'algorithm'],
    ['alg none, with one', unsignedToken(claims(), 'none', 'AAAA'), 'algorithm'],
    ['alg None', unsignedToken(claims(), 'None', 'AAAA'), 'algorithm'],
    ['HS256 with the public key as the secret', forgeWithPublicKey(rsa, claims()), 'algorithm'],
    ['the kid of one key and the algorithm of another', signToken(ec, claims(), { kid: rsa.kid }), 'algorithm'],
    ['signed by RS384 with a key of RS256', signToken({ ...rsa, alg: 'RS384' }, claims()), 'algorithm'],
    ['signed by a stranger under the same kid', signToken(stranger, claims()), 'signature'],
    ['claims changed after signing', signToken(rsa, claims()).replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify(claims({ sub: 'system:serviceaccount:shop:admin' }))).toString('base64url')}.`), 'signature'],
    ['its own key in the header', signToken(stranger, claims(), { jwk: stranger.jwk }), 'signature'],
    ['a place of keys in the header', signToken(stranger, claims(), { jku: 'http://127.0.0.1:1/jwks', x5u: 'http://127.0.0.1:1/' }), 'signature'],
    ['a critical extension', signToken(rsa, claims(), { crit: ['b64'], b64: false }), 'signature'],
    ['claims that are a list', signToken(rsa, '[1]'), 'signature'],
    ['claims that are no JSON', signToken(rsa, 'hello'), 'signature'],
    ['a kid that is an object', signToken(rsa, claims(), { kid: { toString: 'rsa-1' } }), 'JWT'],
    ['a header that is null', `${Buffer.from('null').toString('base64url')}.e30.AAAA`, 'JWT'],
  ])('%s', async (_, token, why) => {
    expect(await verifyJwt(token, both, NOW_MS)).toEqual(refused(why));
  });

  it.each(['../../etc/passwd', 'http://127.0.0.1:1/key', "' or 1=1 --", '__proto__', 'rsa-1\0', 'RSA-1', ''])('the kid %j names no key', async (kid) => {
    expect(await verifyJwt(signToken(rsa, claims(), { kid }), both, NOW_MS)).toBe('unknown-key');
  });

  it('says nothing of the token', async () => {
    const secret = 'hunter2-do-not-log';
    for (const over of [{ iss: secret }, { aud: secret }, { sub: secret }, { exp: secret }, { nbf: secret }, { 'kubernetes.io': secret }]) {
      expect(JSON.stringify(await verifyJwt(signToken(rsa, claims(over)), both, NOW_MS))).not.toContain(secret);
    }
  });
});
