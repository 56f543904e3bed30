import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseJwks } from '../../src/tokens/parse-jwks.ts';
import { TokenVerifier, type KeySource } from '../../src/tokens/token-verifier.ts';
import { AUDIENCE, ISSUER, jwksOf, makeKey, serviceAccountClaims, signToken } from '../support/tokens.ts';

const key = makeKey('ES256', 'k');
const keys: KeySource = { keys: { keys: parseJwks(jwksOf(key)).keys, issuers: [ISSUER], audiences: [AUDIENCE] }, trouble: undefined, refresh: async () => {}, onChange: () => {} };
const open = { atOnce: 4, waiting: 256, perSecond: 1e9 };
const good = signToken(key, serviceAccountClaims('shop', 'web'));
const parts = good.split('.');
const encoded = fc.oneof(fc.json(), fc.string()).map((text) => Buffer.from(text).toString('base64url'));

/** Bytes, texts, JWT-like texts, and a good token with something changed. */
const token = fc.oneof(
  fc.uint8Array({ maxLength: 9_000 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  fc.string({ unit: 'binary' }),
  fc.tuple(encoded, encoded, encoded).map((all) => all.join('.')),
  fc.tuple(encoded, fc.constantFrom(0, 1, 2)).map(([one, at]) => parts.with(at, one).join('.')),
  fc.tuple(fc.integer({ min: 0, max: good.length - 1 }), fc.constantFrom('A', '.', '=', '\0', ' ')).map(([at, char]) => good.slice(0, at) + char + good.slice(at + 1)),
);

it('whatever a caller sends, the verifier answers, and believes only what was signed', async () => {
  const verifier = new TokenVerifier({ keys, now: Date.now, limits: open });
  expect(await verifier.verify(good)).toMatchObject({ ok: true });
  await fc.assert(
    fc.asyncProperty(token, async (text) => {
      const verdict = await verifier.verify(text);
      // A changed last character may leave the very same signature: its lowest bits are padding (RFC 4648 section 3.5).
      expect(verdict.ok && text.slice(0, -1) !== good.slice(0, -1)).toBe(false);
      expect(verdict.ok ? 'believed' : verdict.why).toMatch(/^[\x20-\x7e]{5,120}$/);
    }),
    { numRuns: 2_000 },
  );
});

it('whatever stands in a key file, it is keys or an error of one line', () => {
  const member = fc.constantFrom('kty', 'kid', 'alg', 'use', 'key_ops', 'n', 'e', 'crv', 'x', 'y', 'd', '__proto__');
  const jwk = fc.dictionary(member, fc.oneof(fc.jsonValue(), fc.constantFrom('RSA', 'EC', 'P-256', 'AQAB', 'sig')));
  const text = fc.oneof(fc.string(), fc.json(), fc.array(fc.oneof(jwk, fc.jsonValue(), fc.constant(key.jwk)), { maxLength: 5 }).map((all) => JSON.stringify({ keys: all })));
  fc.assert(
    fc.property(text, (one) => {
      for (const line of linesOf(one)) expect(line).toMatch(/^[\x20-\x7e]{5,300}$/);
    }),
  );
});

/** What is said of a key file: what is left out and that keys are there, or why it is none. */
function linesOf(text: string): readonly string[] {
  try {
    const { keys: parsed, leftOut } = parseJwks(text);
    return [...leftOut, parsed.length > 0 ? 'keys are there' : ''];
  } catch (error) {
    return [(error as Error).message];
  }
}
