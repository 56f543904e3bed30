import { describe, expect, it } from 'vitest';
import { StandInJudge, type Seen, type StandInTiming } from '../../../src/agent/judge-stand-in.ts';

const TIMING: StandInTiming = { goneMs: 3_000, fallingGoneMs: 1_000, steadyMs: 3_000, fallingSteadyMs: 60_000, falls: 3, fallsWithinMs: 60_000 };

/** Looks every 500 ms at what each letter says (`g`one, `s`erves, `-` silent); gives when it began (B) and ended (E), by index. HAProxy is brought in step at once. */
function judge(looks: string, inStep: (atMs: number) => number | undefined = (atMs) => atMs): string {
  const judging = new StandInJudge(TIMING);
  const seen: Readonly<Record<string, Seen>> = { g: 'gone', s: 'serves', '-': 'silent' };
  let standing = false;
  return looks.split('').flatMap((letter, i) => {
    const verdict = judging.see({ atMs: i * 500, seen: seen[letter] ?? 'silent', inStepAtMs: inStep(i * 500) }, standing);
    if (verdict === 'stay') return [];
    standing = verdict === 'begin';
    return [`${standing ? 'B' : 'E'}${i}`];
  }).join(' ');
}

describe('it begins', () => {
  it.each([
    ['never while HAProxy serves', 'ssssssssssssssssss', ''],
    ['not for a restart', 'sssgssssssgsssss', ''],
    ['not for one that takes 2.5 s', 'sssgggggsssss', ''],
    ['after 3 s without one', 'sssggggggggg', 'B9'],
    ['after 3 s when there never was one', 'gggggggg', 'B6'],
    ['not for one that hangs, which holds its ports', 'sss----------------', ''],
    ['anew after one that hung', 'sssggggg-gggggggg', 'B15'],
    ['after 1 s for one that fell three times within a minute', 'sgsgsggggg', 'B7'],
    ['after 3 s again when those falls are long ago', `sgsgsgs${'s'.repeat(120)}ggggggg`, 'B133'],
  ])('%s', (_what, looks, verdicts) => {
    expect(judge(looks)).toBe(verdicts);
  });
});

describe('it ends', () => {
  it.each([
    ['3 s after HAProxy is back', 'gggggggsssssssss', 'B6 E13'],
    ['not for one that is back for less', 'gggggggssssgssssssssss', 'B6 E18'],
    ['not for one that hangs', 'ggggggg------------', 'B6'],
  ])('%s', (_what, looks, verdicts) => {
    expect(judge(looks)).toBe(verdicts);
  });

  it('only after a minute for one that keeps falling, or when its falls are long ago', () => {
    // Three falls (at 0.5, 1.5 and 2.5 s), gone from 2.5 s on; back at 4 s.
    expect(judge(`sgsgsggg${'s'.repeat(100)}`)).toBe('B7');
    // The first fall is a minute old at 60.5 s: it is one like any other.
    expect(judge(`sgsgsggg${'s'.repeat(120)}`)).toBe('B7 E121');
  });

  it('only when HAProxy was brought in step since it is back', () => {
    expect(judge('gggggggsssssssssssss', () => undefined)).toBe('B6');
    expect(judge('gggggggsssssssssssss', () => 3_000)).toBe('B6');
    expect(judge('gggggggsssssssssssss', (atMs) => (atMs < 8_000 ? undefined : 7_900))).toBe('B6 E16');
  });
});

it('HAProxy is behind from the moment in which it is back until it was brought in step', () => {
  const judging = new StandInJudge(TIMING);
  judging.see({ atMs: 0, seen: 'gone', inStepAtMs: undefined }, true);
  expect(judging.isBehind(undefined)).toBe(false);
  judging.see({ atMs: 500, seen: 'serves', inStepAtMs: 400 }, true);
  expect([judging.isBehind(undefined), judging.isBehind(400), judging.isBehind(500)]).toEqual([true, true, false]);
});
