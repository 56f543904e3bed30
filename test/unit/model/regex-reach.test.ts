import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRegex, type RegexNode } from '../../../src/embedded/parse-regex.ts';
import { countSteps, isWithinReach, regexReach } from '../../../src/model/regex-reach.ts';
import type { Version } from '../../../src/model/route-table.ts';
import { aVersion } from '../../support/route-tables.ts';

const versions = (...patterns: readonly string[]): readonly Version[] => patterns.map((match) => aVersion('v', [], { match }));

describe('how long a value may be', () => {
  test.each(['^v2$', '^(?:alice|bob)$', '^x{100}.*end$', '(?i)^testers$', '^canary'])('any for %s', (pattern) => {
    expect(regexReach(versions(pattern, '^b'))).toBeUndefined();
    expect(isWithinReach(versions(pattern, '^b'), 16_000)).toBe(true);
  });

  test.each(['canary=(?:on|1)', '[ab]c', '@example\\.com$', '(?i)firefox/1[0-9]{2}', '.*@example\\.com'])('more than 4 KB for %s', (pattern) => {
    expect(regexReach(versions(pattern)) ?? Infinity).toBeGreaterThan(4096);
  });

  test.each(['u[^;]*c', '(?:^|;\\s*)canary=on', '[[:alpha:]]+x', '[]a]+x'])('some hundred bytes where a loop begins anywhere: %s', (pattern) => {
    expect(regexReach(versions(pattern))).toBeGreaterThan(100);
    expect(regexReach(versions(pattern))).toBeLessThan(400);
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

/** Steps of a plain backtracking matcher that never finds the end it wants: every character that it looks at, from every position. */
function backtrack(node: RegexNode, value: string): number {
  let steps = 0;
  const run = (at: RegexNode, from: number, go: (to: number) => void): void => {
    if (steps > ENOUGH) return;
    switch (at.kind) {
      case 'bytes':
        steps++;
        if (from < value.length && at.set[value.charCodeAt(from)] === 1) go(from + 1);
        return;
      case 'assert':
        if (at.assertion === 'start' ? from === 0 : at.assertion === 'end' ? from === value.length : true) go(from);
        return;
      case 'sequence': {
        const next = (index: number, position: number): void => {
          const part = at.parts[index];
          if (part === undefined) go(position);
          else run(part, position, (to) => next(index + 1, to));
        };
        next(0, from);
        return;
      }
      case 'choice':
        for (const option of at.options) run(option, from, go);
        return;
      case 'repeat': {
        const again = (count: number, position: number): void => {
          if (count < at.max) run(at.part, position, (to) => (to > position || count < at.min ? again(count + 1, to) : undefined));
          if (count >= at.min) go(position);
        };
        again(0, from);
      }
    }
  };
  for (let from = 0; from <= value.length; from++) run(node, from, () => {});
  return steps;
}

test('no backtracking matcher takes more steps than are counted', () => {
  const atom = fc.constantFrom('a', 'b', '.', '[ab]', '[^b]', '\\w');
  const quantifier = fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{0,3}', '{1,}', '*?');
  const { pattern } = fc.letrec<{ pattern: string; item: string }>((tie) => ({
    item: fc.oneof({ maxDepth: 2 }, fc.tuple(atom, quantifier).map((parts) => parts.join('')), fc.tuple(tie('pattern'), quantifier).map(([inner, times]) => `(${inner})${times}`)),
    pattern: fc.oneof({ maxDepth: 2 }, fc.array(tie('item'), { minLength: 1, maxLength: 3 }).map((items) => items.join('')), fc.tuple(tie('item'), tie('item')).map((options) => options.join('|'))),
  }));
  fc.assert(
    fc.property(pattern, fc.constantFrom('', '^'), fc.stringMatching(/^[ab]{0,6}$/), (body, anchor, value) => {
      const whole = anchor === '' ? body : `^(${body})`;
      // Literals count a quarter; a position where nothing can begin is looked at once in any case.
      expect(backtrack(parseRegex(whole), value)).toBeLessThanOrEqual(4 * countSteps(whole, value.length) + value.length + 1);
    }),
    { numRuns: 1500 },
  );
}, 60_000);
