import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRegex } from '../../../src/embedded/parse-regex.ts';
import { countTreeSteps, isTriedOnce, type StepWeights } from '../../../src/model/count-regex-steps.ts';
import { isWithinReach, regexReach } from '../../../src/model/regex-reach.ts';
import { maskOf, parseRegexTree, type RegexTree } from '../../../src/model/regex-tree.ts';
import type { Version } from '../../../src/model/route-table.ts';
import { aVersion } from '../../support/route-tables.ts';

const versions = (...patterns: readonly string[]): readonly Version[] => patterns.map((match) => aVersion('v', [], { match }));

describe('how long a value may be', () => {
  test.each(['^v2$', '^(?:alice|bob)$', '(?i)^testers$', '^canary', '^user=[a-z]{1,30}$'])('any for %s', (pattern) => {
    expect(regexReach(versions(pattern, '^b'))).toBeUndefined();
    expect(isWithinReach(versions(pattern, '^b'), 16_000)).toBe(true);
  });

  test.each(['^x{100}.*end$', '.*Chrome.*', '(?i)^(?:Mozilla|Opera).*(iPhone|Android).*$', '^(?=.*beta)(?!.*eu).*$', '^v[0-9]+\\.[0-9]+\\.[0-9]+$', '.*@example\\.com', '^user-[0-9]+(?:;.*)?$'])(
    'more than 4 KB where it is tried at the first position alone: %s',
    (pattern) => expect(regexReach(versions(pattern)) ?? Infinity).toBeGreaterThan(4096),
  );

  test.each(['(^|;\\s*)canary=true(;|$)', '(?:^|;\\s*)canary=on', 'canary=(?:on|1)', '[ab]c', '@example\\.com$', '^$|(?i)canary', '(?i)firefox/1[0-9]{2}', 'user-[0-9]+', 'user-[0-9]+x', '\\b[a-z]+@[a-z]+\\.com', '(?:[0-9]{1,3}\\.){3}[0-9]{1,3}', '(?:one|two|three)-[a-z]*;', 'é+a'])(
    'more than 2 KB where what begins at different positions goes apart: %s',
    (pattern) => expect(regexReach(versions(pattern)) ?? Infinity).toBeGreaterThan(2000),
  );

  test.each(['u[^;]*c', '[[:alpha:]]+x', '[]a]+x', '[a-z]+@[a-z]+\\.com', '(?=.*beta).*', '.*foo.*bar.*', '\\B[a-z]+-', '[0-9]+$'])('some hundred bytes where it begins anywhere, or two loops follow each other: %s', (pattern) => {
    expect(regexReach(versions(pattern))).toBeGreaterThan(100);
    expect(regexReach(versions(pattern))).toBeLessThan(400);
  });

  test('no more repetitions of groups than PCRE has a stack for', () => {
    expect(['^(a|b)*c$', '^(?:[a-z]+,)*beta'].map((pattern) => regexReach(versions(pattern)))).toEqual([800, 1601]);
  });

  test.each(['(a+)+$', '(?:a|a){11}[b-c]', 'a{0,60}a{0,60}[bc]', '(.*a){20}[^a]$', '(?=(a+)+b)', '(?>a+)b', '(*UTF)a', '(a)\\1', '\\Qa+\\E', '(', 'a)', '(?#', 'x{2}{3}', `${'('.repeat(60)}a${')'.repeat(60)}`])(
    'the least for what backtracks without end, or cannot be judged: %s',
    (pattern) => {
      expect(regexReach(versions(pattern))).toBe(64);
      expect([64, 65].map((length) => isWithinReach(versions(pattern), length))).toEqual([true, false]);
    },
  );

  test('all versions of a route share the steps, and the least', () => {
    const reach = (count: number): number | undefined => regexReach(versions(...Array.from({ length: count }, () => '[ab]c')));
    expect(reach(16)).toBeLessThan((reach(2) ?? Infinity) / 7);
    const worst = (count: number): number | undefined => regexReach(versions(...Array.from({ length: count }, () => '(a+)+$')));
    expect([1, 2, 3, 4, 8, 16].map(worst)).toEqual([64, 64, 42, 32, 16, 16]);
  });

  test('versions without a regex do not count', () => {
    expect(regexReach([aVersion('a', []), aVersion('b', [], { match: '' }), ...versions('^v1')])).toBeUndefined();
  });

  test('within reach and the reach are one', () => {
    const several = versions('u[^;]*c', 'canary');
    const reach = regexReach(several) ?? 0;
    expect([reach, reach + 1].map((length) => isWithinReach(several, length))).toEqual([true, false]);
  });
});

/** Some patterns have no end: the search is given up here. */
const ENOUGH = 20_000;
/** Bytes and assertions that are looked at, and nothing else. */
const LOOKED_AT: StepWeights = { class: 1, literal: 1, boundary: 1, choice: 0, repeat: 0, start: 0, literalStart: 0, search: 0 };

/**
 * Steps of a plain backtracking matcher until it has a match or has tried everything. Of PCRE's optimisations it has one, that a pattern
 * which begins with `.*` or `^` is tried at the first position alone (pcre2perform; pcre2_compile.c, is_anchored and is_startline).
 * Behind a look-ahead it goes on whatever that one says: it may be positive or negative.
 */
function backtrack(tree: RegexTree, value: string): number {
  let steps = 0;
  const isWord = (at: number): boolean => /\w/.test(value.charAt(at));
  const run = (at: RegexTree, from: number, go: (to: number) => boolean): boolean => {
    if (steps > ENOUGH) return true;
    switch (at.kind) {
      case 'byte':
        steps++;
        return from < value.length && ((at.mask >> BigInt(value.charCodeAt(from))) & 1n) === 1n && go(from + 1);
      case 'assert':
        steps++;
        if (at.assertion === 'caret' || at.assertion === 'start') return from === 0 && go(from);
        if (at.assertion === 'end') return from === value.length && go(from);
        return (isWord(from - 1) === isWord(from)) === (at.assertion === 'other') && go(from);
      case 'look':
        run(at.part, from, () => true);
        return go(from);
      case 'sequence': {
        const next = (index: number, position: number): boolean => {
          const part = at.parts[index];
          return part === undefined ? go(position) : run(part, position, (to) => next(index + 1, to));
        };
        return next(0, from);
      }
      case 'choice':
        return at.options.some((option) => run(option, from, go));
      case 'repeat': {
        const again = (count: number, position: number): boolean =>
          (count < at.max && run(at.part, position, (to) => (to > position || count < at.min) && again(count + 1, to))) || (count >= at.min && go(position));
        return again(0, from);
      }
    }
  };
  const last = isTriedOnce(tree) ? 0 : value.length;
  for (let from = 0; from <= last && !run(tree, from, () => true); from++);
  return steps;
}

const treeOf = (pattern: string): RegexTree => {
  const tree = parseRegexTree(pattern);
  if (tree === undefined) throw new Error(`cannot be judged: ${pattern}`);
  return tree;
};

/** Patterns of few bytes, so that parts meet, overlap and exclude each other by chance. */
const aPattern = fc.letrec<{ pattern: string; item: string }>((tie) => {
  const atom = fc.constantFrom('a', 'b', ';', '.', '[ab]', '[^b]', '\\w', 'ab', 'ba;', '[^;]', '[;a]');
  const quantifier = fc.constantFrom('', '', '', '', '*', '+', '?', '{2}', '{0,3}', '{1,}', '{2,4}', '*?');
  const bare = fc.constantFrom('.*', '^', '$', '\\b', '\\B', '(?=.*a)', '(?!b*;)', '(^|;b*)', '(;|$)', '(?:ab|b)', '(?:;a+)*', '\\A', '\\b[;a]+', '(?=[ab]*)');
  return {
    item: fc.oneof({ maxDepth: 2 }, fc.tuple(atom, quantifier).map((parts) => parts.join('')), bare, fc.tuple(tie('pattern'), quantifier).map(([inner, times]) => `(${inner})${times}`)),
    pattern: fc.oneof({ maxDepth: 2 }, fc.array(tie('item'), { minLength: 1, maxLength: 5 }).map((items) => items.join('')), fc.tuple(tie('item'), tie('item')).map((options) => options.join('|'))),
  };
}).pattern;

/** Rows of the same few bytes are where backtracking is longest. */
const aValue = fc
  .tuple(fc.stringMatching(/^[ab;]{0,3}$/), fc.stringMatching(/^[ab;]{1,4}$/), fc.integer({ min: 0, max: 12 }), fc.stringMatching(/^[ab;]{0,3}$/))
  .map(([head, row, times, end]) => `${head}${row.repeat(times)}${end}`);

test('no backtracking matcher takes more steps than are counted', () => {
  fc.assert(
    // With an end that no value has, everything is tried; without it, the first match ends the search.
    fc.property(aPattern, fc.constantFrom('', '^', '.*'), fc.constantFrom('', 'x', '[xy]'), aValue, (body, begin, end, value) => {
      const tree = treeOf(begin === '' ? `${body}${end}` : `${begin}(${body})${end}`);
      expect(Math.min(ENOUGH, backtrack(tree, value))).toBeLessThanOrEqual(countTreeSteps(tree, value.length, LOOKED_AT));
    }),
    { numRuns: 6000 },
  );
}, 120_000);

/** Where a rule may seem to hold and does not, or holds just so. */
test.each([
  ['\\b[a;]+x', 'a;'], ['\\B[ab]+x', 'a'], ['(?=[ab]*)x', 'ab'], ['(?![^;]*x)x', 'a'], ['^a.*b.*x', 'ab'], ['.*aba.*x', 'ab'], ['(^|;\\s*)ax', '; '], ['(^|a|;\\s*)[a;]*x', 'a;'],
  ['[ab]+;?[ab]+x', 'ab'], [';a*b*a*x', ';aba'], ['(?:a|b)+x', 'ab'], ['(?:[ab]*;a)*x', 'ab;a'], ['aa[ab]*x', 'a'], ['(?:a?){3}a{3}x', 'a'], ['^(?:a+;)*x', 'aa;'], ['(?i)A[a-z]*\\x41x', 'a'],
] as const)('%s on a row of %s', (pattern, row) => {
  for (let times = 1; times <= 12; times++) {
    const value = row.repeat(times);
    expect(Math.min(ENOUGH, backtrack(treeOf(pattern), value))).toBeLessThanOrEqual(countTreeSteps(treeOf(pattern), value.length, LOOKED_AT));
  }
});

test('a class is taken for no less than it is', () => {
  const member = fc.constantFrom('a', 'z', '0', 'a-f', '\\d', '\\W', '\\s', '\\x41', '\\]', '\\-', '[:alpha:]', '.', '$', '\\n', '=');
  fc.assert(
    fc.property(fc.constantFrom('', '(?i)'), fc.constantFrom('', '^'), fc.array(member, { minLength: 1, maxLength: 4 }), (flag, negated, members) => {
      const pattern = `${flag}[${negated}${members.join('')}]`;
      // POSIX collating elements, which PCRE2 refuses.
      fc.pre(!/\[([.=]).*\1\]$/.test(pattern));
      const exact = parseRegex(pattern);
      const [bytes] = exact.kind === 'sequence' ? exact.parts : [];
      const tree = treeOf(pattern);
      const [part] = tree.kind === 'sequence' ? tree.parts : [];
      expect(bytes?.kind === 'bytes' && part?.kind === 'byte' ? part.mask : undefined).toBe(bytes?.kind === 'bytes' ? maskOf(bytes.set) : undefined);
      expect(part?.kind).toBe('byte');
    }),
  );
});

test.each([
  ['.*a', true], ['^a', true], ['\\Aa', true], ['(?:.*a|^b)', true], ['(.*?a)b', true], ['.{0,}a', true],
  ['.*a|b', false], ['.+a', false], ['\\Aa|.*b', false], ['(.*a)?b', false], ['(?=.*a)b', false], ['[^\\n]*a', false], ['a|', false],
])('%s is tried at the first position alone: %s', (pattern, once) => {
  expect(isTriedOnce(treeOf(pattern))).toBe(once);
});
