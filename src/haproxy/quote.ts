/** Words that HAProxy's line tokenizer, argument lists and log-format strings all read as they are. */
const PLAIN = /^[A-Za-z0-9_./:@[\]-]+$/;

/**
 * One word of a configuration line, in strong quotes where it needs any (HAProxy manual 2.2, quoting and escaping):
 * inside them nothing is special, so a `'` closes them, stands escaped, and opens them again.
 * A control character becomes `?`: a line break would begin another line, and no name that HAProxy compares holds one.
 */
export function quote(word: string): string {
  // oxlint-disable-next-line no-control-regex -- the ban on control characters is the point
  const safe = word.replaceAll(/[\u0000-\u001f\u007f]/g, '?');
  return PLAIN.test(safe) ? safe : `'${safe.replaceAll("'", `'\\''`)}'`;
}

/**
 * One argument of a sample fetch or converter, `fetch(HERE)`, which HAProxy unquotes a second time (manual 7.2).
 * The whole expression still goes through {@link quote}.
 */
export function quoteArgument(text: string): string {
  return PLAIN.test(text) ? text : `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}

/** A part of a section's name: labels pass unchanged; anything else becomes `_hex`, so that two names never become one. */
export function label(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9-]/gu, (char) => `_${(char.codePointAt(0) ?? 0).toString(16)}_`);
}

/** An expression that quotes its own arguments: strong quotes around it only where it holds more than HAProxy's own words. */
export const quoteFormat = (expression: string): string => (/^[A-Za-z0-9_./:@%[\](),-]+$/.test(expression) ? expression : quote(expression));

/** A Lua string literal: everything but plain characters as decimal escapes (Lua 5.3 manual, 3.1). */
export const luaString = (text: string): string =>
  `"${text.replaceAll(/[^A-Za-z0-9_./@-]/gu, (char) => [...new TextEncoder().encode(char)].map((byte) => `\\${String(byte).padStart(3, '0')}`).join(''))}"`;
