import { describe, expect, it } from 'vitest';
import { TokenEntries, tokenValue } from '../../../src/haproxy/token-entries.ts';

const digest = (char: string): string => char.repeat(64);
const web = { namespace: 'shop', serviceAccount: 'web' };

describe('verified tokens', () => {
  it.each([
    [{ ...web, expiresAtMs: 1_000 }, 'shop/web@1000'],
    [web, 'shop/web@0'],
    [{ ...web, serviceAccount: 'a.b' }, 'shop/a.b@0'],
    [{ ...web, namespace: 'shop web' }, undefined],
    [{ ...web, serviceAccount: 'web\nadd map' }, undefined],
    [{ ...web, serviceAccount: 'a/b' }, undefined],
    [{ ...web, serviceAccount: '' }, undefined],
    [{ ...web, expiresAtMs: Number.NaN }, undefined],
    [{ ...web, expiresAtMs: 0 }, undefined],
    [{ ...web, expiresAtMs: 1.5 }, undefined],
  ])('%o -> %s', (identity, value) => {
    expect(tokenValue(identity)).toBe(value);
    expect(new TokenEntries(10).add(digest('a'), identity)?.value).toBe(value);
  });

  it('the eldest go for new ones; one that comes again is young again', () => {
    const entries = new TokenEntries(2);
    expect(entries.add(digest('a'), web)).toMatchObject({ again: false, evicted: [] });
    expect(entries.add(digest('b'), web)).toMatchObject({ again: false, evicted: [] });
    expect(entries.add(digest('a'), web)).toMatchObject({ again: true, evicted: [] });
    expect(entries.add(digest('c'), web)).toMatchObject({ again: false, evicted: [digest('b')] });
    expect(entries.size).toBe(2);
  });

  it('forgets those whose time is over', () => {
    const entries = new TokenEntries(10);
    entries.add(digest('a'), { ...web, expiresAtMs: 1_000 });
    entries.add(digest('b'), { ...web, expiresAtMs: 1_001 });
    entries.add(digest('c'), web);
    expect(entries.prune(999)).toEqual([]);
    expect(entries.prune(1_000)).toEqual([digest('a')]);
    expect(entries.render()).toBe(`${digest('b')} shop/web@1001\n${digest('c')} shop/web@0\n`);
  });

  it('takes over what has an end and is whole, at most its bound', () => {
    const entries = new TokenEntries(2);
    const lines = [
      `${digest('a')} shop/web@2000`,
      `${digest('b')} shop/web@1000`,
      `${digest('c')} shop/web@0`,
      `${digest('G')} shop/web@2000`,
      `${digest('d')} shop/web@2000 more`,
      `${digest('e')} shop@2000`,
      'x',
      `${digest('f')} other/web@3000`,
      `${digest('1')} other/web@3000`,
    ];
    entries.load(lines.join('\n'), 1_000);
    expect(entries.render()).toBe(`${digest('a')} shop/web@2000\n${digest('f')} other/web@3000\n`);
  });
});
