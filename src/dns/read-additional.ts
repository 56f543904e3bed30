import { HEADER_BYTES, TYPE } from './wire.ts';

/** What EDNS says of the client (RFC 6891 section 6.1.2). */
export interface Edns {
  readonly payload: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

const FIXED_BYTES = 10;

/**
 * The slow path of reading: walks every record after the question, for queries with other records than one plain OPT.
 * Linear in the message's size and follows no pointer.
 * @returns the OPT record, undefined without one, or `malformed` (records that end early or do not fill the message,
 * a second OPT, an OPT outside the additional section or not at the root: FORMERR, RFC 6891 section 6.1.1).
 */
export function readAdditional(query: Uint8Array, size: number, start: number): Edns | undefined | 'malformed' {
  const additionals = u16(query, 10);
  const total = u16(query, 6) + u16(query, 8) + additionals;
  let edns: Edns | undefined;
  let at = start;
  for (let index = 0; index < total; index++) {
    const nameAt = at;
    at = skipName(query, size, at);
    if (at < 0 || at + FIXED_BYTES > size) return 'malformed';
    if (u16(query, at) === TYPE.OPT) {
      if (edns !== undefined || query[nameAt] !== 0 || index < total - additionals) return 'malformed';
      edns = { payload: u16(query, at + 2), version: query[at + 5] ?? 0, dnssecOk: ((query[at + 6] ?? 0) & 0x80) !== 0 };
    }
    at += FIXED_BYTES + u16(query, at + 8);
    if (at > size) return 'malformed';
  }
  return at === size && start >= HEADER_BYTES ? edns : 'malformed';
}

/** Offset behind a name, or -1. A pointer ends it, wherever it leads. */
function skipName(query: Uint8Array, size: number, start: number): number {
  let at = start;
  while (at < size) {
    const length = query[at] ?? 0;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    if (length > 63) return -1;
    at += length + 1;
  }
  return -1;
}

const u16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
