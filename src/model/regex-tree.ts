import { ESCAPED_CLASSES, NOT_NEWLINE, POSIX_CLASSES, byteRange, complement, foldCase, singleByte, union, type ByteSet } from './byte-set.ts';

/** A set of bytes as bits: bit b for byte b. */
export type ByteMask = bigint;

export const ANY_BYTE: ByteMask = (1n << 256n) - 1n;

/** A regex as far as its cost can be judged. Where a class is not certain, its mask holds more than the class does. */
export type RegexTree =
  | { readonly kind: 'byte'; readonly mask: ByteMask; readonly form: 'literal' | 'class' | 'dot' }
  | { readonly kind: 'assert'; readonly assertion: 'caret' | 'start' | 'end' | 'boundary' | 'other' }
  | { readonly kind: 'look'; readonly part: RegexTree }
  | { readonly kind: 'sequence'; readonly parts: readonly RegexTree[] }
  | { readonly kind: 'choice'; readonly options: readonly RegexTree[] }
  | { readonly kind: 'repeat'; readonly part: RegexTree; readonly min: number; readonly max: number };

export const maskOf = (set: ByteSet): ByteMask => BigInt(`0b${Array.from(set, String).toReversed().join('')}`);

const MAX_DEPTH = 50;
const CONTROLS: ReadonlyMap<string, number> = new Map([['a', 7], ['e', 27], ['f', 12], ['n', 10], ['r', 13], ['t', 9]]);

const ASSERTIONS: ReadonlyMap<string, 'caret' | 'start' | 'end' | 'boundary'> = new Map([
  ['^', 'caret'],
  [String.raw`\A`, 'start'],
  ['$', 'end'],
  [String.raw`\z`, 'end'],
  [String.raw`\Z`, 'end'],
  [String.raw`\b`, 'boundary'],
]);

/**
 * Undefined where the pattern uses more than literals, classes, groups, alternatives, quantifiers, look-aheads and simple assertions
 * (pcre2pattern), or is none.
 */
export function parseRegexTree(pattern: string): RegexTree | undefined {
  const ignoreCase = pattern.startsWith('(?i)');
  // HAProxy's PCRE sees bytes.
  const bytes = Array.from(new TextEncoder().encode(ignoreCase ? pattern.slice(4) : pattern), (byte) => String.fromCharCode(byte)).join('');
  const parser = new TreeParser(bytes, ignoreCase);
  const whole = parser.choice();
  return parser.atEnd ? whole : undefined;
}

/** Methods return undefined where the pattern cannot be judged. */
class TreeParser {
  readonly #pattern: string;
  readonly #ignoreCase: boolean;
  /** Behind a `(?i)` in mid-pattern, which holds to the end of its group: what follows may be either. */
  #mayIgnoreCase: boolean;
  readonly #literals = new Map<string, RegexTree>();
  #at = 0;
  #depth = 0;

  constructor(pattern: string, ignoreCase: boolean) {
    this.#pattern = pattern;
    this.#ignoreCase = ignoreCase;
    this.#mayIgnoreCase = ignoreCase;
  }

  get atEnd(): boolean {
    return this.#at === this.#pattern.length;
  }

  choice(): RegexTree | undefined {
    const options: RegexTree[] = [];
    do {
      const option = this.#sequence();
      if (option === undefined) return undefined;
      options.push(option);
    } while (this.#take(/\|/y) !== undefined);
    return options.length === 1 ? options[0] : { kind: 'choice', options };
  }

  #sequence(): RegexTree | undefined {
    const parts: RegexTree[] = [];
    while (!this.atEnd && !/[|)]/.test(this.#pattern.charAt(this.#at))) {
      if (this.#take(/\(\?i\)/y) !== undefined) {
        this.#mayIgnoreCase = true;
        this.#literals.clear();
        continue;
      }
      const part = this.#quantified();
      if (part === undefined) return undefined;
      parts.push(part);
    }
    return { kind: 'sequence', parts };
  }

  #quantified(): RegexTree | undefined {
    const part = this.#atom();
    const found = this.#take(/[*+?]|\{(\d{1,5})(,(\d{0,5}))?\}/y);
    if (part === undefined || found === undefined) return part;
    // Lazy or possessive: not more than greedy.
    this.#take(/[?+]/y);
    const [text, from, comma, to] = found;
    const min = from === undefined ? (text === '+' ? 1 : 0) : Number(from);
    const open = text === '*' || text === '+' || (comma !== undefined && to === '');
    const max = open ? Infinity : from === undefined ? 1 : Number(to ?? from);
    return max < min ? undefined : { kind: 'repeat', part, min, max };
  }

  #atom(): RegexTree | undefined {
    if (this.#take(/\(\?[=!]/y) !== undefined) {
      const part = this.#group();
      return part === undefined ? undefined : { kind: 'look', part };
    }
    if (this.#take(/\((?:\?:|(?![?*]))/y) !== undefined) return this.#group();
    const listed = this.#take(/\[(\^?)(\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*)\]/y);
    if (listed !== undefined) return this.#byte(this.#class(listed[2] ?? '', listed[1] === '^'), 'class');
    const escaped = this.#take(/\\([dDwWsS])/y)?.[1];
    if (escaped !== undefined) return this.#byte(ESCAPED_CLASSES.get(escaped), 'class');
    if (this.#take(/\./y) !== undefined) return this.#byte(NOT_NEWLINE, 'dot');
    const assertion = this.#take(/\^|\$|\\[AzZbB]/y)?.[0];
    if (assertion !== undefined) return { kind: 'assert', assertion: ASSERTIONS.get(assertion) ?? 'other' };
    const literal = this.#take(/\\x[0-9A-Fa-f]{2}|\\[aefnrt]|\\[^0-9A-Za-z]|\{(?![\d,])|[^()[{\\*+?|]/y)?.[0];
    if (literal === undefined) return undefined;
    const known = this.#literals.get(literal) ?? this.#byte(singleByte(byteOf(literal)), 'literal');
    this.#literals.set(literal, known);
    return known;
  }

  #byte(set: ByteSet | undefined, form: 'literal' | 'class' | 'dot'): RegexTree {
    return { kind: 'byte', mask: set === undefined ? ANY_BYTE : maskOf(this.#mayIgnoreCase ? foldCase(set) : set), form };
  }

  #group(): RegexTree | undefined {
    if (++this.#depth > MAX_DEPTH) return undefined;
    const inner = this.choice();
    this.#depth--;
    return this.#take(/\)/y) === undefined ? undefined : inner;
  }

  /** What stands between the brackets; undefined where it is not certain. */
  #class(inside: string, negated: boolean): ByteSet | undefined {
    const member = /\[:([a-z]+):\]|\\([dDwWsS])|((?:\\x[0-9A-Fa-f]{2}|\\[aefnrt]|\\[^0-9A-Za-z]|[^\\[]|\[(?![:.=])))(?:-(\\x[0-9A-Fa-f]{2}|\\[aefnrt]|\\[^0-9A-Za-z]|[^\\[]))?/y;
    const sets: ByteSet[] = [];
    while (member.lastIndex < inside.length) {
      const found = member.exec(inside);
      if (found === null) return undefined;
      const [, posix, escaped, low = '', high = low] = found;
      const set = posix !== undefined ? POSIX_CLASSES.get(posix) : escaped !== undefined ? ESCAPED_CLASSES.get(escaped) : byteRange(byteOf(low), byteOf(high));
      if (set === undefined) return undefined;
      sets.push(set);
    }
    const set = union(...sets);
    return negated ? complement(this.#ignoreCase ? foldCase(set) : set) : set;
  }

  /** Takes what the sticky expression finds here. */
  #take(sticky: RegExp): RegExpExecArray | undefined {
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.#pattern) ?? undefined;
    this.#at += found?.[0].length ?? 0;
    return found;
  }
}

/** The byte of a literal as it is written. */
function byteOf(literal: string): number {
  if (literal.startsWith(String.raw`\x`)) return Number.parseInt(literal.slice(2), 16);
  const escaped = literal.length > 1 ? literal.slice(1) : literal;
  return (literal.length > 1 ? CONTROLS.get(escaped) : undefined) ?? escaped.charCodeAt(0);
}
