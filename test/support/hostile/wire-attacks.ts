/** Requests that try to mean one thing to a proxy and another to the server behind it. Texts are bytes (latin1). */

const head = (...lines: readonly string[]): string => `${lines.join('\r\n')}\r\n\r\n`;
const post = (lines: readonly string[], body: string): string => `${head('POST / HTTP/1.1', 'Host: x', ...lines)}${body}`;
const get = (...lines: readonly string[]): string => head('GET / HTTP/1.1', 'Host: x', ...lines);
const SMUGGLED = head('GET /smuggled HTTP/1.1', 'Host: x', 'X-Onehop-Token: smuggled');

export const WIRE_ATTACKS: Readonly<Record<string, string>> = {
  'Content-Length and Transfer-Encoding': post(['Content-Length: 6', 'Transfer-Encoding: chunked'], `0\r\n\r\n${SMUGGLED}`),
  'Transfer-Encoding and Content-Length': post(['Transfer-Encoding: chunked', `Content-Length: ${SMUGGLED.length}`], SMUGGLED),
  'two Content-Lengths': post(['Content-Length: 0', `Content-Length: ${SMUGGLED.length}`], SMUGGLED),
  'a signed Content-Length': post(['Content-Length: +3'], 'abc'),
  'a list of Content-Lengths': post([`Content-Length: 0, ${SMUGGLED.length}`], SMUGGLED),
  'a Content-Length behind a blank': post([`Content-Length : ${SMUGGLED.length}`], SMUGGLED),
  'a huge Content-Length': post(['Content-Length: 18446744073709551617'], 'a'),
  'an unknown coding': post(['Transfer-Encoding: xchunked'], `0\r\n\r\n${SMUGGLED}`),
  'chunked and another coding': post(['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], `0\r\n\r\n${SMUGGLED}`),
  'a coding behind a vertical tab': post(['Transfer-Encoding: \u000bchunked', 'Content-Length: 5'], `0\r\n\r\n${SMUGGLED}`),
  'a coding behind a blank': post(['Transfer-Encoding : chunked', 'Content-Length: 5'], `0\r\n\r\n${SMUGGLED}`),
  'a folded coding': post(['Transfer-Encoding:\r\n chunked', 'Content-Length: 5'], `0\r\n\r\n`),
  'a coding in HTTP/1.0': `${head('POST / HTTP/1.0', 'Host: x', 'Connection: keep-alive', 'Transfer-Encoding: chunked')}0\r\n\r\n${SMUGGLED}`,
  'a chunk size that overflows': post(['Transfer-Encoding: chunked'], `10000000000000001\r\na\r\n0\r\n\r\n${SMUGGLED}`),
  'a chunk size in C': post(['Transfer-Encoding: chunked'], `0x1\r\na\r\n0\r\n\r\n${SMUGGLED}`),
  'a chunk without end': post(['Transfer-Encoding: chunked'], `1\r\nab\r\n0\r\n\r\n${SMUGGLED}`),
  'a body that looks like a request': `${get(`Content-Length: ${SMUGGLED.length}`)}${SMUGGLED}`,
  'a header behind a fold': get('X-A: 1', ' X-Onehop-Token: t'),
  'a header behind a fold at the top': `GET / HTTP/1.1\r\n X-Onehop-Token: t\r\nHost: x\r\n\r\n`,
  'a header behind a bare line feed': get('X-A: b\nX-Onehop-Token: t'),
  'a header behind a bare carriage return': get('X-A: b\rX-Onehop-Token: t'),
  'a header behind a NUL': get('X-A: b\u0000X-Onehop-Token: t'),
  'bare line feeds': 'GET / HTTP/1.1\nHost: x\nX-Onehop-Token: t\nX-Forwarded-For: 6.6.6.6\n\n',
  'two Hosts': get('Host: y'),
  'no Host': head('GET / HTTP/1.1'),
  'another host in the target': head('GET http://evil.example/p HTTP/1.1', 'Host: x'),
  'CONNECT': `${head('CONNECT 127.88.90.100:8080 HTTP/1.1', 'Host: x')}${SMUGGLED}`,
  'our headers in other spellings': get('X-ONEHOP-TOKEN: t', 'x-oneHop-Reason: r', 'X_Onehop_Token: t', 'x-onehop_token: t', 'X_ONEHOP-Reason: r', 'X-Onehop-: e'),
  'the token twice': get('X-Onehop-Token: a', 'x-onehop-token: b'),
  'a token behind a blank': get('X-Onehop-Token : t'),
  'a false address in every spelling': get('X-Forwarded-For: 6.6.6.6', 'x-forwarded-for: 6.6.6.6', 'X_Forwarded_For: 6.6.6.6', 'X-Forwarded_For: 6.6.6.6'),
  'Connection lists what we say': get('Connection: x-forwarded-for, X-Onehop-Token, host, keep-alive', 'X-Onehop-Token: t'),
  'Connection lists the length': post(['Connection: content-length', `Content-Length: ${SMUGGLED.length}`], SMUGGLED),
  'Connection lists the coding': post(['Connection: transfer-encoding', 'Transfer-Encoding: chunked'], `0\r\n\r\n`),
  'an upgrade to h2c': get('Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'),
  'an upgrade to h2c among others': get('Connection: Upgrade, x-forwarded-for', 'Upgrade: foo, H2C', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'),
  'the preface of HTTP/2 as a request': head('PRI * HTTP/1.1', 'Host: x'),
  'a request of HTTP/0.9': 'GET /\r\n',
  'a huge header': get(`X-A: ${'x'.repeat(200_000)}`),
  'a thousand headers': get(...Array.from({ length: 1_000 }, (_, i) => `X-A${i}: b`)),
  'a huge target': head(`GET /${'x'.repeat(100_000)} HTTP/1.1`, 'Host: x'),
  'terminal escapes': get('X-A: \u001b[2J\u001b]0;owned\u0007', 'User-Agent: \u009b31m'),
};

/** HEADERS of HTTP/2 with these lines, each as it stands: what HTTP/1.1 could not carry in one line. */
export function http2Request(lines: readonly (readonly [name: string, value: string])[], body?: string): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'latin1');
    return Buffer.concat([bytes.length < 127 ? Buffer.from([bytes.length]) : Buffer.from([127, (bytes.length - 127) & 127]), bytes]);
  };
  const block = Buffer.concat(lines.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
  const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
    const header = Buffer.alloc(9);
    header.writeUIntBE(payload.length, 0, 3);
    header[3] = type;
    header[4] = flags;
    header.writeUInt32BE(stream, 5);
    return Buffer.concat([header, payload]);
  };
  const END_HEADERS = 4;
  const END_STREAM = 1;
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame(4, 0, 0, Buffer.alloc(0)),
    frame(1, END_HEADERS | (body === undefined ? END_STREAM : 0), 1, block),
    ...(body === undefined ? [] : [frame(0, END_STREAM, 1, Buffer.from(body, 'latin1'))]),
  ]);
}

const PSEUDO = [[':method', 'GET'], [':scheme', 'http'], [':path', '/'], [':authority', 'x']] as const;
const instead = (name: string, value: string): readonly (readonly [string, string])[] => PSEUDO.map(([key, was]) => [key, key === name ? value : was]);

export const HTTP2_ATTACKS: Readonly<Record<string, Buffer>> = {
  'a line break in a value': http2Request([...PSEUDO, ['x-a', `b\r\nX-Onehop-Token: t\r\n\r\n${SMUGGLED}`.slice(0, 120)]]),
  'a line break in a name': http2Request([...PSEUDO, ['x-a: b\r\nx-onehop-token', 't']]),
  'a colon in a name': http2Request([...PSEUDO, ['x-onehop-token: t', 'u']]),
  'a line break in the path': http2Request(instead(':path', '/ HTTP/1.1\r\nX-Onehop-Token: t\r\nx: ')),
  'a blank in the path': http2Request(instead(':path', '/smuggled HTTP/1.1 ')),
  'a line break in the method': http2Request(instead(':method', 'GET /smuggled HTTP/1.1\r\nx:')),
  'a line break in the authority': http2Request(instead(':authority', 'x\r\nX-Onehop-Token: t')),
  'a path twice': http2Request([...PSEUDO, [':path', '/smuggled']]),
  'a pseudo header behind others': http2Request([...PSEUDO, ['x-a', 'b'], [':authority', 'evil']]),
  'a pseudo header of ours': http2Request([...PSEUDO, [':x-onehop-token', 't']]),
  'a name in capitals': http2Request([...PSEUDO, ['X-Onehop-Token', 't']]),
  'Transfer-Encoding': http2Request([...instead(':method', 'POST'), ['transfer-encoding', 'chunked']], `0\r\n\r\n${SMUGGLED}`),
  'a Content-Length below the body': http2Request([...instead(':method', 'POST'), ['content-length', '0']], SMUGGLED),
  'Connection': http2Request([...PSEUDO, ['connection', 'x-forwarded-for']]),
  'Upgrade': http2Request([...PSEUDO, ['upgrade', 'h2c'], ['http2-settings', 'AAMAAABkAARAAAAAAAIAAAAA']]),
  'our headers in other spellings': http2Request([...PSEUDO, ['x-onehop-token', 't'], ['x_onehop_token', 't'], ['x_forwarded_for', '6.6.6.6'], ['x-forwarded-for', '6.6.6.6']]),
  'two hosts': http2Request([...PSEUDO, ['host', 'y'], ['host', 'z']]),
};
