import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileRegex } from '../../src/embedded/compile-regex.ts';

/**
 * The oracle is PCRE2 itself (`grep -P`, bytes in the C locale as HAProxy compiles them): the numbers of the values (one per line) that
 * the pattern is found in. Undefined: PCRE2 refuses the pattern.
 */
function pcreMatches(folder: string, pattern: string, values: readonly string[]): Set<number> | undefined {
  const patternFile = join(folder, 'pattern');
  writeFileSync(patternFile, `${pattern}\n`, 'latin1');
  const grep = spawnSync('grep', ['-anP', '-f', patternFile], {
    input: Buffer.from(values.map((value) => `${value}\n`).join(''), 'latin1'),
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (grep.status === 2) return undefined;
  const lines = grep.stdout.toString('latin1').split('\n').filter((line) => line !== '');
  return new Set(lines.map((line) => Number(line.split(':', 1)[0]) - 1));
}

/** How many pairs of pattern and value were compared; every difference is a failed expectation. */
function compare(patterns: readonly string[], values: readonly string[]): number {
  const folder = mkdtempSync(join(tmpdir(), 'onehop-regex-'));
  let compared = 0;
  try {
    for (const pattern of patterns) {
      const compiled = compileRegex(pattern);
      if ('unsupported' in compiled) continue;
      const expected = pcreMatches(folder, pattern, values);
      expect(expected, `PCRE2 refuses ${pattern}, which is accepted here`).toBeDefined();
      values.forEach((value, index) => {
        expect(compiled.test(value), `/${pattern}/ on ${JSON.stringify(value)}`).toBe(expected?.has(index));
        compared++;
      });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return compared;
}

const TABLE_PATTERNS = [
  '^b', 'b$', '^$', '^a*$', '(?i)beta', '(?i)[^b-d]', '(?i)[[:upper:]]{3}', '(?i)^[[:^lower:]]+$', '[[:upper:]]', '[^[:upper:]]', String.raw`\bv2\b`, String.raw`\Bv`,
  String.raw`^v\d+(\.\d+)*$`, String.raw`\x41`, String.raw`[\x61-\x63]`, '[]a]', '[^]a]', '[a-]$', '[-a]', String.raw`[\]\\]`, 'a{2}', 'a{2,}', 'a{0}b', 'a{1,2}$', 'a{0,0}',
  '(|a)+b', '(a*)*b', '(a|b|)c', '()', '|x', 'x|', '(?:a|ab)(?:c|bcd)', 'a+?b', 'a??b', '(?:^a|b$)', String.raw`\A1|2\z`, String.raw`\s\S`, String.raw`[\s\w]$`,
  String.raw`\W`, String.raw`^\D+$`, '.', '^.{3}$', String.raw`\.`, String.raw`\/`, String.raw`\-`, '[.]', '[:]', '[:a]', '[:a:x]', String.raw`[:\\]:]`, '[$]', '[(]', 'a]', 'a}', String.raw`\{`, '[[a]', '(a+)+$', '[^a]', String.raw`[\d.]+`, String.raw`\t`,
  String.raw`[\b]`, String.raw`\xc3\xa9`, String.raw`[\x80-\xff]`, '(?i)[w-y_]', '^[0-9a-f]{8}-[0-9a-f]{4}$', String.raw`\e|\a|\f`, '[[:punct:]]', '[[:space:][:digit:]]', '[[:word:]]$', '[[:print:]]', '[[:cntrl:]]', '[[:graph:]]', '[[:blank:]]', '[[:xdigit:]]',
];
const TABLE_VALUES = [
  '', 'a', 'b', 'A', 'beta', 'BETA', 'xBeTax', 'v2', 'xv2', 'v2x', 'a v2 b', 'v1.2.3', 'v1.', 'ABC', 'abc', 'aab', 'aaa', 'ab', 'abcd', 'c', '12', '1', '2', 'foo bar', 'x\ty', 'a-b', ']', '[', '\\', '{', '}', '$', '(',
  '.', '/', 'a]', 'a}', '\xe9', '\xc3\xa9', '\xc9', '\xb5', '\xff', '\xa0', '\x0b', '\b', '\x1b', '\x7f', '_', '-', 'deadbeef-0123', 'x y', ' ', '0', 'aaaaaaaa!', 'a,b', 'a\rb', '\x85',
];

const piece = fc.constantFrom(
  'a', 'b', 'c', 'A', '_', '-', '1', '.', '^', '$', '|', '(', ')', '(?:', '[ab]', '[^a]', '[a-c]', '[^b1-]', '[[:alpha:]]', '[[:^digit:]]', '*', '+', '?', '{2}', '{0,2}', '{1,}', '*?', '+?',
  String.raw`\b`, String.raw`\B`, String.raw`\d`, String.raw`\w`, String.raw`\W`, String.raw`\s`, String.raw`\x41`, String.raw`\xe9`, String.raw`\.`, 'ab', '(a|b)', '(?:a|)', '(b*)*', '(?:c+)+',
);
const randomPattern = fc.tuple(fc.boolean(), fc.array(piece, { minLength: 1, maxLength: 8 })).map(([fold, pieces]) => (fold ? '(?i)' : '') + pieces.join(''));
/** Any text at all: whatever is accepted here must be accepted by PCRE2 too, and mean the same. */
const anyPattern = fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom(...String.raw`ab01^$.|()[]{}*+?,:-\=!<>xdwsbBQEhRKGiPN`.split('')) });
const randomValue = fc.string({ maxLength: 8, unit: fc.constantFrom('a', 'b', 'c', 'A', 'B', 'C', '_', '-', '1', ' ', '\t', '.', 'é', '\xc9', '\xb5') });

describe('regexes against PCRE2', () => {
  it('agrees on a table of patterns and values', () => {
    expect(compare(TABLE_PATTERNS, TABLE_VALUES)).toBe(TABLE_PATTERNS.length * TABLE_VALUES.length);
  });

  it('agrees on generated patterns and values', () => {
    const patterns = fc.sample(randomPattern, 250).concat(fc.sample(anyPattern, 400));
    expect(compare(patterns, fc.sample(randomValue, 40))).toBeGreaterThan(4_000);
  }, 60_000);
});
