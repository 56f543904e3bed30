import { describe, expect, it } from 'vitest';
import { MAX_TOKEN_BYTES, tokenDigest } from '../../../src/model/token.ts';
import { parseJwks } from '../../../src/tokens/parse-jwks.ts';
import { TokenVerifier, type KeySource, type VerifierOptions } from '../../../src/tokens/token-verifier.ts';
import { REFUSED_FOR_MS, VerdictCache } from '../../../src/tokens/verdict-cache.ts';
import { VerificationGate } from '../../../src/tokens/verification-gate.ts';
import type { KeySet } from '../../../src/tokens/verify-jwt.ts';
import { AUDIENCE, ISSUER, jwksOf, makeKey, serviceAccountClaims, signToken, type TestKey } from '../../support/tokens.ts';

const key = makeKey('ES256', 'one');
const other = makeKey('ES256', 'two');
const web = { ok: true, identity: { namespace: 'shop', serviceAccount: 'web' } };

/** Keys that the test changes; `onRefresh` is what a reading on demand finds. */
class TestKeys implements KeySource {
  keys: KeySet | undefined;
  trouble: string | undefined;
  refreshes = 0;
  onRefresh = (): void => {};
  readonly #changed: (() => void)[] = [];

  constructor(...keys: readonly TestKey[]) {
    if (keys.length > 0) this.set(...keys);
  }

  set(...keys: readonly TestKey[]): void {
    this.keys = { keys: parseJwks(jwksOf(...keys)).keys, issuers: [ISSUER], audiences: [AUDIENCE] };
    for (const one of this.#changed) one();
  }

  async refresh(): Promise<void> {
    this.refreshes++;
    this.onRefresh();
  }

  onChange(changed: () => void): void {
    this.#changed.push(changed);
  }
}

function world(keys: TestKeys | undefined, options: Partial<VerifierOptions> = {}) {
  const clock = { nowMs: Date.now() };
  const verifier = new TokenVerifier({ ...(keys === undefined ? {} : { keys }), now: () => clock.nowMs, ...options });
  let forgotten = 0;
  verifier.onChange(() => forgotten++);
  return { verifier, clock, forgotten: () => forgotten, token: (over = {}, by = key) => signToken(by, serviceAccountClaims('shop', 'web', over, clock.nowMs)) };
}

const code = (text: string, serviceAccount = 'web') => ({ digest: tokenDigest(text), namespace: 'shop', serviceAccount });

describe('codes', () => {
  it('name their account from when they are set until they are taken back', async () => {
    const { verifier, forgotten } = world(undefined);
    const text = 'a-code-of-32-characters-or-more-x';
    expect(await verifier.verify(text)).toMatchObject({ ok: false });
    verifier.setCodes([code(text)]);
    expect(await verifier.verify(text)).toEqual(web);
    expect(await verifier.verify(`${text}x`)).toMatchObject({ ok: false });
    verifier.setCodes([code(text)]);
    expect(forgotten()).toBe(1);
    verifier.setCodes([code(text, 'admin')]);
    expect(await verifier.verify(text)).toMatchObject({ identity: { serviceAccount: 'admin' } });
    verifier.setCodes([]);
    expect(await verifier.verify(text)).toMatchObject({ ok: false });
    expect(forgotten()).toBe(3);
  });

  it.each([2, 3])('stand for nobody when %i accounts have the same', async (accounts) => {
    const { verifier } = world(undefined);
    verifier.setCodes(Array.from({ length: accounts }, (_, i) => code('the-same-code-for-all-of-us', `sa-${i % 2}`)));
    expect(await verifier.verify('the-same-code-for-all-of-us')).toMatchObject({ ok: false });
  });
});

describe('keys', () => {
  it('without any, every JWT is refused', async () => {
    const { verifier, token } = world(undefined);
    expect(await verifier.verify(token())).toMatchObject({ ok: false, why: expect.stringContaining('no keys') as string });
    const unread = world(new TestKeys());
    expect(await unread.verifier.verify(unread.token())).toMatchObject({ ok: false, why: expect.stringContaining('could not be read') as string });
  });

  it('are read once more for a kid that is not there, and the token counts then', async () => {
    const keys = new TestKeys(key);
    const { verifier, token } = world(keys);
    keys.onRefresh = () => keys.set(key, other);
    expect(await verifier.verify(token({}, other))).toMatchObject(web);
    expect(keys.refreshes).toBe(1);
  });

  it('that are taken away take their verdicts along at once', async () => {
    const keys = new TestKeys(key);
    const { verifier, token, forgotten } = world(keys);
    const known = token();
    expect(await verifier.verify(known)).toMatchObject(web);
    keys.set(other);
    expect(forgotten()).toBe(1);
    expect(await verifier.verify(known)).toMatchObject({ ok: false });
  });

  it('that change while a signature is checked decide, not the earlier ones', async () => {
    const keys = new TestKeys(key);
    const { verifier, token } = world(keys);
    const verdict = verifier.verify(token());
    keys.set(other);
    expect(await verdict).toMatchObject({ ok: false });
  });
});

describe('verdicts', () => {
  it('are kept until the token ends, and no longer', async () => {
    const keys = new TestKeys(key);
    const { verifier, clock, token } = world(keys, { limits: { atOnce: 1, waiting: 0, perSecond: 1 } });
    const mine = token({ exp: Math.floor(clock.nowMs / 1000) + 10 });
    expect(await verifier.verify(mine)).toMatchObject(web);
    // The gate is shut for this second: only what is remembered passes.
    expect(await verifier.verify(token())).toMatchObject({ ok: false, why: expect.stringContaining('too many') as string });
    expect(await verifier.verify(mine)).toMatchObject(web);
    clock.nowMs += 10_000;
    expect(await verifier.verify(mine)).toMatchObject({ ok: false, why: 'it has expired' });
    expect(verifier.counts).toEqual({ accepted: 2, refused: 2, overload: 1 });
  });

  it('of refused tokens are kept for some seconds', async () => {
    const { verifier, clock, token } = world(new TestKeys(key), { limits: { atOnce: 1, waiting: 0, perSecond: 1 } });
    const bad = token({ aud: 'other' });
    const early = token({ nbf: Math.floor(clock.nowMs / 1000) + 33 });
    expect(await verifier.verify(bad)).toMatchObject({ why: 'it is for another audience' });
    expect(await verifier.verify(bad)).toMatchObject({ why: 'it is for another audience' });
    clock.nowMs += 1_000;
    expect(await verifier.verify(early)).toMatchObject({ ok: false });
    clock.nowMs += REFUSED_FOR_MS;
    expect(await verifier.verify(early)).toMatchObject(web);
  });

  it('are made once for all that ask at the same time', async () => {
    const { verifier, token } = world(new TestKeys(key), { limits: { atOnce: 1, waiting: 0, perSecond: 1 } });
    const mine = token();
    const verdicts = await Promise.all(Array.from({ length: 100 }, () => verifier.verify(mine)));
    expect(verdicts.every(({ ok }) => ok)).toBe(true);
  });

  it('of forged tokens push out no good one', () => {
    const cache = new VerdictCache(10);
    cache.add('good', { ok: true, identity: web.identity }, 0);
    for (let i = 0; i < 100; i++) cache.add(`bad-${i}`, { ok: false, why: 'x' }, 0);
    expect(cache.get('good', 1)).toMatchObject({ ok: true });
    expect(cache.size).toBe(11);
    for (let i = 0; i < 100; i++) cache.add(`good-${i}`, { ok: true, identity: web.identity }, 0);
    expect([cache.get('good', 1), cache.size]).toEqual([undefined, 20]);
  });

  it.each([
    ['nothing', ''],
    ['a blank', 'a b'],
    ['a line end', 'abc\ndef'],
    ['more than ASCII', 'caf\u00e9-caf\u00e9-caf\u00e9'],
    ['8 KB and a byte', 'x'.repeat(MAX_TOKEN_BYTES + 1)],
    ['1 MB', 'x.'.repeat(500_000)],
    ['dots', '..'],
  ])('%s is no token', async (_, text) => {
    const { verifier } = world(new TestKeys(key));
    verifier.setCodes([code(text)]);
    if (text === '..') verifier.setCodes([]);
    expect(await verifier.verify(text)).toMatchObject({ ok: false });
  });

  it('8 KB may be a token', async () => {
    const { verifier, token } = world(new TestKeys(key));
    const long = token({ pad: 'x'.repeat(5_500) });
    expect(long.length).toBeGreaterThan(7_500);
    expect(await verifier.verify(long)).toMatchObject(web);
  });
});

it('the gate runs so many at a time, lets few wait, and opens anew each second', async () => {
  const gate = new VerificationGate({ atOnce: 2, waiting: 3, perSecond: 7 });
  const finish: (() => void)[] = [];
  let running = 0;
  let most = 0;
  const work = async (): Promise<string> => {
    most = Math.max(most, ++running);
    await new Promise<void>((resolve) => finish.push(resolve));
    running--;
    return 'done';
  };
  const asked = Array.from({ length: 8 }, () => gate.run(work, 0));
  expect(await Promise.all(asked.slice(5))).toEqual([undefined, undefined, undefined]);
  for (let i = 0; i < 20; i++) {
    finish.shift()?.();
    await new Promise(setImmediate);
  }
  expect(await Promise.all(asked.slice(0, 5))).toEqual(Array.from({ length: 5 }, () => 'done'));
  expect(most).toBe(2);
  expect(await Promise.all([gate.run(async () => 1, 999), gate.run(async () => 1, 999), gate.run(async () => 1, 999), gate.run(async () => 1, 1000)])).toEqual([1, 1, undefined, 1]);
});
