import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineSplitter } from '../../../src/kube/line-splitter.ts';

const split = (chunks: readonly string[], maxBytes: number): (string | undefined)[] => {
  const splitter = new LineSplitter(maxBytes);
  return chunks.flatMap((chunk) => [...splitter.push(Buffer.from(chunk))]);
};

test.each([
  ['several lines in one chunk', ['a\nb\nc\n'], ['a', 'b', 'c']],
  ['a line over several chunks', ['a', 'b', 'c\nd', '\n'], ['abc', 'd']],
  ['empty lines are left out', ['\n\na\n\n'], ['a']],
  ['what does not end is not told', ['a\nbcd'], ['a']],
  ['a line that is too long is told once, as soon as it is', ['12345', '6', '7\nab\n'], [undefined, 'ab']],
  ['a line of the very limit fits', ['12345\n'], ['12345']],
] as const)('%s', (_, chunks, lines) => {
  expect(split(chunks, 5)).toEqual(lines);
});

test('the cuts between chunks change nothing, not even inside a character', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\n', ''))), fc.array(fc.nat(400)), (lines, cuts) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
      const at = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
      const splitter = new LineSplitter(1_000);
      const got = at.slice(1).flatMap((end, i) => [...splitter.push(bytes.subarray(at[i], end))]);
      expect(got).toEqual(lines.filter((line) => line !== '').map((line) => Buffer.from(line).toString()));
    }),
  );
});
