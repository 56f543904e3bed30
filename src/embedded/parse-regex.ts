import { ESCAPED_CLASSES, NOT_NEWLINE, POSIX_CLASSES, complement, byteRange, foldCase, singleByte, union } from '../model/byte-set.ts';
import type { ByteSet } from '../model/byte-set.ts';

export type Assertion = 'start' | 'end' | 'word-boundary' | 'not-word-boundary';

/** A regular expression on bytes. Groups are gone: only whether it matches counts, so greedy and lazy are the same. */
export type RegexNode =
  | { readonly kind: 'bytes'; readonly set: ByteSet }
  | { readonly kind: 'assert'; readonly assertion: Assertion }
  | { readonly kind: 'sequence'; readonly parts: readonly RegexNode[] }
  | { readonly kind: 'choice'; readonly options: readonly RegexNode[] }
  | { readonly kind: 'repeat'; readonly part: RegexNode; readonly min: number; readonly max: number };

/** Thrown by the parser and the compiler; its message is the reason shown to the route's owner. */
export class UnsupportedRegex extends Error {}

const MAX_DEPTH = 50;
const CONTROL_ESCAPES: ReadonlyMap<string, number> = new Map([['a', 7], ['e', 27], ['f', 12], ['n', 10], ['r', 13], ['t', 9]]);
const ASSERTION_ESCAPES: ReadonlyMap<string, Assertion> = new Map([['A', 'start'], ['z', 'end'], ['Z', 'end'], ['b', 'word-boundary'], ['B', 'not-word-boundary']]);
/** What PCRE2 takes for a POSIX class or collating element where a class begins, and refuses there (pcre2pattern, "POSIX character classes"). */
const LONE_POSIX = /([:.=])(?:\\[\]\\]|(?!\\[\]\\]|\[\1|\]|\1\])[^])*\1\]/y;

/**
 * Parses a PCRE as HAProxy compiles it (pcre2pattern; bytes, no UTF mode, C locale). A whitelist: what is not certain to mean the same
 * here is refused. `$` and `\Z` are the end of the value alone: a header's value holds no newline (RFC 9110 section 5.5).
 * @throws UnsupportedRegex
 */
export function parseRegex(pattern: string): RegexNode {
  const ignoreCase = pattern.startsWith('(?i)');
  const bad = /[^\x21-\x7e]/.exec(pattern)?.[0];
  if (bad === ' ') throw new UnsupportedRegex(String.raw`a literal blank is not supported; write \x20`);
  if (bad !== undefined) throw new UnsupportedRegex(String.raw`only printable ASCII is supported; write other bytes as \xHH`);
  return new RegexParser(ignoreCase ? pattern.slice(4) : pattern, ignoreCase).parse();
}

class RegexParser {
  readonly #pattern: string;
  readonly #ignoreCase: boolean;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, ignoreCase: boolean) {
    this.#pattern = pattern;
    this.#ignoreCase = ignoreCase;
  }

  parse(): RegexNode {
    const node = this.#choice();
    if (this.#at < this.#pattern.length) throw new UnsupportedRegex('a ) without its (');
    return node;
  }

  #take(text: string): boolean {
    if (!this.#pattern.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  /** Takes what the sticky expression finds here. */
  #takeMatch(sticky: RegExp): RegExpExecArray | undefined {
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.#pattern);
    if (found === null) return undefined;
    this.#at = sticky.lastIndex;
    return found;
  }

  #choice(): RegexNode {
    const options = [this.#sequence()];
    while (this.#take('|')) options.push(this.#sequence());
    return options.length === 1 && options[0] !== undefined ? options[0] : { kind: 'choice', options };
  }

  #sequence(): RegexNode {
    const parts: RegexNode[] = [];
    while (this.#at < this.#pattern.length && !/[|)]/.test(this.#pattern.charAt(this.#at))) parts.push(this.#quantified());
    return { kind: 'sequence', parts };
  }

  #quantified(): RegexNode {
    const part = this.#atom();
    const range = this.#quantifier();
    if (range === undefined) return part;
    if (part.kind === 'assert') throw new UnsupportedRegex('a quantifier after an assertion is not supported');
    if (this.#take('+')) throw new UnsupportedRegex('possessive quantifiers are not supported');
    this.#take('?');
    if (this.#quantifier() !== undefined) throw new UnsupportedRegex('two quantifiers in a row are not supported; use a group');
    return { kind: 'repeat', part, ...range };
  }

  #quantifier(): { readonly min: number; readonly max: number } | undefined {
    if (this.#take('*')) return { min: 0, max: Infinity };
    if (this.#take('+')) return { min: 1, max: Infinity };
    if (this.#take('?')) return { min: 0, max: 1 };
    const counted = this.#takeMatch(/\{(\d{1,4})(,(\d{0,4}))?\}/y);
    if (counted === undefined) return undefined;
    const min = Number(counted[1]);
    const max = counted[2] === undefined ? min : counted[3] === '' ? Infinity : Number(counted[3]);
    if (max < min) throw new UnsupportedRegex(`the numbers of ${counted[0]} are out of order`);
    return { min, max };
  }

  #atom(): RegexNode {
    const char = this.#pattern.charAt(this.#at++);
    switch (char) {
      case '(':
        return this.#group();
      case '[':
        return this.#bytes(this.#class());
      case '\\':
        return this.#escape();
      case '.':
        return this.#bytes(NOT_NEWLINE);
      case '^':
        return { kind: 'assert', assertion: 'start' };
      case '$':
        return { kind: 'assert', assertion: 'end' };
      case '*':
      case '+':
      case '?':
        throw new UnsupportedRegex(`nothing to repeat before ${char}`);
      case '{':
        throw new UnsupportedRegex(String.raw`a { that is no quantifier is not supported; write \{`);
      default:
        return this.#bytes(singleByte(char.charCodeAt(0)));
    }
  }

  #bytes(set: ByteSet): RegexNode {
    return { kind: 'bytes', set: this.#ignoreCase ? foldCase(set) : set };
  }

  #group(): RegexNode {
    if (this.#take('*')) throw new UnsupportedRegex('verbs such as (*LIMIT_MATCH=1) are not supported');
    if (this.#take('?') && !this.#take(':')) throw new UnsupportedRegex('of (?...) only (?:...) and a leading (?i) are supported');
    if (++this.#depth > MAX_DEPTH) throw new UnsupportedRegex(`groups nested deeper than ${MAX_DEPTH} are not supported`);
    const node = this.#choice();
    this.#depth--;
    if (!this.#take(')')) throw new UnsupportedRegex('a ( without its )');
    return node;
  }

  #escape(): RegexNode {
    const assertion = ASSERTION_ESCAPES.get(this.#pattern.charAt(this.#at));
    if (assertion !== undefined) {
      this.#at++;
      return { kind: 'assert', assertion };
    }
    const escaped = this.#escapedBytes();
    return this.#bytes(typeof escaped === 'number' ? singleByte(escaped) : escaped);
  }

  /** What follows a backslash, inside a class or outside: one byte, or a class. */
  #escapedBytes(): number | ByteSet {
    const hex = this.#takeMatch(/x([0-9A-Fa-f]{2})/y);
    if (hex !== undefined) return Number.parseInt(hex[1] ?? '', 16);
    const char = this.#pattern.charAt(this.#at++);
    if (char === '') throw new UnsupportedRegex('a \\ at the end');
    const value = ESCAPED_CLASSES.get(char) ?? CONTROL_ESCAPES.get(char);
    if (value !== undefined) return value;
    if (/[0-9A-Za-z]/.test(char)) throw new UnsupportedRegex(`the escape \\${char} is not supported`);
    return char.charCodeAt(0);
  }

  #class(): ByteSet {
    if (this.#takeMatch(LONE_POSIX) !== undefined) throw new UnsupportedRegex('[:name:] stands outside of [...]; write [[:name:]]');
    const negated = this.#take('^');
    const members: ByteSet[] = [];
    for (let first = true; first || !this.#take(']'); first = false) {
      const low = this.#classMember();
      if (typeof low !== 'number') {
        members.push(low);
        this.#refuseHyphen();
      } else if (this.#pattern.charAt(this.#at) === '-' && this.#pattern.charAt(this.#at + 1) !== ']') {
        this.#at++;
        const high = this.#classMember();
        if (typeof high !== 'number' || high < low) throw new UnsupportedRegex('a range of a [...] class is out of order');
        members.push(byteRange(low, high));
        this.#refuseHyphen();
      } else {
        members.push(singleByte(low));
      }
    }
    const set = union(...members);
    if (!negated) return set;
    return complement(this.#ignoreCase ? foldCase(set) : set);
  }

  /** A hyphen after a range or a class is literal in one version of PCRE and an error in another. */
  #refuseHyphen(): void {
    if (this.#pattern.charAt(this.#at) === '-' && this.#pattern.charAt(this.#at + 1) !== ']') {
      throw new UnsupportedRegex(String.raw`a - after a range or class in [...] is not supported; write \- or put it last`);
    }
  }

  #classMember(): number | ByteSet {
    const posix = this.#takeMatch(/\[:(\^?)([a-z]+):\]/y);
    if (posix !== undefined) {
      const set = POSIX_CLASSES.get(posix[2] ?? '');
      if (set === undefined) throw new UnsupportedRegex(`the class ${posix[0]} does not exist`);
      const folded = this.#ignoreCase && /^(?:lower|upper)$/.test(posix[2] ?? '') ? foldCase(set) : set;
      return posix[1] === '' ? folded : complement(folded);
    }
    if (this.#takeMatch(/\[[:.=]/y) !== undefined) throw new UnsupportedRegex(String.raw`[: [. and [= inside [...] are not supported; write \[`);
    if (this.#take('\\')) {
      if (this.#take('b')) return 8;
      return this.#escapedBytes();
    }
    const char = this.#pattern.charAt(this.#at++);
    if (char === '') throw new UnsupportedRegex('a [ without its ]');
    return char.charCodeAt(0);
  }
}
