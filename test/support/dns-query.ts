import packet, { type DecodedPacket, type Packet } from 'dns-packet';
import { buildDnsAccess } from '../../src/dns/access.ts';
import { NameTable } from '../../src/dns/name-table.ts';
import { planZoneChange } from '../../src/dns/plan-zone-change.ts';
import { Responder, type Transport } from '../../src/dns/responder.ts';
import type { Zone } from '../../src/dns/zone.ts';
import { LOOPBACK_POOL } from './dns-zone.ts';

/** dns-packet as the oracle: it writes every query and reads every answer; none of its code is ours. */

export const UDP: Transport = { tcp: false, trusted: true };
export const TCP: Transport = { tcp: true, trusted: true };
export const ACCESS = buildDnsAccess(LOOPBACK_POOL);

export interface QueryOptions {
  readonly id?: number;
  readonly class?: 'IN' | 'CH' | 'CS' | 'HS' | 'ANY';
  readonly flags?: number;
  readonly edns?: { readonly payload?: number; readonly version?: number; readonly flags?: number };
  readonly more?: Packet;
}

export function query(name: string, type: string, options: QueryOptions = {}): Buffer {
  const { edns } = options;
  return packet.encode({
    type: 'query',
    id: options.id ?? 4711,
    flags: options.flags ?? packet.RECURSION_DESIRED,
    questions: [{ name, type: type as 'A', class: options.class ?? 'IN' }],
    ...(edns === undefined
      ? {}
      : { additionals: [{ type: 'OPT', name: '.', udpPayloadSize: edns.payload ?? 1232, extendedRcode: 0, ednsVersion: edns.version ?? 0, flags: edns.flags ?? 0, flag_do: false, options: [] }] }),
    ...options.more,
  });
}

/** Decoded header bits under names of their own; dns-packet's types leave some out. */
export type Answer = DecodedPacket & { readonly rcode: string; readonly bytes: Buffer };

export function decode(bytes: Uint8Array): Answer {
  const buffer = Buffer.from(bytes);
  return { ...(packet.decode(buffer) as DecodedPacket & { rcode: string }), bytes: buffer };
}

export function responderOf(zone: Zone): Responder {
  const table = new NameTable(0x1234_5678);
  table.apply(planZoneChange(undefined, zone));
  return new Responder(table, zone.identity);
}

/** The decoded answer to raw bytes; undefined when there is none. */
export function respond(responder: Responder, bytes: Uint8Array, transport = UDP): Answer | undefined {
  const out = Buffer.alloc(1232, 0xee);
  const length = responder.respond(bytes, bytes.length, out, transport);
  return length > 0 ? decode(out.subarray(0, length)) : undefined;
}

export function ask(responder: Responder, name: string, type: string, options?: QueryOptions, transport?: Transport): Answer {
  const answer = respond(responder, query(name, type, options), transport);
  if (answer === undefined) throw new Error(`no answer to ${name} ${type}`);
  return answer;
}
