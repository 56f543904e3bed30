/** A set of byte values: `set[byte]` is 1 for members. */
export type ByteSet = Uint8Array;

/** The bytes for which `member` holds. */
export const bytesWhere = (member: (byte: number) => boolean): ByteSet => Uint8Array.from({ length: 256 }, (_, byte) => (member(byte) ? 1 : 0));

export const singleByte = (value: number): ByteSet => bytesWhere((byte) => byte === value);
export const byteRange = (low: number, high: number): ByteSet => bytesWhere((byte) => byte >= low && byte <= high);
export const complement = (set: ByteSet): ByteSet => bytesWhere((byte) => set[byte] === 0);
export const union = (...sets: readonly ByteSet[]): ByteSet => bytesWhere((byte) => sets.some((set) => set[byte] === 1));

const isUpper = (byte: number): boolean => byte >= 0x41 && byte <= 0x5a;
const isLower = (byte: number): boolean => byte >= 0x61 && byte <= 0x7a;

/** Adds the other case of every ASCII letter. Bytes above 127 have no case in the C locale, which HAProxy's PCRE uses. */
export const foldCase = (set: ByteSet): ByteSet =>
  bytesWhere((byte) => set[byte] === 1 || (isUpper(byte) && set[byte + 32] === 1) || (isLower(byte) && set[byte - 32] === 1));

const DIGIT = byteRange(0x30, 0x39);
const UPPER = byteRange(0x41, 0x5a);
const LOWER = byteRange(0x61, 0x7a);
const ALPHA = union(UPPER, LOWER);
const GRAPH = byteRange(0x21, 0x7e);
const SPACE = union(byteRange(0x09, 0x0d), singleByte(0x20));

export const WORD = union(ALPHA, DIGIT, singleByte(0x5f));
export const NOT_NEWLINE = complement(singleByte(0x0a));

/** `\d \w \s` and their complements, with pcre2pattern's ASCII meaning. */
export const ESCAPED_CLASSES: ReadonlyMap<string, ByteSet> = new Map([
  ['d', DIGIT],
  ['D', complement(DIGIT)],
  ['w', WORD],
  ['W', complement(WORD)],
  ['s', SPACE],
  ['S', complement(SPACE)],
]);

/** `[:name:]` in the C locale (pcre2pattern, "POSIX character classes"). */
export const POSIX_CLASSES: ReadonlyMap<string, ByteSet> = new Map([
  ['alnum', union(ALPHA, DIGIT)],
  ['alpha', ALPHA],
  ['ascii', byteRange(0, 0x7f)],
  ['blank', union(singleByte(0x09), singleByte(0x20))],
  ['cntrl', union(byteRange(0, 0x1f), singleByte(0x7f))],
  ['digit', DIGIT],
  ['graph', GRAPH],
  ['lower', LOWER],
  ['print', union(GRAPH, singleByte(0x20))],
  ['punct', bytesWhere((byte) => GRAPH[byte] === 1 && ALPHA[byte] === 0 && DIGIT[byte] === 0)],
  ['space', SPACE],
  ['upper', UPPER],
  ['word', WORD],
  ['xdigit', union(DIGIT, byteRange(0x41, 0x46), byteRange(0x61, 0x66))],
]);
