import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { MAX_JWKS_BYTES, parseJwks } from '../../../src/tokens/parse-jwks.ts';
import { jwksOf, makeKey } from '../../support/tokens.ts';

const rsa = makeKey('RS256', 'rsa-1');
const small = makeKey('RS256', 'small', 1024);
const ec = makeKey('ES384', 'ec-1');
const of = (...keys: readonly object[]): string => JSON.stringify({ keys });
/** What is left out of a set that also holds a good key. */
const leftOut = (...keys: readonly object[]): readonly string[] => parseJwks(of(...keys, rsa.jwk)).leftOut;

describe('the keys of a JWKS', () => {
  it('each have one algorithm, that of the type when the key names none', () => {
    const { alg: _, ...bare } = ec.jwk;
    const { alg: __, ...bareRsa } = rsa.jwk;
    expect(parseJwks(of(bareRsa, bare)).keys.map(({ kid, alg }) => `${kid} ${alg}`)).toEqual(['rsa-1 RS256', 'ec-1 ES384']);
    expect(parseJwks(of({ ...rsa.jwk, alg: 'RS512' })).keys[0]?.alg).toBe('RS512');
  });

  it('lose everything but their public numbers', () => {
    const withPrivate = { ...rsa.privateKey.export({ format: 'jwk' }), kid: 'p', x5c: ['x'] };
    expect(Object.keys(parseJwks(of(withPrivate)).keys[0]?.jwk ?? {})).toEqual(['kty', 'n', 'e']);
  });

  it.each([
    ['a secret', { kty: 'oct', k: 'c2VjcmV0', kid: 'o', alg: 'HS256' }, "'oct'"],
    ['Ed25519', generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }), "'OKP'"],
    ['no type', { n: 'AQAB' }, 'no text'],
    ['an RSA key of 1024 bits', small.jwk, '1024'],
    ['an RSA key blown up with zeros', { ...small.jwk, n: Buffer.concat([Buffer.alloc(128), Buffer.from(String(small.jwk['n']), 'base64url')]).toString('base64url') }, '1024'],
    ['a huge RSA key', { ...rsa.jwk, n: Buffer.alloc(2048, 255).toString('base64url') }, '16384'],
    ['a huge exponent', { ...rsa.jwk, e: Buffer.alloc(64, 255).toString('base64url') }, 'exponent'],
    ['for encryption', { ...rsa.jwk, use: 'enc' }, 'use'],
    ['for signing only', { ...rsa.jwk, key_ops: ['sign'] }, 'key_ops'],
    ['an algorithm of another type', { ...rsa.jwk, alg: 'ES256' }, "'ES256'"],
    ['RSA-PSS', { ...rsa.jwk, alg: 'PS256' }, "'PS256'"],
    ['HMAC on an RSA key', { ...rsa.jwk, alg: 'HS256' }, "'HS256'"],
    ['another curve', { ...ec.jwk, crv: 'secp256k1' }, "'secp256k1'"],
    ['the algorithm of another curve', { ...ec.jwk, alg: 'ES256' }, "'ES256'"],
    ['half a point', { ...ec.jwk, y: undefined }, 'x or y'],
    ['a kid that is a number', { ...rsa.jwk, kid: 7 }, 'kid'],
    ['an endless kid', { ...rsa.jwk, kid: 'x'.repeat(1000) }, 'kid'],
  ])('%s is left out, and said', (_, key, says) => {
    expect(leftOut(key)).toEqual([expect.stringContaining(says)]);
    expect(leftOut(key)[0]).toMatch(/^keys\[0\] is left out: /);
  });

  it.each([
    ['no JSON', '{"keys": hunter2', 'not JSON'],
    ['no set', '[]', "no list 'keys'"],
    ['an empty set', of(), 'no keys'],
    ['a set without a usable key', of(small.jwk), '1024'],
    ['too many keys', of(...Array.from({ length: 101 }, () => rsa.jwk)), '101'],
    ['too large a text', ' '.repeat(MAX_JWKS_BYTES) + jwksOf(rsa), '256 KiB'],
  ])('%s is no key set', (_, text, says) => {
    expect(() => parseJwks(text)).toThrow(says);
    expect(() => parseJwks(text)).not.toThrow('hunter2');
  });
});
