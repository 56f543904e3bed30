import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DROP, TRANSFER } from '../../src/dns/responder.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';
import { ask, decode, query, responderOf, TCP, UDP } from '../support/dns-query.ts';
import { dnsRoute, dnsVersion, dnsZone, manyDnsRoutes } from '../support/dns-zone.ts';

const responder = responderOf(dnsZone(manyDnsRoutes(20)));
const transport = fc.constantFrom(UDP, TCP, { tcp: false, trusted: false });

/** True when the message is dropped, a transfer where one may be, or gets an answer of its own id that the oracle can read. */
function isWellAnswered(bytes: Uint8Array, where: typeof UDP): boolean {
  const out = Buffer.alloc(1232);
  const length = responder.respond(bytes, bytes.length, out, where);
  if (length === TRANSFER) return where === TCP;
  if (length === DROP) return true;
  if (length < 12 || length > 1232) return false;
  const answer = decode(out.subarray(0, length));
  return answer.id === Buffer.from(bytes).readUInt16BE(0) && answer.type === 'response' && !answer.flag_ra;
}

describe('nothing on the wire can disturb', () => {
  test('arbitrary bytes never throw, and every answer can be read and is within the limit', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 700 }), transport, (bytes, where) => {
      expect(isWellAnswered(bytes, where)).toBe(true);
    }), { numRuns: 5000 });
  });

  test('arbitrary bytes behind a query header neither', () => {
    const counts = fc.constantFrom(0, 1, 2, 255);
    const message = fc.tuple(fc.uint8Array({ maxLength: 300 }), counts, counts, counts, counts).map(([rest, qd, an, ns, ar]) => Uint8Array.from([1, 2, 1, 0, 0, qd, 0, an, 0, ns, 0, ar, ...rest]));
    fc.assert(fc.property(message, transport, (bytes, where) => {
      expect(isWellAnswered(bytes, where)).toBe(true);
    }), { numRuns: 5000 });
  });

  test('a proper query with some bytes changed, cut or appended neither', () => {
    const good = fc.constantFrom(query('svc1.ns1.route.internal', 'A', { edns: {} }), query('_http._tcp.svc1.ns1.route.internal', 'SRV'), query('nope.route.internal', 'TXT', { edns: { payload: 65_535 } }));
    const change = fc.array(fc.tuple(fc.nat(80), fc.integer({ min: 0, max: 255 })), { maxLength: 6 });
    const mutated = fc.tuple(good, change, fc.nat(90), fc.uint8Array({ maxLength: 20 })).map(([bytes, changes, keep, more]) => {
      const copy = Buffer.from(bytes);
      for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
      return Buffer.concat([copy.subarray(0, keep), more]);
    });
    fc.assert(fc.property(mutated, transport, (bytes, where) => {
      expect(isWellAnswered(bytes, where)).toBe(true);
    }), { numRuns: 10_000 });
  });
});

test('every name of any zone answers every type, in a form that the oracle reads back, and within one packet', () => {
  const label = fc.stringMatching(/^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
  const pool = parseVipPool('169.254.192.0/19,fd00::/64');
  const route = fc.record({
    name: label,
    namespace: label,
    slot: fc.nat(pool.size - 1),
    listen: fc.integer({ min: 1, max: 65_535 }),
    protocol: fc.constantFrom('http' as const, 'tcp' as const),
    targetPort: fc.oneof(label, fc.string(), fc.integer({ min: 1, max: 65_535 })),
    header: fc.string({ unit: 'binary', maxLength: 600 }),
    versions: fc.array(label, { maxLength: 16 }),
  });
  fc.assert(
    fc.property(fc.array(route, { maxLength: 5 }), (routes) => {
      const zone = dnsZone(
        routes.map(({ slot, header, versions, ...rest }) =>
          dnsRoute({ ...rest, vip: `169.254.${193 + (slot >> 8)}.${slot & 255}`, vip6: `fd00::${slot.toString(16)}`, rule: { type: 'Header', header }, versions: versions.map((name) => dnsVersion(name)) }),
        ),
        pool,
      );
      const filled = responderOf(zone);
      for (const [name, records] of zone.names) {
        for (const type of ['A', 'AAAA', 'SRV', 'TXT', 'PTR', 'NS', 'SOA', 'ANY', 'MX'] as const) {
          const answer = ask(filled, name, type, { edns: {} });
          expect(answer).toMatchObject({ rcode: 'NOERROR', flag_tc: false, flag_aa: true });
          const expected = type === 'ANY' ? Math.min(1, Object.keys(records).length) : type === 'MX' ? 0 : type === 'SOA' ? Number(records.SOA !== undefined) : (records[type]?.length ?? 0);
          expect(answer.answers).toHaveLength(expected);
          expect(answer.authorities).toHaveLength(expected === 0 ? 1 : 0);
        }
      }
    }),
    { numRuns: 100 },
  );
});
