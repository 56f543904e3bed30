import { describe, expect, test } from 'vitest';
import { buildZone } from '../../../src/dns/build-zone.ts';
import { NameTable } from '../../../src/dns/name-table.ts';
import { planZoneChange } from '../../../src/dns/plan-zone-change.ts';
import { Responder, TRANSFER } from '../../../src/dns/responder.ts';
import { wireName } from '../../../src/dns/wire.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { ask, query, respond, responderOf, TCP, UDP } from '../../support/dns-query.ts';
import { dnsRoute, dnsVersion, dnsZone } from '../../support/dns-zone.ts';

const pool = parseVipPool('169.254.192.0/19,fd00::/64');
const long = 'n'.repeat(60);
const zone = dnsZone(
  [
    dnsRoute({ namespace: 'shop', name: 'cart', vip: '169.254.193.1', vip6: 'fd00::101', globalVip: '169.254.193.2', globalVip6: 'fd00::102' }),
    dnsRoute({ namespace: 'shop', name: 'big', vip: '169.254.193.3', versions: Array.from({ length: 9 }, (_, i) => dnsVersion(`${long}${i}`)) }),
  ],
  pool,
);
const responder = responderOf(zone);
const NAME = 'cart.shop.route.internal';
const SOA = { mname: 'ns.route.internal', rname: 'hostmaster.route.internal', serial: zone.serial, refresh: 60, retry: 30, expire: 86_400, minimum: 5 };
const EDNS = { edns: {} };

describe('records', () => {
  test.each([
    ['A', NAME, '169.254.193.1'],
    ['AAAA', NAME, 'fd00::101'],
    ['A', 'cart.global.route.internal', '169.254.193.2'],
    ['AAAA', 'cart.global.route.internal', 'fd00::102'],
    ['PTR', '1.193.254.169.in-addr.arpa', NAME],
    ['PTR', '10.192.254.169.in-addr.arpa', 'ns.route.internal'],
    ['PTR', `2.0.1.0.${'0.'.repeat(24)}0.0.d.f.ip6.arpa`, 'cart.global.route.internal'],
    ['SRV', `_http._tcp.${NAME}`, { priority: 0, weight: 0, port: 80, target: NAME }],
    ['SRV', `_80._tcp.${NAME}`, { priority: 0, weight: 0, port: 80, target: NAME }],
    ['TXT', NAME, ['route shop/cart', 'http port 80', 'rule none'].map((text) => Buffer.from(text))],
    ['NS', 'route.internal', 'ns.route.internal'],
    ['NS', '192.254.169.in-addr.arpa', 'ns.route.internal'],
    ['SOA', 'route.internal', SOA],
    ['A', 'ns.route.internal', '169.254.192.10'],
  ])('%s of %s', (type, name, data) => {
    const answer = ask(responder, name, type, EDNS);
    expect(answer).toMatchObject({ id: 4711, rcode: 'NOERROR', flag_qr: true, flag_aa: true, flag_rd: true, flag_ra: false, flag_tc: false, flag_ad: false });
    expect(answer.answers).toMatchObject([{ type, name, ttl: 30, class: 'IN', data }]);
    expect(answer.authorities).toEqual([]);
  });

  test('SRV brings the addresses of its target, NS that of the name server', () => {
    const glue = (answer: ReturnType<typeof ask>): unknown[] => (answer.additionals ?? []).map((record) => [record.name, record.type, 'data' in record ? record.data : undefined]);
    expect(glue(ask(responder, `_http._tcp.${NAME}`, 'SRV'))).toEqual([[NAME, 'A', '169.254.193.1'], [NAME, 'AAAA', 'fd00::101']]);
    expect(glue(ask(responder, 'route.internal', 'NS'))).toEqual([['ns.route.internal', 'A', '169.254.192.10']]);
  });

  test('ANY is answered with one HINFO (RFC 8482)', () => {
    expect(ask(responder, NAME, 'ANY').answers).toMatchObject([{ type: 'HINFO', name: NAME, data: { cpu: 'RFC8482', os: '' } }]);
    expect(ask(responder, 'shop.route.internal', 'ANY')).toMatchObject({ rcode: 'NOERROR', answers: [] });
  });

  test('the case of the question is kept, as resolvers that randomise it require', () => {
    const answer = ask(responder, 'CaRt.SHOP.rOuTe.InTeRnAl', 'A');
    expect(answer.questions).toMatchObject([{ name: 'CaRt.SHOP.rOuTe.InTeRnAl' }]);
    expect(answer.answers).toMatchObject([{ name: 'CaRt.SHOP.rOuTe.InTeRnAl', data: '169.254.193.1' }]);
  });

  test('RD and CD are copied, RA, AD and Z are clear', () => {
    expect(ask(responder, NAME, 'A', { flags: 0 })).toMatchObject({ flag_rd: false, flag_ra: false, flag_cd: false });
    expect(ask(responder, NAME, 'A', { flags: 0x01f0 })).toMatchObject({ flag_rd: true, flag_ra: false, flag_z: false, flag_ad: false, flag_cd: true });
  });
});

describe('negative answers', () => {
  const soaOf = (answer: ReturnType<typeof ask>): unknown => answer.authorities;

  test.each([
    ['an unknown route', `nope.shop.route.internal`, 'route.internal'],
    ['an unknown namespace', `cart.nope.route.internal`, 'route.internal'],
    ['below a route', `x.${NAME}`, 'route.internal'],
    ['an unknown service', `_ftp._tcp.${NAME}`, 'route.internal'],
    ['a free address of the pool', '77.200.254.169.in-addr.arpa', '200.254.169.in-addr.arpa'],
    ['the longest name there is', `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(45)}.route.internal`, 'route.internal'],
  ])('%s is NXDOMAIN with the SOA of its zone, TTL 5', (_, name, apex) => {
    const answer = ask(responder, name, 'A', EDNS);
    expect(answer).toMatchObject({ rcode: 'NXDOMAIN', flag_aa: true, answers: [] });
    expect(soaOf(answer)).toMatchObject([{ type: 'SOA', name: apex, ttl: 5, data: SOA }]);
  });

  test('a zone of one label, at the far end of the longest name', () => {
    const short = responderOf(buildZone({ zoneName: 'z', globalNamespace: 'global', pool, routes: [], nodeName: 'n', version: '1' }));
    const answer = ask(short, `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(59)}.z`, 'A');
    expect(answer).toMatchObject({ rcode: 'NXDOMAIN', authorities: [{ type: 'SOA', name: 'z' }] });
  });

  test.each([
    ['another type of a route', NAME, 'MX'],
    ['a type beyond all known', NAME, 'UNKNOWN_4711'],
    ['a namespace', 'shop.route.internal', 'A'],
    ['_tcp', `_tcp.${NAME}`, 'SRV'],
    ['the apex', 'route.internal', 'A'],
    ['no AAAA', 'big.shop.route.internal', 'AAAA'],
    ['a part of an address', '193.254.169.in-addr.arpa', 'PTR'],
  ])('%s is NODATA with the SOA of its zone', (_, name, type) => {
    const answer = ask(responder, name, type);
    expect(answer).toMatchObject({ rcode: 'NOERROR', flag_aa: true, answers: [] });
    expect(soaOf(answer)).toMatchObject([{ type: 'SOA', ttl: 5, data: SOA }]);
  });

  test.each(['google.com', 'internal', '.', 'xroute.internal', '1.193.254.10.in-addr.arpa', 'in-addr.arpa', 'ip6.arpa'])('%s lies outside: REFUSED, no authority', (name) => {
    expect(ask(responder, name, 'A', EDNS)).toMatchObject({ rcode: 'REFUSED', flag_aa: false, answers: [], authorities: [] });
  });

  test('other classes are refused', () => {
    for (const other of ['CS', 'HS', 'ANY'] as const) expect(ask(responder, NAME, 'A', { class: other }).rcode).toBe('REFUSED');
  });
});

describe('class CH', () => {
  test.each([['id.server', 'node-a'], ['hostname.bind', 'node-a'], ['version.server', 'onehop 0.1.0'], ['VERSION.BIND', 'onehop 0.1.0']])('%s', (name, text) => {
    expect(ask(responder, name, 'TXT', { class: 'CH' })).toMatchObject({ rcode: 'NOERROR', answers: [{ type: 'TXT', class: 'CH', ttl: 0, data: [Buffer.from(text)] }] });
  });
  test('another type is empty, another name refused', () => {
    expect(ask(responder, 'id.server', 'A', { class: 'CH' })).toMatchObject({ rcode: 'NOERROR', answers: [] });
    expect(ask(responder, NAME, 'TXT', { class: 'CH' }).rcode).toBe('REFUSED');
  });
  test('listeners outside the pool refuse it', () => {
    expect(ask(responder, 'id.server', 'TXT', { class: 'CH' }, { tcp: false, trusted: false }).rcode).toBe('REFUSED');
  });
});

describe('EDNS', () => {
  test('a query with OPT gets one of ours: 1232 bytes, version 0, the DO bit copied', () => {
    for (const flags of [0, 0x8000]) {
      const { additionals } = ask(responder, NAME, 'A', { edns: { payload: 4096, flags } });
      expect(additionals).toMatchObject([{ type: 'OPT', name: '.', udpPayloadSize: 1232, extendedRcode: 0, ednsVersion: 0, flags, options: [] }]);
    }
  });

  test('a query without OPT gets none', () => expect(ask(responder, NAME, 'A').additionals).toEqual([]));

  test('another version is BADVERS', () => {
    const answer = ask(responder, NAME, 'A', { edns: { version: 1 } });
    expect(answer).toMatchObject({ rcode: 'NOERROR', answers: [], additionals: [{ type: 'OPT', extendedRcode: 1, ednsVersion: 0 }] });
  });

  test('options and further records do not disturb', () => {
    const opt = { type: 'OPT' as const, name: '.' as const, udpPayloadSize: 1232, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [{ code: 10, data: Buffer.from('12345678') }] };
    const other = { type: 'A' as const, name: 'some.name.in.the.query', data: '10.0.0.1' };
    expect(ask(responder, NAME, 'A', { more: { additionals: [opt] } as never }).answers).toHaveLength(1);
    const answer = ask(responder, NAME, 'A', { more: { additionals: [other, opt], authorities: [other], answers: [other] } as never });
    expect(answer).toMatchObject({ rcode: 'NOERROR', answers: [{ data: '169.254.193.1' }], additionals: [{ type: 'OPT' }] });
    expect(ask(responder, NAME, 'A', { more: { additionals: [opt, opt] } as never }).rcode).toBe('FORMERR');
    expect(ask(responder, NAME, 'A', { more: { answers: [opt] } as never }).rcode).toBe('FORMERR');
  });

  test.each([
    [undefined, true],
    [{ payload: 100 }, true],
    [{ payload: 512 }, true],
    [{ payload: 1232 }, false],
    [{ payload: 65_535 }, false],
  ])('a text of more than 512 bytes, client limit %j', (edns, truncated) => {
    const answer = ask(responder, 'big.shop.route.internal', 'TXT', edns === undefined ? {} : { edns });
    expect(answer).toMatchObject({ rcode: 'NOERROR', flag_tc: truncated });
    expect(answer.answers).toHaveLength(truncated ? 0 : 1);
    expect(answer.bytes.length).toBeLessThanOrEqual(truncated ? 512 : 1232);
  });

  test('no client can have a limit below 512 bytes', () => {
    expect(ask(responder, NAME, 'A', { edns: { payload: 20 } })).toMatchObject({ flag_tc: false, answers: [{ data: '169.254.193.1' }] });
  });

  test('over TCP nothing is cut', () => {
    const answer = ask(responder, 'big.shop.route.internal', 'TXT', {}, TCP);
    expect(answer.flag_tc).toBe(false);
    expect(answer.bytes.length).toBeGreaterThan(512);
  });
});

describe('what is no proper query', () => {
  const good = query(NAME, 'A');
  const patched = (change: (bytes: Buffer) => void): Uint8Array => {
    const bytes = Buffer.from(good);
    change(bytes);
    return bytes;
  };
  const header = (counts: number[], rest: Uint8Array = Buffer.alloc(0)): Uint8Array => Buffer.concat([Buffer.from([0x12, 0x34, 1, 0, ...counts.flatMap((count) => [count >> 8, count & 255])]), rest]);

  test('an answer is never answered', () => expect(respond(responder, patched((bytes) => (bytes[2] = 0x81)))).toBeUndefined());
  test('less than a header is never answered', () => {
    for (let size = 0; size < 12; size++) expect(respond(responder, good.subarray(0, size))).toBeUndefined();
  });

  const name = (...labels: string[]): Uint8Array => Buffer.concat([...labels.map((label) => Buffer.from([label.length, ...Buffer.from(label)])), Buffer.from([0, 0, 1, 0, 1])]);
  test.each([
    ['no question', header([0, 0, 0, 0])],
    ['two questions', header([2, 0, 0, 0], Buffer.concat([good.subarray(12), good.subarray(12)]))],
    ['a pointer as name', header([1, 0, 0, 0], Buffer.from([0xc0, 12, 0, 1, 0, 1]))],
    ['a pointer behind a label', header([1, 0, 0, 0], Buffer.from([1, 97, 0xc0, 12, 0, 1, 0, 1]))],
    ['a label type from the future', header([1, 0, 0, 0], Buffer.from([0x41, 1, 0, 0, 1, 0, 1]))],
    ['a name of 256 bytes', header([1, 0, 0, 0], name('a'.repeat(63), 'b'.repeat(63), 'c'.repeat(63), 'd'.repeat(62)))],
    ['a name that does not end', header([1, 0, 0, 0], Buffer.from([5, 97, 97]))],
    ['no class', good.subarray(0, good.length - 1)],
    ['bytes behind the message', Buffer.concat([good, Buffer.from([0])])],
    ['a record count without records', patched((bytes) => (bytes[11] = 1))],
    ['65,535 records without records', patched((bytes) => bytes.fill(255, 6, 12))],
    ['query type 0', patched((bytes) => (bytes[bytes.length - 3] = 0))],
    ['query type OPT', patched((bytes) => (bytes[bytes.length - 3] = 41))],
    ['more than 4096 bytes', Buffer.concat([good, Buffer.alloc(4096)])],
  ])('%s: FORMERR', (_, bytes) => {
    const answer = respond(responder, bytes);
    expect(answer).toMatchObject({ id: Buffer.from(bytes).readUInt16BE(0), rcode: 'FORMERR', flag_qr: true, flag_aa: false, answers: [], authorities: [] });
  });

  test('a name of 255 bytes is still one', () => {
    expect(respond(responder, header([1, 0, 0, 0], name('a'.repeat(63), 'b'.repeat(63), 'c'.repeat(63), 'd'.repeat(61))))?.rcode).toBe('REFUSED');
  });

  test.each([1, 2, 4, 5, 6, 15])('opcode %i: NOTIMP, opcode copied', (opcode) => {
    const answer = respond(responder, patched((bytes) => (bytes[2] = opcode << 3)));
    expect(answer?.rcode).toBe('NOTIMP');
    expect(((answer?.bytes[2] ?? 0) >> 3) & 15).toBe(opcode);
  });

  test.each([128, 249, 250, 251, 253, 254])('meta type %i: NOTIMP', (type) => {
    expect(respond(responder, patched((bytes) => (bytes[bytes.length - 3] = type)))?.rcode).toBe('NOTIMP');
  });

  test('AXFR is for TCP on trusted listeners', () => {
    const axfr = query('route.internal', 'AXFR');
    expect(respond(responder, axfr, UDP)?.rcode).toBe('REFUSED');
    expect(respond(responder, axfr, { tcp: true, trusted: false })?.rcode).toBe('REFUSED');
    expect(responder.respond(axfr, axfr.length, Buffer.alloc(1232), TCP)).toBe(TRANSFER);
  });
});

describe('changes', () => {
  test('names come, change and go, and answers that repeat their addresses follow', () => {
    const first = dnsZone([dnsRoute({ namespace: 'a', name: 'x', vip: '127.77.1.1' }), dnsRoute({ namespace: 'a', name: 'y', vip: '127.77.1.2' })]);
    const second = dnsZone([dnsRoute({ namespace: 'a', name: 'x', vip: '127.77.1.3' }), dnsRoute({ namespace: 'b', name: 'z', vip: '127.77.1.4' })]);
    const table = new NameTable(1);
    table.apply(planZoneChange(undefined, first));
    const changing = new Responder(table, first.identity);
    expect(ask(changing, '_http._tcp.x.a.route.internal', 'SRV').additionals).toMatchObject([{ data: '127.77.1.1' }]);
    expect(ask(changing, 'nope.route.internal', 'A').authorities).toMatchObject([{ data: { serial: first.serial } }]);

    table.apply(planZoneChange(first, second));
    expect(ask(changing, '_http._tcp.x.a.route.internal', 'SRV').additionals).toMatchObject([{ data: '127.77.1.3' }]);
    expect(ask(changing, 'nope.route.internal', 'A').authorities).toMatchObject([{ data: { serial: second.serial } }]);
    expect(ask(changing, 'y.a.route.internal', 'A').rcode).toBe('NXDOMAIN');
    expect(ask(changing, 'z.b.route.internal', 'A').answers).toMatchObject([{ data: '127.77.1.4' }]);
    expect(table.size).toBe(second.names.size);

    table.apply(planZoneChange(second, first));
    expect(ask(changing, 'z.b.route.internal', 'A').rcode).toBe('NXDOMAIN');
    expect(ask(changing, 'b.route.internal', 'A').rcode).toBe('NXDOMAIN');
  });

  test('an unchanged zone needs no steps, a changed one few, its apexes last', () => {
    const routes = Array.from({ length: 50 }, (_, i) => dnsRoute({ namespace: 'a', name: `r${i}`, vip: `127.77.1.${i}` }));
    const before = dnsZone(routes);
    expect(planZoneChange(before, dnsZone(routes))).toEqual([]);
    const steps = planZoneChange(before, dnsZone(routes.slice(1)));
    expect(steps.length).toBeLessThan(10);
    expect(steps.slice(-2).map(([name]) => name)).toEqual(['route.internal', '77.127.in-addr.arpa']);
  });
});

test('names whose hashes collide are told apart, also after one of them goes', () => {
  const table = new NameTable(7);
  const byHash = new Map<number, string>();
  const pairs: [string, string][] = [];
  // 400,000 names have about 18 pairs of equal 32-bit hashes.
  for (let i = 0; pairs.length < 1 && i < 400_000; i++) {
    const text = `n${(Math.imul(i, 0x9e37_79b1) >>> 0).toString(36)}-${i}.z`;
    const wire = wireName(text);
    const hash = table.hashName(wire, 0, wire.length);
    const other = byHash.get(hash);
    if (other === undefined) byHash.set(hash, text);
    else pairs.push([other, text]);
  }
  const [[a, b] = ['', '']] = pairs;
  expect(a).not.toBe('');
  const find = (text: string): string | undefined => {
    const wire = wireName(text);
    return table.find(wire, 0, wire.length, table.hashName(wire, 0, wire.length))?.name;
  };
  table.apply([[a, {}], [b, {}]]);
  expect([find(a), find(b)]).toEqual([a, b]);
  table.apply([[a, undefined]]);
  expect([find(a), find(b)]).toEqual([undefined, b]);
  table.apply([[a, {}], [b, undefined]]);
  expect([find(a), find(b)]).toEqual([a, undefined]);
  table.apply([[b, {}], [b, undefined]]);
  expect([find(a), find(b)]).toEqual([a, undefined]);
});
