import type { Version } from './route-table.ts';

/*
 * How long a header's value may be for the regexes of a route. PCRE's match limit alone bounds nothing: it counts anew at each position of
 * the value where a match may begin, and loops over single characters are not counted by its compiled code at all. Seen with HAProxy
 * (PCRE2 10.42, JIT): `(?:a|a){11}[b-c]` took 23 ms on 4,000 bytes under a limit of 5,000, and `a{0,60}a{0,60}[bc]` 6 ms under any limit.
 * What does bound the time of a backtracking matcher is the pattern together with the length of the value.
 */

/** Steps that all regexes of a route together may take on one value: some 15 us. */
const STEPS = 50_000;
/** No header is longer: HAProxy's buffer. */
const MOST_REACH = 16_384;

/** What the regexes are matched against whatever they are: so short a value is bounded well enough by the match limit. */
const leastReach = (patterns: readonly string[]): number => Math.max(16, Math.min(64, Math.floor(128 / patterns.length)));

const patternsOf = (versions: readonly Version[]): readonly string[] => versions.flatMap(({ match }) => (match === undefined || match === '' ? [] : [match]));

const fits = (patterns: readonly string[], length: number): boolean => patterns.reduce((sum, pattern) => sum + countSteps(pattern, length), 0) <= STEPS;

/** Whether a value of that many bytes is matched against the regexes of these versions; a longer one matches none. */
export function isWithinReach(versions: readonly Version[], length: number): boolean {
  const patterns = patternsOf(versions);
  return length <= leastReach(patterns) || fits(patterns, length);
}

/** Longest value that is matched against the regexes of these versions; undefined: any. The fewer and the simpler, the longer. */
export function regexReach(versions: readonly Version[]): number | undefined {
  const patterns = patternsOf(versions);
  if (fits(patterns, MOST_REACH)) return undefined;
  let [reach, tooLong] = [leastReach(patterns), MOST_REACH];
  while (tooLong - reach > 1) {
    const middle = (reach + tooLong) >> 1;
    if (fits(patterns, middle)) reach = middle;
    else tooLong = middle;
  }
  return reach;
}

/**
 * Upper bound of the steps that a backtracking matcher takes on the worst value of that length; Infinity where the pattern uses more than
 * literals, classes, groups, alternatives, quantifiers and simple assertions.
 */
export function countSteps(pattern: string, length: number): number {
  const parser = new StepParser(pattern.replace(/^\(\?i\)/, ''), length);
  const whole = parser.choice();
  if (whole === undefined || !parser.atEnd) return Infinity;
  return whole.steps * (whole.anchored ? 1 : length + 1);
}

/** What a part of a pattern can cost at one position. */
interface Part {
  /** In how many ways it can match there: what follows is tried after each. */
  readonly ways: number;
  /** To find them all. */
  readonly steps: number;
  readonly least: number;
  /** The character that it must begin with, where there is just one. */
  readonly first?: string;
  /** It can match at the beginning of the value alone. */
  readonly anchored: boolean;
}

/** Compiled code compares literals several at a time. */
const LITERAL_STEPS = 0.25;
const NOTHING: Part = { ways: 1, steps: 0, least: 0, anchored: false };
const CLASS: Part = { ways: 1, steps: 1, least: 1, anchored: false };
const ASSERTION: Part = { ...NOTHING, steps: 1 };
const START: Part = { ...ASSERTION, anchored: true };
const MAX_DEPTH = 50;

/** Methods return undefined where the pattern cannot be judged. */
class StepParser {
  readonly #pattern: string;
  readonly #length: number;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, length: number) {
    this.#pattern = pattern;
    this.#length = length;
  }

  get atEnd(): boolean {
    return this.#at === this.#pattern.length;
  }

  choice(): Part | undefined {
    const options: Part[] = [];
    do {
      const option = this.#sequence();
      if (option === undefined) return undefined;
      options.push(option);
    } while (this.#take(/\|/y) !== undefined);
    const [only] = options;
    if (options.length === 1) return only;
    const steps = options.reduce((sum, each) => sum + each.steps, 0);
    const least = Math.min(...options.map((each) => each.least));
    const anchored = options.every((each) => each.anchored);
    const firsts = new Set(options.map((each) => each.first?.toLowerCase()));
    // Options that begin with different characters exclude each other.
    const exclusive = firsts.size === options.length && !firsts.has(undefined);
    const ways = exclusive ? Math.max(...options.map((each) => each.ways)) : options.reduce((sum, each) => sum + each.ways, 0);
    return { ways, steps, least, anchored };
  }

  #sequence(): Part | undefined {
    const parts: Part[] = [];
    while (!this.atEnd && !/[|)]/.test(this.#pattern.charAt(this.#at))) {
      const part = this.#quantified();
      if (part === undefined) return undefined;
      parts.push(part);
    }
    let { ways, steps, least } = NOTHING;
    for (const part of parts) {
      steps += ways * part.steps;
      ways *= part.ways;
      least += part.least;
    }
    const first = parts[0]?.first;
    return { ways, steps, least, anchored: parts[0]?.anchored === true, ...(first === undefined ? {} : { first }) };
  }

  #quantified(): Part | undefined {
    const isDot = this.#pattern.charAt(this.#at) === '.';
    const part = this.#atom();
    const found = this.#take(/[*+?]|\{(\d{1,5})(,(\d{0,5}))?\}/y);
    if (part === undefined || found === undefined) return part;
    // Lazy or possessive: not more than greedy.
    this.#take(/[?+]/y);
    const [text, from, comma, to] = found;
    const min = from === undefined ? (text === '+' ? 1 : 0) : Number(from);
    const open = text === '*' || text === '+' || (comma !== undefined && to === '');
    const max = open ? Infinity : from === undefined ? 1 : Number(to ?? from);
    const repeated = this.#repeat(part, min, max);
    // A leading `.*` that failed at the beginning cannot do better further on, and PCRE does not try.
    return isDot && open && min === 0 ? { ...repeated, anchored: true } : repeated;
  }

  #repeat(part: Part, min: number, max: number): Part {
    const times = Math.min(max, part.least > 0 ? Math.floor(this.#length / part.least) : this.#length + 1);
    // One more is tried, and fails.
    const tries = Math.min(max, times + 1);
    const first = min > 0 && part.first !== undefined ? { first: part.first } : {};
    const lengths = Math.max(1, times - min + 1);
    const steps = Math.max(1, part.ways === 1 ? tries * part.steps : part.ways ** tries * part.steps);
    return { ways: part.ways ** times * lengths, steps, least: min * part.least, anchored: false, ...first };
  }

  #atom(): Part | undefined {
    if (this.#take(/\((?:\?:|(?![?*]))/y) !== undefined) return this.#group();
    if (this.#take(/\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\]|\\[dDwWsS]|\./y) !== undefined) return CLASS;
    if (this.#take(/\^|\\A/y) !== undefined) return START;
    if (this.#take(/\$|\\[zZbB]/y) !== undefined) return ASSERTION;
    const literal = this.#take(/\\x[0-9A-Fa-f]{2}|\\[aefnrt]|\\[^0-9A-Za-z]|\{(?![\d,])|[^()[{\\*+?|]/y)?.[0];
    return literal === undefined ? undefined : { ...CLASS, steps: LITERAL_STEPS, first: literal };
  }

  #group(): Part | undefined {
    if (++this.#depth > MAX_DEPTH) return undefined;
    const inner = this.choice();
    this.#depth--;
    return this.#take(/\)/y) === undefined ? undefined : inner;
  }

  /** Takes what the sticky expression finds here. */
  #take(sticky: RegExp): RegExpExecArray | undefined {
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.#pattern) ?? undefined;
    this.#at += found?.[0].length ?? 0;
    return found;
  }
}
