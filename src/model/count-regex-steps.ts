import { WORD } from './byte-set.ts';
import { ANY_BYTE, maskOf, type ByteMask, type RegexTree } from './regex-tree.ts';

/*
 * Upper bound of what a backtracking matcher does. A path is one way to have come from some starting position through the pattern up to a
 * part of it. For each part are known how many paths there are in all and at one position of the value; both follow from the part before.
 * What keeps them few: a loop over bytes that exclude the byte in front of it can have begun at one position only, and, when a byte follows
 * that it excludes, can have ended at one position only; a literal cannot overlap itself more often than its own text allows.
 */

/** What each costs, in steps. */
export interface StepWeights {
  readonly class: number;
  /** Compiled code compares several at a time. */
  readonly literal: number;
  readonly boundary: number;
  /** To enter alternatives. */
  readonly choice: number;
  /** Each time that a group is repeated. */
  readonly repeat: number;
  /** To begin anew at a position. */
  readonly start: number;
  /** The same where the pattern begins with a literal: positions are searched for it first, and that search is stopped. */
  readonly literalStart: number;
  /** That search, for each byte. */
  readonly search: number;
}

/** As seen with PCRE2 10.42 and JIT, where a step is about half a nanosecond. */
const MEASURED: StepWeights = { class: 1, literal: 0.5, boundary: 9, choice: 4, repeat: 6, start: 3, literalStart: 12, search: 0.5 };
/** Its stack of 32 KB holds no more repetitions of groups: it gives up, and nothing matches. */
const MOST_REPETITIONS = 800;
/** So many parts are looked at, and more steps are not told from each other. */
const MOST_VISITS = 4000;
const GIVE_UP = 1e9;
/** A group is looked at again for each time it is repeated, up to here. */
const UNROLLED = 4;
const LONGEST_TAIL = 8;
/** Beside the 256 bytes: the beginning of the value, as what stands in front of a position. */
const BEGINNING: ByteMask = 1n << 256n;
const WORD_BYTES = maskOf(WORD);

interface Paths {
  readonly total: number;
  /** At one position of the value. */
  readonly most: number;
  /** What may stand in front of their positions. */
  readonly last: ByteMask;
  /** Bytes that certainly stand in front of their positions, the nearest last. */
  readonly tail: readonly ByteMask[];
  /** Only so many go on with a byte that is none of `held`. */
  readonly held: ByteMask;
  readonly freed: number;
  /** Their positions are between a word and what is none. */
  readonly atBoundary: boolean;
}

interface Once {
  readonly ways: number;
  readonly steps: number;
  readonly last: ByteMask;
}

/**
 * Upper bound of the steps that a backtracking matcher takes on the worst value of that length; Infinity where the pattern cannot be judged.
 * A pattern of which each alternative begins with `.*` or `^` is tried at the first position alone: a value has one line (pcre2pattern,
 * "Full stop"; pcre2perform).
 */
export function countTreeSteps(tree: RegexTree, length: number, weights = MEASURED): number {
  const counter = new StepCounter(length, weights);
  const once = isTriedOnce(tree);
  const start = once ? { total: 1, last: BEGINNING } : { total: length + 1, last: ANY_BYTE | BEGINNING };
  counter.walk(tree, { most: 1, tail: [], held: 0n, freed: start.total, atBoundary: false, ...start }, 1);
  const literals = leadingLiterals(tree);
  const starts = once ? 1 : Math.floor(length / distance(literals)) + 1;
  return counter.steps > GIVE_UP ? Infinity : counter.steps + starts * (literals.length > 0 ? weights.literalStart : weights.start) + length * weights.search;
}

/** Whether PCRE tries it at the first position alone: all alternatives anchored, or all beginning with `^` or `.*` (its `is_startline`). */
export function isTriedOnce(tree: RegexTree): boolean {
  const beginsWith = (node: RegexTree, allows: (first: RegexTree) => boolean): boolean => {
    if (node.kind === 'choice') return node.options.every((option) => beginsWith(option, allows));
    if (node.kind === 'sequence') return node.parts[0] !== undefined && beginsWith(node.parts[0], allows);
    return allows(node);
  };
  const isCaret = (node: RegexTree): boolean => node.kind === 'assert' && node.assertion === 'caret';
  const isStart = (node: RegexTree): boolean => node.kind === 'assert' && node.assertion === 'start';
  return beginsWith(tree, (first) => isCaret(first) || isStart(first)) || beginsWith(tree, (first) => isCaret(first) || isDotStar(first));
}

/** Up to two bytes at the beginning that are literals: compiled code looks for both at once. */
function leadingLiterals(tree: RegexTree): readonly ByteMask[] {
  const parts = tree.kind === 'sequence' ? tree.parts.slice(0, 2) : [];
  const [first, second] = parts.map((part) => (part.kind === 'byte' && part.form === 'literal' ? [part.mask] : []));
  return first === undefined || first.length === 0 ? [] : [...first, ...(second ?? [])];
}

const isDotStar = (node: RegexTree | undefined): boolean => node?.kind === 'repeat' && node.part.kind === 'byte' && node.part.form === 'dot' && node.min === 0 && node.max === Infinity;

class StepCounter {
  readonly #length: number;
  readonly #weights: StepWeights;
  readonly #known = new Map<RegexTree, Once>();
  #visits = 0;
  #repetitions = 0;
  steps = 0;

  constructor(length: number, weights: StepWeights) {
    this.#length = length;
    this.#weights = weights;
  }

  /** @param matches so often at most a match is complete behind this part; undefined: the part is not the last one */
  walk(node: RegexTree, from: Paths, matches?: number): Paths {
    if (++this.#visits > MOST_VISITS) this.steps = Infinity;
    if (from.total === 0 || this.steps > GIVE_UP) return from;
    switch (node.kind) {
      case 'byte':
        return this.#byte(node.mask, this.#weights[node.form === 'literal' ? 'literal' : 'class'], from);
      case 'assert': {
        this.steps += from.total * (node.assertion === 'boundary' || node.assertion === 'other' ? this.#weights.boundary : this.#weights.literal);
        if (node.assertion === 'boundary') return { ...from, atBoundary: true };
        if (node.assertion === 'other') return from;
        // At one position only.
        const total = Math.min(from.total, from.most);
        const last = node.assertion === 'end' ? from.last : from.last & BEGINNING;
        return { ...from, total, last, freed: Math.min(from.freed, total) };
      }
      case 'look':
        this.walk(node.part, from, from.total);
        return from;
      case 'sequence':
        return this.#sequence(node.parts, from, matches);
      case 'choice':
        return this.#choice(node.options, from, matches);
      case 'repeat':
        return this.#repeat(node, from, matches);
    }
  }

  #byte(mask: ByteMask, weight: number, from: Paths): Paths {
    this.steps += weight * from.total;
    const tail = [...from.tail, mask].slice(-LONGEST_TAIL);
    const total = Math.min(goingOn(from, mask), from.most * (Math.floor(this.#length / distance(tail)) + 1));
    return { total, most: Math.min(from.most, total), last: mask, tail, held: 0n, freed: total, atBoundary: false };
  }

  #sequence(parts: readonly RegexTree[], from: Paths, matches: number | undefined): Paths {
    const end = parts.at(-1);
    // `.*` takes the rest of the line, so that `$` behind it holds.
    const certain = matches !== undefined && end?.kind === 'assert' && end.assertion === 'end' && isDotStar(parts.at(-2));
    // A lazy one asks for the end at each byte.
    if (certain) this.steps += matches * (this.#length + 1) * this.#weights.literal;
    const needed = certain ? parts.slice(0, -1) : parts;
    return needed.reduce((paths, part, index) => this.walk(part, paths, index === needed.length - 1 ? matches : undefined), from);
  }

  #choice(options: readonly RegexTree[], from: Paths, matches: number | undefined): Paths {
    this.steps += this.#weights.choice * from.total;
    const ends = options.map((option) => this.walk(option, from, matches));
    const joined = join(ends);
    // Options that begin with different bytes exclude each other.
    const total = areApart(options.map(firstOf)) ? Math.min(joined.total, from.total * Math.max(...options.map((option) => this.#once(option).ways))) : joined.total;
    return { ...joined, total, most: Math.min(joined.most, total), freed: Math.min(joined.freed, total) };
  }

  #repeat(node: RegexTree & { readonly kind: 'repeat' }, from: Paths, matches: number | undefined): Paths {
    const { part, min, max } = node;
    if (max === 0) return from;
    const single = singleOf(part, this.#weights);
    if (single !== undefined) {
      if (part.kind !== 'byte') this.#noteRepetitions(Math.min(max, this.#length));
      if (matches === undefined) return this.#loop(single.mask, single.weight, min, max, from);
      // Nothing can fail behind it: it is gone through once for each match.
      this.steps += matches * (this.#length + 1) * single.weight;
      return min === 0 ? from : this.#loop(single.mask, single.weight, min, min, from);
    }
    if (max <= UNROLLED) {
      const ends: Paths[] = min === 0 ? [from] : [];
      for (let [time, paths] = [1, from]; time <= max; time++) {
        paths = this.walk(part, paths);
        if (time >= min) ends.push(paths);
      }
      return join(ends);
    }
    return this.#group(part, min, max, from);
  }

  /** A loop over single bytes. */
  #loop(mask: ByteMask, weight: number, min: number, max: number, from: Paths): Paths {
    if (min === max && min <= LONGEST_TAIL) {
      let paths = from;
      for (let time = 0; time < min; time++) paths = this.#byte(mask, weight, paths);
      return paths;
    }
    const longest = Math.min(max, this.#length);
    const lengths = Math.max(1, longest - min + 1);
    const entering = goingOn(from, mask);
    // Only one position behind which the bytes of the loop go on up to here has none of them in front of it.
    const oneBeginning = (from.last & mask) === 0n || (from.atBoundary && min > 0 && (mask & ~WORD_BYTES) === 0n);
    const inside = oneBeginning ? from.most : Math.min(from.total, from.most * (longest + 1));
    const bytes = Math.min(entering * longest, inside * this.#length, this.#triangle(entering, from));
    this.steps += weight * (from.total + bytes);
    const total = Math.min(min === 0 ? from.total + bytes : Math.min(entering * lengths, bytes), inside * (this.#length + 1));
    const most = Math.min(inside, total);
    if (min > 0) return { total, most, last: mask, tail: [mask], held: mask, freed: Math.min(entering, total), atBoundary: false };
    const through = from.freed + entering < from.total && from.held !== 0n;
    const freed = Math.min(through ? from.freed + entering : from.total, total);
    return { total, most, last: mask | from.last, tail: [], held: through ? mask | from.held : mask, freed, atBoundary: false };
  }

  /** Bytes up to the end of the value from the beginnings of that many paths, the earliest that there can be. */
  #triangle(count: number, { most, tail }: Paths): number {
    const apart = distance(tail);
    const positions = Math.min(Math.floor(count / most), Math.floor(this.#length / apart) + 1);
    const whole = most * (positions * this.#length - (apart * positions * (positions - 1)) / 2);
    return whole + (count - positions * most) * Math.max(0, this.#length - positions * apart);
  }

  /** A loop over more than single bytes. */
  #group(part: RegexTree, min: number, max: number, from: Paths): Paths {
    const once = this.#once(part);
    const least = leastOf(part);
    const times = Math.min(max, least > 0 ? Math.floor(this.#length / least) : this.#length + 1);
    // One more is tried, and fails.
    const tries = Math.min(max, times + 1);
    this.#noteRepetitions(least > 0 ? Math.floor(this.#length / least) : tries);
    const lengths = Math.max(1, times - min + 1);
    const last = once.last | (min === 0 ? from.last : 0n);
    if (once.ways > 1) {
      this.steps += from.total * tries * once.ways ** tries * Math.max(once.steps, this.#weights.literal);
      const total = from.total * once.ways ** times * lengths;
      return { total, most: total, last, tail: [], held: 0n, freed: total, atBoundary: false };
    }
    // Each path goes on in one way only, and passes each position but once.
    const entries = from.total * tries;
    this.steps += this.#weights.repeat * entries;
    this.walk(part, { total: entries, most: least > 0 ? from.total : entries, last: from.last | once.last, tail: [], held: 0n, freed: entries, atBoundary: false });
    const total = from.total * lengths;
    return { total, most: least > 0 ? from.total : total, last, tail: [], held: 0n, freed: total, atBoundary: false };
  }

  #noteRepetitions(times: number): void {
    this.#repetitions += times;
    if (this.#repetitions > MOST_REPETITIONS) this.steps = Infinity;
  }

  /** What a part costs from a single position, and in how many ways it matches there. */
  #once(part: RegexTree): Once {
    const known = this.#known.get(part);
    if (known !== undefined) return known;
    const before = this.steps;
    this.steps = 0;
    const { total, last } = this.walk(part, { total: 1, most: 1, last: ANY_BYTE | BEGINNING, tail: [], held: 0n, freed: 1, atBoundary: false });
    const once = { ways: total, steps: this.steps, last };
    this.steps = once.steps > GIVE_UP ? Infinity : before;
    this.#known.set(part, once);
    return once;
  }
}

const goingOn = (from: Paths, mask: ByteMask): number => ((from.held & mask) === 0n ? Math.min(from.total, from.freed) : from.total);

const areApart = (masks: readonly ByteMask[]): boolean => {
  let seen = 0n;
  return masks.every((mask) => {
    const apart = (seen & mask) === 0n;
    seen |= mask;
    return apart;
  });
};

function join(ends: readonly Paths[]): Paths {
  const sum = (of: (end: Paths) => number): number => ends.reduce((all, end) => all + of(end), 0);
  const or = (of: (end: Paths) => ByteMask): ByteMask => ends.reduce((all, end) => all | of(end), 0n);
  const total = sum((end) => end.total);
  const most = areApart(ends.map((end) => end.last)) ? Math.max(...ends.map((end) => end.most)) : sum((end) => end.most);
  return { total, most: Math.min(most, total), last: or((end) => end.last), tail: [], held: or((end) => end.held), freed: Math.min(sum((end) => end.freed), total), atBoundary: false };
}

/** How far apart two positions are at least that both have these bytes in front of them. */
function distance(tail: readonly ByteMask[]): number {
  for (let by = 1; by < tail.length; by++) {
    if (tail.every((mask, index) => index + by >= tail.length || (mask & (tail[index + by] ?? 0n)) !== 0n)) return by;
  }
  return Math.max(1, tail.length);
}

/** A part that is one byte: as it stands, or one of alternatives that exclude each other. */
function singleOf(node: RegexTree, weights: StepWeights): { readonly mask: ByteMask; readonly weight: number } | undefined {
  if (node.kind === 'byte') return { mask: node.mask, weight: weights[node.form === 'literal' ? 'literal' : 'class'] };
  if (node.kind === 'sequence') return node.parts.length === 1 && node.parts[0] !== undefined ? singleOf(node.parts[0], weights) : undefined;
  if (node.kind !== 'choice') return undefined;
  const singles = node.options.flatMap((option) => singleOf(option, weights) ?? []);
  if (singles.length < node.options.length || !areApart(singles.map(({ mask }) => mask))) return undefined;
  return { mask: singles.reduce((all, { mask }) => all | mask, 0n), weight: singles.reduce((all, { weight }) => all + weight, weights.repeat) };
}

/** The bytes that it can begin with; any where it can be empty. */
function firstOf(node: RegexTree): ByteMask {
  switch (node.kind) {
    case 'byte':
      return node.mask;
    case 'assert':
    case 'look':
      return ANY_BYTE;
    case 'choice':
      return node.options.reduce((all, option) => all | firstOf(option), 0n);
    case 'repeat':
      return node.min > 0 ? firstOf(node.part) : ANY_BYTE;
    case 'sequence': {
      const first = node.parts.find((part) => part.kind !== 'assert' && part.kind !== 'look');
      return first === undefined ? ANY_BYTE : firstOf(first);
    }
  }
}

function leastOf(node: RegexTree): number {
  switch (node.kind) {
    case 'byte':
      return 1;
    case 'assert':
    case 'look':
      return 0;
    case 'sequence':
      return node.parts.reduce((sum, part) => sum + leastOf(part), 0);
    case 'choice':
      return Math.min(...node.options.map(leastOf));
    case 'repeat':
      return node.min * leastOf(node.part);
  }
}
