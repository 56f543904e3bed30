import { describe, expect, it } from 'vitest';
import { checkRegexes } from '../../../src/embedded/check-regexes.ts';
import { compileRegex } from '../../../src/embedded/compile-regex.ts';

describe('checkRegexes', () => {
  it.each([
    ['(?=a)', /only \(\?:/],
    ['(?!a)', /only \(\?:/],
    ['(?<=a)b', /only \(\?:/],
    ['(?>a)', /only \(\?:/],
    ['(?<name>a)', /only \(\?:/],
    ['(?x)a', /only \(\?:/],
    ['a(?i)b', /only \(\?:/],
    ['(?i:a)', /only \(\?:/],
    ['(?R)', /only \(\?:/],
    [String.raw`(a)\1`, String.raw`the escape \1`],
    [String.raw`\012`, String.raw`the escape \0`],
    [String.raw`\Qa\E`, String.raw`the escape \Q`],
    [String.raw`\p{L}`, String.raw`the escape \p`],
    [String.raw`\h`, String.raw`the escape \h`],
    [String.raw`\x4`, String.raw`the escape \x`],
    [String.raw`\x{41}`, String.raw`the escape \x`],
    ['a++', 'possessive'],
    ['a**', 'two quantifiers'],
    ['a{2}{3}', 'two quantifiers'],
    ['a{,3}', 'a { that is no quantifier'],
    ['a{3,2}', 'out of order'],
    ['^*', 'after an assertion'],
    ['*a', 'nothing to repeat'],
    ['(*LIMIT_MATCH=1)a', 'verbs'],
    ['[z-a]', 'out of order'],
    [String.raw`[\w-z]`, 'a - after a range or class'],
    ['[[:nope:]]', 'does not exist'],
    ['[[.a.]]', 'are not supported'],
    ['s[:Q:]$', 'outside of'],
    ['[=a=]', 'outside of'],
    [String.raw`[:a\]:]`, 'outside of'],
    ['a b', String.raw`write \x20`],
    ['é', 'printable ASCII'],
    ['a(', 'without its'],
    ['a)', 'without its'],
    ['[a', 'without its'],
    ['a\\', 'at the end'],
    [`${'('.repeat(60)}a${')'.repeat(60)}`, 'nested deeper'],
    ['(?:a{1,100}){1,100}', 'too large'],
  ])('%s is refused with its reason', async (pattern, reason) => {
    expect((await checkRegexes([pattern])).get(pattern)).toMatch(reason);
  });

  it('says which proxy refuses: what is no plain expression may be good PCRE', async () => {
    expect((await checkRegexes(['(?=a)'])).get('(?=a)')).toMatch(/^the embedded proxy .* HAProxy may take more: /);
  });

  it('is silent about patterns that are fine', async () => {
    expect(await checkRegexes(['^b', '(?i)beta|rc[0-9]{1,3}$', String.raw`^v\d+\.\d+`])).toEqual(new Map());
  });
});

describe('compileRegex', () => {
  it.each(['(a+)+$', '(?i)(A+)+$', '^(a|aa)+$', '(a|a|a)*b$', '(a*)*$', 'a[ab]{900}c', '(a?){200}a{200}$', '(.*)(.*)(.*)(.*)x$'])('%s takes bounded time on 8 KB', (pattern) => {
    const compiled = compileRegex(pattern);
    if ('unsupported' in compiled) throw new Error(compiled.unsupported);
    const begun = performance.now();
    for (const value of ['a'.repeat(8_192), `${'a'.repeat(8_192)}!`, 'ab'.repeat(4_096), 'aab'.repeat(2_730)]) compiled.test(value);
    // Measured 1 to 30 ms in all; a backtracking engine needs longer than this universe has.
    expect(performance.now() - begun).toBeLessThan(2_000);
  });

  it('gives the same answer when its cache of states has been emptied', () => {
    const compiled = compileRegex('^a[ab]{12}c$');
    if ('unsupported' in compiled) throw new Error(compiled.unsupported);
    for (let i = 0; i < 4_096; i++) {
      const middle = i.toString(2).padStart(12, '0').replaceAll('0', 'a').replaceAll('1', 'b');
      expect(compiled.test(`a${middle}c`)).toBe(true);
      expect(compiled.test(`a${middle}cc`)).toBe(false);
    }
  });
});
