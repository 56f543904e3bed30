import { answerChaos } from './answer-chaos.ts';
import { FNV_PRIME, type AnswerTail, type NameTable } from './name-table.ts';
import { readAdditional } from './read-additional.ts';
import { CLASS, HEADER_BYTES, MAX_NAME_BYTES, RCODE, TYPE, UDP_PAYLOAD } from './wire.ts';
import type { ServerIdentity } from './zone.ts';

/** What `respond` returns instead of a length: nothing is sent, or the caller has to start a zone transfer. */
export const DROP = 0;
export const TRANSFER = -1;

/** Where a query arrived. `trusted`: a listener inside the pool or 127/8, which also answers CH and AXFR. */
export interface Transport {
  readonly tcp: boolean;
  readonly trusted: boolean;
}

/** Plain counts: `byType` by query type (0: any without a name of its own), `byRcode` by response code. */
export interface AnswerCounts {
  readonly byType: number[];
  readonly byRcode: number[];
  truncated: number;
  dropped: number;
}

const COUNTED_TYPES = 64;
const RCODES = 17;
export const newAnswerCounts = (): AnswerCounts => ({
  byType: Array.from({ length: COUNTED_TYPES }, () => 0),
  byRcode: Array.from({ length: RCODES }, () => 0),
  truncated: 0,
  dropped: 0,
});

/** Queries longer than this are not read at all (FORMERR): a real one is below 600 bytes. */
export const MAX_QUERY_BYTES = 4096;
/** The smallest limit a client can have (RFC 1035 section 4.2.1, RFC 6891 section 6.2.3). */
const MIN_UDP_BYTES = 512;
const OPT_BYTES = 11;

const FLAG_QR = 0x80;
const FLAG_AA = 0x04;
const FLAG_TC = 0x02;
const FLAG_RD = 0x01;
const FLAG_CD = 0x10;

/**
 * Answers queries from a {@link NameTable}. One call reads one message and writes one answer; it never throws, whatever the
 * bytes, allocates next to nothing, and takes time linear in the question's length.
 */
export class Responder {
  readonly counts = newAnswerCounts();
  identity: ServerIdentity;
  readonly #table: NameTable;

  constructor(table: NameTable, identity: ServerIdentity) {
    this.#table = table;
    this.identity = identity;
  }

  /**
   * Answers `query[0..size)` into `out` (at least {@link UDP_PAYLOAD} bytes).
   * @returns the answer's length, {@link DROP}, or {@link TRANSFER} (AXFR over TCP on a trusted listener).
   */
  respond(query: Uint8Array, size: number, out: Uint8Array, transport: Transport): number {
    // A message with QR set is an answer: answering it would let two servers talk for ever.
    if (size < HEADER_BYTES || ((query[2] ?? 0) & FLAG_QR) !== 0) return this.#drop();
    const opcode = ((query[2] ?? 0) >> 3) & 15;
    if (opcode !== 0) return this.#headerOnly(query, out, RCODE.NOTIMP);
    if (size > MAX_QUERY_BYTES || query[4] !== 0 || query[5] !== 1) return this.#headerOnly(query, out, RCODE.FORMERR);

    // The question's name: labels only (a pointer is above 63), hashed in lower case as it is walked.
    let at = HEADER_BYTES;
    let hash = this.#table.seed;
    for (;;) {
      const length = query[at] ?? 0;
      const end = at + length + 1;
      if (length > 63 || end - HEADER_BYTES > MAX_NAME_BYTES || end + 4 > size) return this.#headerOnly(query, out, RCODE.FORMERR);
      for (; at < end; at++) {
        const byte = query[at] ?? 0;
        hash = Math.imul(hash ^ (byte > 64 && byte < 91 ? byte + 32 : byte), FNV_PRIME);
      }
      if (length === 0) break;
    }
    const type = ((query[at] ?? 0) << 8) | (query[at + 1] ?? 0);
    const questionClass = ((query[at + 2] ?? 0) << 8) | (query[at + 3] ?? 0);
    const questionEnd = at + 4;

    let payload = MIN_UDP_BYTES;
    let hasEdns = false;
    let dnssecOk = false;
    let version = 0;
    if (((query[6] ?? 0) | (query[7] ?? 0) | (query[8] ?? 0) | (query[9] ?? 0) | (query[10] ?? 0)) === 0 && query[11] === 0 && questionEnd === size) {
      // No records: nothing more to read.
    } else if (isPlainOpt(query, size, questionEnd)) {
      hasEdns = true;
      payload = ((query[questionEnd + 3] ?? 0) << 8) | (query[questionEnd + 4] ?? 0);
      version = query[questionEnd + 6] ?? 0;
      dnssecOk = ((query[questionEnd + 7] ?? 0) & 0x80) !== 0;
    } else {
      const edns = readAdditional(query, size, questionEnd);
      if (edns === 'malformed') return this.#headerOnly(query, out, RCODE.FORMERR);
      if (edns !== undefined) {
        hasEdns = true;
        ({ payload, version, dnssecOk } = edns);
      }
    }
    const limit = transport.tcp ? out.length : payload < MIN_UDP_BYTES ? MIN_UDP_BYTES : payload > UDP_PAYLOAD ? UDP_PAYLOAD : payload;
    const counted = type < COUNTED_TYPES ? type : 0;
    this.counts.byType[counted] = (this.counts.byType[counted] ?? 0) + 1;

    let rcode: number = RCODE.NOERROR;
    let flags = 0;
    let tail: AnswerTail | undefined;
    let apexAt = HEADER_BYTES;
    if (version !== 0) rcode = RCODE.BADVERS;
    else if (type === 0 || type === TYPE.OPT) rcode = RCODE.FORMERR;
    else if (questionClass === CLASS.IN) {
      const entry = this.#table.find(query, HEADER_BYTES, at, hash);
      if (type > 127 && type < TYPE.ANY) {
        if (type !== TYPE.AXFR) rcode = RCODE.NOTIMP;
        else if (!transport.tcp || !transport.trusted) rcode = RCODE.REFUSED;
        else return TRANSFER;
      } else if (entry !== undefined) {
        tail = this.#table.tail(entry, type);
        flags = FLAG_AA;
      } else {
        const apex = this.#table.findApex(query, HEADER_BYTES, at);
        if (apex === undefined) rcode = RCODE.REFUSED;
        else {
          rcode = RCODE.NXDOMAIN;
          flags = FLAG_AA;
          // The apex's own NODATA answer begins with a pointer to the question; here the apex begins later in it.
          tail = this.#table.tail(apex.entry, 0);
          apexAt = apex.offset;
        }
      }
    } else if (questionClass === CLASS.CH && transport.trusted) {
      tail = answerChaos(query, type, this.identity);
      if (tail === undefined) rcode = RCODE.REFUSED;
      else flags = FLAG_AA;
    } else rcode = RCODE.REFUSED;

    for (let i = 0; i < questionEnd; i++) out[i] = query[i] ?? 0;
    let length = questionEnd;
    const bytes = tail?.bytes;
    if (bytes !== undefined && tail !== undefined) {
      if (length + bytes.length + (hasEdns ? OPT_BYTES : 0) > limit) {
        flags |= FLAG_TC;
        this.counts.truncated++;
        tail = undefined;
      } else {
        for (let i = 0; i < bytes.length; i++) out[length + i] = bytes[i] ?? 0;
        if (apexAt !== HEADER_BYTES) {
          out[length] = 0xc0 | (apexAt >> 8);
          out[length + 1] = apexAt & 255;
        }
        length += bytes.length;
      }
    }
    out[2] = FLAG_QR | flags | ((query[2] ?? 0) & FLAG_RD);
    out[3] = ((query[3] ?? 0) & FLAG_CD) | (rcode & 15);
    out[6] = 0;
    out[7] = tail?.answers ?? 0;
    out[8] = 0;
    out[9] = tail?.authorities ?? 0;
    out[10] = 0;
    out[11] = (tail?.additionals ?? 0) + (hasEdns ? 1 : 0);
    if (hasEdns) length = writeOpt(out, length, rcode, dnssecOk);
    this.counts.byRcode[rcode] = (this.counts.byRcode[rcode] ?? 0) + 1;
    return length;
  }

  #drop(): number {
    this.counts.dropped++;
    return DROP;
  }

  /** An answer without a question, to a message whose question cannot be read or is meaningless. */
  #headerOnly(query: Uint8Array, out: Uint8Array, rcode: number): number {
    out[0] = query[0] ?? 0;
    out[1] = query[1] ?? 0;
    out[2] = FLAG_QR | ((query[2] ?? 0) & 0x79);
    out[3] = ((query[3] ?? 0) & FLAG_CD) | rcode;
    out.fill(0, 4, HEADER_BYTES);
    this.counts.byRcode[rcode] = (this.counts.byRcode[rcode] ?? 0) + 1;
    return HEADER_BYTES;
  }
}

/** True when exactly one record follows, an OPT at the root that fills the message: what every resolver sends. */
function isPlainOpt(query: Uint8Array, size: number, at: number): boolean {
  return (
    ((query[6] ?? 0) | (query[7] ?? 0) | (query[8] ?? 0) | (query[9] ?? 0) | (query[10] ?? 0)) === 0 &&
    query[11] === 1 &&
    at + OPT_BYTES <= size &&
    query[at] === 0 &&
    query[at + 1] === 0 &&
    query[at + 2] === TYPE.OPT &&
    at + OPT_BYTES + (((query[at + 9] ?? 0) << 8) | (query[at + 10] ?? 0)) === size
  );
}

/** Our OPT record (RFC 6891 section 6.1.2): payload, upper bits of the rcode, version 0, the client's DO bit (RFC 3225). */
function writeOpt(out: Uint8Array, at: number, rcode: number, dnssecOk: boolean): number {
  out[at] = 0;
  out[at + 1] = 0;
  out[at + 2] = TYPE.OPT;
  out[at + 3] = UDP_PAYLOAD >> 8;
  out[at + 4] = UDP_PAYLOAD & 255;
  out[at + 5] = rcode >> 4;
  out[at + 6] = 0;
  out[at + 7] = dnssecOk ? 0x80 : 0;
  out[at + 8] = 0;
  out[at + 9] = 0;
  out[at + 10] = 0;
  return at + OPT_BYTES;
}
