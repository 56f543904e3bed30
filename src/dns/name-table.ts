import type { ZoneStep } from './plan-zone-change.ts';
import { RECORD_TYPES, writeRecord, writeRecords, type RecordType } from './write-records.ts';
import { HEADER_BYTES, MAX_NAME_BYTES, TYPE, UDP_PAYLOAD, WireWriter, wireName } from './wire.ts';
import { NEGATIVE_TTL_SECONDS, TTL_SECONDS, type NameRecords } from './zone.ts';

/** What follows the question in an answer, ready to be copied: the same for every client that asks. */
export interface AnswerTail {
  readonly bytes: Uint8Array;
  readonly answers: number;
  readonly authorities: number;
  readonly additionals: number;
  /** The table's revision it was built from; an older one is built anew. */
  readonly revision: number;
}

/** One name of the zone. `key` is its wire form in lower case; `next` chains names of equal hash. */
export interface NameEntry {
  readonly name: string;
  readonly key: Uint8Array;
  readonly records: NameRecords;
  readonly tails: (AnswerTail | undefined)[];
  next: NameEntry | undefined;
}

/** Slot of a query type in `NameEntry.tails`; every type without records shares one slot, so that a name's answers are bounded. */
const SLOTS: ReadonlyMap<number, number> = new Map([...RECORD_TYPES.map((type) => TYPE[type]), TYPE.ANY].map((code, index) => [code, index]));
const NO_DATA_SLOT = SLOTS.size;

/** RFC 8482 section 4.2: one HINFO record instead of everything. */
const ANY_HINFO = 'RFC8482';

const isUpper = (byte: number): boolean => byte > 64 && byte < 91;

/** FNV-1a over the lower-cased bytes of a wire name. Length bytes are below 64, so lower-casing leaves them alone. */
export const FNV_PRIME = 16_777_619;

/**
 * The names of the zone, found by the bytes of a question, with their answers precomputed on first use.
 *
 * Invariants: a change touches one name at a time and costs nothing else: answers of other names that repeat its records
 * (glue, SOA) carry the revision they were built from. Only names of the zone are ever remembered, each with at most
 * one tail per record type; questions about unknown names leave nothing behind.
 */
export class NameTable {
  /** Start value of the name hash; random per process, so that nobody can choose names that collide. */
  readonly seed: number;
  /** Counts changes. */
  revision = 0;
  readonly #byHash = new Map<number, NameEntry>();
  readonly #byName = new Map<string, NameEntry>();
  /** Wire lengths at which an apex may begin, so that unknown names need no more than a few look-ups. */
  readonly #apexLengths = new Map<number, number>();

  constructor(seed: number) {
    this.seed = seed | 0;
  }

  get size(): number {
    return this.#byName.size;
  }

  apply(steps: readonly ZoneStep[]): void {
    for (const [name, records] of steps) {
      this.#remove(name);
      if (records !== undefined) this.#add(name, records);
    }
    this.revision++;
  }

  get(name: string): NameEntry | undefined {
    return this.#byName.get(name);
  }

  /** Every entry, in the order in which names were set. The caller stops when `revision` changes. */
  entries(): IterableIterator<NameEntry> {
    return this.#byName.values();
  }

  /** The entry of the wire name at `query[start..end)`; `hash` is its hash (see {@link hashName}). */
  find(query: Uint8Array, start: number, end: number, hash: number): NameEntry | undefined {
    for (let entry = this.#byHash.get(hash); entry !== undefined; entry = entry.next) {
      if (sameName(entry.key, query, start, end)) return entry;
    }
    return undefined;
  }

  /** The closest apex at or above the wire name at `query[start..end)`, and where it begins; undefined: not our zone. */
  findApex(query: Uint8Array, start: number, end: number): { readonly entry: NameEntry; readonly offset: number } | undefined {
    for (let at = start; at < end - 1; at += (query[at] ?? 0) + 1) {
      if (!this.#apexLengths.has(end - at)) continue;
      const entry = this.find(query, at, end, this.hashName(query, at, end));
      if (entry?.records.SOA !== undefined) return { entry, offset: at };
    }
    return undefined;
  }

  hashName(query: Uint8Array, start: number, end: number): number {
    let hash = this.seed;
    for (let at = start; at < end; at++) {
      const byte = query[at] ?? 0;
      hash = Math.imul(hash ^ (isUpper(byte) ? byte + 32 : byte), FNV_PRIME);
    }
    return hash;
  }

  /** What follows the question when `entry` is asked for `type`: records, or the SOA alone (NODATA). */
  tail(entry: NameEntry, type: number): AnswerTail {
    const slot = SLOTS.get(type) ?? NO_DATA_SLOT;
    const known = entry.tails[slot];
    if (known !== undefined && known.revision === this.revision) return known;
    const built = this.#buildTail(entry, type);
    entry.tails[slot] = built;
    return built;
  }

  /** The closest apex at or above a name of the table. */
  apexOf(name: string): NameEntry | undefined {
    for (let at = name; ; at = at.slice(at.indexOf('.') + 1)) {
      const entry = this.#byName.get(at);
      if (entry?.records.SOA !== undefined) return entry;
      if (!at.includes('.')) return undefined;
    }
  }

  #buildTail(entry: NameEntry, code: number): AnswerTail {
    const writer = new WireWriter(UDP_PAYLOAD);
    const type = RECORD_TYPES.find((known) => TYPE[known] === code);
    let answers = 0;
    let additionals = 0;
    let authorities = 0;
    if (type !== undefined) {
      answers = writeRecords(writer, HEADER_BYTES, entry.records, type);
      for (const target of targetsOf(entry.records, type)) {
        const glue = this.#byName.get(target)?.records ?? {};
        additionals += writeRecords(writer, target, glue, 'A') + writeRecords(writer, target, glue, 'AAAA');
      }
    } else if (code === TYPE.ANY && Object.keys(entry.records).length > 0) {
      writeRecord(writer, HEADER_BYTES, TYPE.HINFO, TTL_SECONDS, () => {
        writer.counted(ANY_HINFO, 255);
        writer.counted('', 255);
      });
      answers = 1;
    }
    if (answers === 0) {
      const apex = this.apexOf(entry.name);
      // The apex is a suffix of the name, so the pointer goes into the question.
      if (apex !== undefined) authorities = writeNegativeSoa(writer, HEADER_BYTES + entry.key.length - apex.key.length, apex.records);
    }
    return { bytes: writer.written(), answers, authorities, additionals, revision: this.revision };
  }

  #add(name: string, records: NameRecords): void {
    const key = wireName(name);
    if (key.length > MAX_NAME_BYTES) return;
    const hash = this.hashName(key, 0, key.length);
    const entry: NameEntry = { name, key, records, tails: Array.from({ length: NO_DATA_SLOT + 1 }), next: this.#byHash.get(hash) };
    this.#byHash.set(hash, entry);
    this.#byName.set(name, entry);
    if (records.SOA !== undefined) this.#apexLengths.set(key.length, (this.#apexLengths.get(key.length) ?? 0) + 1);
  }

  #remove(name: string): void {
    const entry = this.#byName.get(name);
    if (entry === undefined) return;
    this.#byName.delete(name);
    const hash = this.hashName(entry.key, 0, entry.key.length);
    this.#unlink(hash, entry);
    if (entry.records.SOA !== undefined) {
      const left = (this.#apexLengths.get(entry.key.length) ?? 1) - 1;
      if (left === 0) this.#apexLengths.delete(entry.key.length);
      else this.#apexLengths.set(entry.key.length, left);
    }
  }

  #unlink(hash: number, entry: NameEntry): void {
    let before = this.#byHash.get(hash);
    if (before === entry) {
      if (entry.next === undefined) this.#byHash.delete(hash);
      else this.#byHash.set(hash, entry.next);
      return;
    }
    while (before !== undefined && before.next !== entry) before = before.next;
    if (before !== undefined) before.next = entry.next;
  }
}

/** Writes an apex's SOA as the authority of a negative answer: its TTL is the negative one (RFC 2308 section 3). */
export function writeNegativeSoa(writer: WireWriter, ownerOffset: number, apex: NameRecords): number {
  return writeRecords(writer, ownerOffset, apex, 'SOA', NEGATIVE_TTL_SECONDS);
}

/** Names whose addresses a resolver will want next. */
function targetsOf(records: NameRecords, type: RecordType): readonly string[] {
  if (type === 'NS') return records.NS ?? [];
  if (type === 'SRV') return (records.SRV ?? []).map((srv) => srv.target);
  return [];
}

function sameName(key: Uint8Array, query: Uint8Array, start: number, end: number): boolean {
  if (key.length !== end - start) return false;
  for (let i = 0; i < key.length; i++) {
    const byte = query[start + i] ?? 0;
    if (key[i] !== byte && !(isUpper(byte) && key[i] === byte + 32)) return false;
  }
  return true;
}
