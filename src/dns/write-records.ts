import ipaddr from 'ipaddr.js';
import { CLASS, TYPE, type WireWriter } from './wire.ts';
import { TTL_SECONDS, type NameRecords } from './zone.ts';

export type RecordType = keyof NameRecords;
export const RECORD_TYPES: readonly RecordType[] = ['SOA', 'NS', 'A', 'AAAA', 'PTR', 'SRV', 'TXT'];

/** Owner of a record: a name, or the offset of one earlier in the message (then a compression pointer). */
export type Owner = string | number;

/**
 * Writes all records of one type. Names inside the data are written in full: RFC 2782 forbids compressing them in SRV.
 * @returns how many records were written.
 */
export function writeRecords(writer: WireWriter, owner: Owner, records: NameRecords, type: RecordType, ttlSeconds = TTL_SECONDS): number {
  const data = dataWriters(writer, records, type);
  for (const writeData of data) writeRecord(writer, owner, TYPE[type], ttlSeconds, writeData);
  return data.length;
}

/** Writes one record of class IN; `writeData` writes its RDATA, whose length is filled in afterwards. */
export function writeRecord(writer: WireWriter, owner: Owner, type: number, ttlSeconds: number, writeData: () => void, recordClass: number = CLASS.IN): void {
  if (typeof owner === 'number') writer.pointer(owner);
  else writer.name(owner);
  writer.u16(type);
  writer.u16(recordClass);
  writer.u32(ttlSeconds);
  const lengthAt = writer.length;
  writer.u16(0);
  writeData();
  const length = writer.length - lengthAt - 2;
  writer.bytes[lengthAt] = length >>> 8;
  writer.bytes[lengthAt + 1] = length & 255;
}

function dataWriters(writer: WireWriter, records: NameRecords, type: RecordType): (() => void)[] {
  switch (type) {
    case 'A':
    case 'AAAA':
      return (records[type] ?? []).map((address) => () => writer.raw(ipaddr.parse(address).toByteArray()));
    case 'NS':
    case 'PTR':
      return (records[type] ?? []).map((name) => () => writer.name(name));
    case 'TXT':
      return (records.TXT ?? []).map((strings) => () => {
        for (const text of strings) writer.counted(text, 255);
      });
    case 'SRV':
      return (records.SRV ?? []).map((srv) => () => {
        for (const value of [srv.priority, srv.weight, srv.port]) writer.u16(value);
        writer.name(srv.target);
      });
    case 'SOA': {
      const { SOA: soa } = records;
      if (soa === undefined) return [];
      return [
        () => {
          writer.name(soa.mname);
          writer.name(soa.rname);
          for (const value of [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum]) writer.u32(value);
        },
      ];
    }
  }
}
