import { printable } from '../model/problem.ts';
import type { Route } from '../model/route-table.ts';

/** A character-string of a TXT record holds 255 bytes (RFC 1035 section 3.3.14). */
const MAX_STRING = 200;
/** Bytes of all strings: with the longest question the answer still fits a UDP payload of 1232. */
const MAX_TOTAL = 800;

/**
 * Text of a route for people with `dig`: what it is, never how its endpoints are (the zone must not change with them).
 * @returns character-strings of printable ASCII, each at most 200 bytes, 800 in all.
 */
export function describeRoute(route: Route): string[] {
  const { type, header, prefer } = route.rule;
  const rule = [
    route.invalid ? 'invalid' : type === '' ? 'none' : type,
    ...(header === undefined ? [] : [`header=${header}`]),
    ...(prefer === undefined ? [] : [`prefer=${prefer}`]),
  ].join(' ');
  const strings = [
    `route ${route.namespace}/${route.name}`,
    `${route.protocol} port ${route.listen}`,
    `rule ${rule}`,
    ...route.versions.map((version) => `version ${version.name}`),
  ].map((text) => printable(text, MAX_STRING));

  const kept: string[] = [];
  let total = 0;
  for (const [index, text] of strings.entries()) {
    total += text.length + 1;
    if (total > MAX_TOTAL - 16) return [...kept, `and ${strings.length - index} more`];
    kept.push(text);
  }
  return kept;
}
