import type { NameEntry, NameTable } from './name-table.ts';
import { HEADER_BYTES, RCODE, WireWriter } from './wire.ts';
import { RECORD_TYPES, writeRecords } from './write-records.ts';

/** Bytes after which a transfer message is sent; one more name always fits behind it. */
const MESSAGE_BYTES = 8 * 1024;
const BUFFER_BYTES = 16 * 1024;

/**
 * The messages of a zone transfer (AXFR, RFC 5936) in answer to `query`, whose question ends at `questionEnd`: SOA, everything
 * under the apex, SOA. One message per step, so that a large zone is written in slices.
 * @returns false when the zone changed meanwhile: the transfer is worthless and its connection must be cut.
 */
export function* transferZone(table: NameTable, apex: NameEntry, query: Uint8Array, questionEnd: number): Generator<Uint8Array, boolean> {
  const { revision } = table;
  let message = startMessage(query, questionEnd);
  let records = writeRecords(message, apex.name, apex.records, 'SOA');
  for (const entry of table.entries()) {
    if (table.apexOf(entry.name) !== apex) continue;
    for (const type of RECORD_TYPES) {
      if (type !== 'SOA') records += writeRecords(message, entry.name, entry.records, type);
    }
    if (message.length < MESSAGE_BYTES) continue;
    yield finishMessage(message, records);
    if (table.revision !== revision) return false;
    message = startMessage(query, questionEnd);
    records = 0;
  }
  records += writeRecords(message, apex.name, apex.records, 'SOA');
  yield finishMessage(message, records);
  return true;
}

/** Refusal of a transfer: REFUSED, or NOTAUTH for a name that is no apex of ours (RFC 5936 section 2.2.1). */
export function refuseTransfer(query: Uint8Array, questionEnd: number, rcode: number): Uint8Array {
  const message = startMessage(query, questionEnd);
  message.bytes[2] = 0x80;
  message.bytes[3] = rcode;
  return finishMessage(message, 0);
}

function startMessage(query: Uint8Array, questionEnd: number): WireWriter {
  const message = new WireWriter(BUFFER_BYTES);
  message.raw(query.subarray(0, questionEnd));
  // QR and AA; RD and everything else clear.
  message.bytes[2] = 0x84;
  message.bytes[3] = RCODE.NOERROR;
  message.bytes.fill(0, 6, HEADER_BYTES);
  return message;
}

function finishMessage(message: WireWriter, records: number): Uint8Array {
  message.bytes[6] = records >>> 8;
  message.bytes[7] = records & 255;
  return message.written();
}
