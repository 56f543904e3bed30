import { countTreeSteps } from './count-regex-steps.ts';
import { parseRegexTree } from './regex-tree.ts';
import type { Version } from './route-table.ts';

/*
 * How long a header's value may be for the regexes of a route. PCRE's match limit alone bounds nothing: it counts anew at each position of
 * the value where a match may begin, and loops over single characters are not counted by its compiled code at all. Seen with HAProxy
 * (PCRE2 10.42, JIT): `(?:a|a){11}[b-c]` took 23 ms on 4,000 bytes under a limit of 5,000, and `a{0,60}a{0,60}[bc]` 6 ms under any limit.
 * What does bound the time of a backtracking matcher is the pattern together with the length of the value.
 */

/** Steps that all regexes of a route together may take on one value: some 25 us. */
const STEPS = 50_000;
/** No header is longer: HAProxy's buffer. */
const MOST_REACH = 16_384;

/** What the regexes are matched against whatever they are: so short a value is bounded well enough by the match limit. */
const leastReach = (patterns: readonly string[]): number => Math.max(16, Math.min(64, Math.floor(128 / patterns.length)));

const patternsOf = (versions: readonly Version[]): readonly string[] => versions.flatMap(({ match }) => (match === undefined || match === '' ? [] : [match]));

/** Bounds the memory of `known`. */
const MOST_KNOWN = 1000;
/** A route is rendered again and again, and the embedded proxy asks at each call. */
const known = new Map<string, number>();

/** Whether a value of that many bytes is matched against the regexes of these versions; a longer one matches none. */
export function isWithinReach(versions: readonly Version[], length: number): boolean {
  return length <= (regexReach(versions) ?? Infinity);
}

/** Longest value that is matched against the regexes of these versions; undefined: any. The fewer and the simpler, the longer. */
export function regexReach(versions: readonly Version[]): number | undefined {
  const patterns = patternsOf(versions);
  // No pattern holds a line break: it would end its line in HAProxy's map file.
  const key = patterns.join('\n');
  const reach = known.get(key) ?? searchReach(patterns);
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(key, reach);
  return reach >= MOST_REACH ? undefined : reach;
}

/** Whether the length alone bounds what their regexes may cost; else a match limit has to. */
export const isBoundByReach = (versions: readonly Version[]): boolean => (regexReach(versions) ?? Infinity) > leastReach(patternsOf(versions));

function searchReach(patterns: readonly string[]): number {
  const trees = patterns.map(parseRegexTree);
  const fits = (length: number): boolean => {
    let left = STEPS;
    return trees.every((tree) => (left -= tree === undefined ? Infinity : countTreeSteps(tree, length)) >= 0);
  };
  if (fits(MOST_REACH)) return MOST_REACH;
  let [reach, tooLong] = [leastReach(patterns), MOST_REACH];
  while (tooLong - reach > 1) {
    const middle = (reach + tooLong) >> 1;
    if (fits(middle)) reach = middle;
    else tooLong = middle;
  }
  return reach;
}
