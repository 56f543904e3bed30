/** Header lines as Node gives them: name, value, name, value, ... in the order of the wire. */
export type RawHeaders = readonly string[];

/** Meaningful on one connection alone (RFC 9110 section 7.6.1), so never passed on as they are. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'te', 'http2-settings']);
const OURS = 'x-onehop-';
/** Servers with CGI's names (WSGI, PHP) cannot tell `_` from `-`. */
const plainName = (lowerName: string): string => lowerName.replaceAll('_', '-');

function* lines(raw: RawHeaders): Generator<readonly [name: string, value: string, lowerName: string]> {
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    yield [name, raw[i + 1] ?? '', name.toLowerCase()];
  }
}

/** Value of the last line of a header, trimmed and not split at commas; undefined when it is absent. */
export function lastHeaderValue(raw: RawHeaders, name: string): string | undefined {
  const wanted = name.toLowerCase();
  for (let i = raw.length - 2; i >= 0; i -= 2) {
    if (raw[i]?.toLowerCase() === wanted) return (raw[i + 1] ?? '').trim();
  }
  return undefined;
}

/** Hop-by-hop names of this message: the fixed ones and those that its Connection header lists. */
function hopByHop(raw: RawHeaders): ReadonlySet<string> {
  const listed = [...lines(raw)].filter(([, , name]) => name === 'connection').flatMap(([, value]) => value.toLowerCase().split(',').map((token) => token.trim()));
  return listed.length === 0 ? HOP_BY_HOP : new Set([...HOP_BY_HOP, ...listed.filter((name) => name !== 'host' && name !== 'content-length')]);
}

/**
 * The request's headers as a server gets them: without pseudo and hop-by-hop headers, the token and `x-onehop-*`; `Host` as the client
 * gave it (`:authority` in HTTP/2), `X-Forwarded-For` set to the caller's address whatever the client says, cookies in one line
 * (RFC 9113 section 8.2.3), `TE: trailers` kept because gRPC servers ask for it.
 */
export function requestHeaders(raw: RawHeaders, from: { readonly clientAddress: string; readonly tokenHeader: string }): string[] {
  const dropped = hopByHop(raw);
  const token = from.tokenHeader.toLowerCase();
  const kept: string[] = [];
  const cookies: string[] = [];
  const host = lastHeaderValue(raw, 'host') === undefined ? lastHeaderValue(raw, ':authority') : undefined;
  for (const [name, value, lower] of lines(raw)) {
    if (lower === 'cookie') cookies.push(value);
    else if (lower === 'te' && /(?:^|,)\s*trailers\s*(?:[,;]|$)/i.test(value)) kept.push(name, 'trailers');
    else if (!lower.startsWith(':') && !dropped.has(lower) && lower !== token && !isOursToSay(plainName(lower))) kept.push(name, value);
  }
  if (host !== undefined) kept.unshift('Host', host);
  if (cookies.length > 0) kept.push('Cookie', cookies.join('; '));
  kept.push('X-Forwarded-For', from.clientAddress);
  return kept;
}

/** Never believed when a client says it. */
const isOursToSay = (name: string): boolean => name.startsWith(OURS) || name === 'x-forwarded-for';

/**
 * Whether a request can be understood in two ways: two Hosts (RFC 9112 section 3.2), a target in absolute form that names another host
 * than Host does (section 3.2.2: the server would see either one), or a coding that HTTP/1.0 does not have (section 6.1).
 */
export function isAmbiguous(raw: RawHeaders, target: string, httpVersion: string): boolean {
  if (httpVersion === '1.0' && lastHeaderValue(raw, 'transfer-encoding') !== undefined) return true;
  const hosts = [...lines(raw)].filter(([, , name]) => name === 'host').map(([, value]) => value.trim().toLowerCase());
  if (hosts.length > 1 || target.includes('#')) return true;
  const authority = /^[a-z][a-z0-9+.-]*:\/\/([^/?]*)/i.exec(target)?.[1]?.toLowerCase();
  return authority !== undefined && authority !== hosts[0];
}

/** The response's headers as the client gets them: without pseudo and hop-by-hop headers and without a server's own `x-onehop-*`. */
export function responseHeaders(raw: RawHeaders): string[] {
  const dropped = hopByHop(raw);
  return [...lines(raw)].flatMap(([name, value, lower]) => (lower.startsWith(':') || lower.startsWith(OURS) || dropped.has(lower) ? [] : [name, value]));
}

/** About the connection, the length or the caller: never in trailers (RFC 9110 section 6.5.1). */
const NO_TRAILER = new Set([...HOP_BY_HOP, 'host', 'content-length', 'trailer', 'authorization', 'cookie', 'forwarded']);

/** Trailer lines that may be passed on. */
export const trailerPairs = (raw: RawHeaders): [string, string][] =>
  [...lines(raw)].flatMap(([name, value, lower]) => (lower.startsWith(':') || isOursToSay(plainName(lower)) || NO_TRAILER.has(lower) ? [] : [[name, value]]));

/** Headers for Node's HTTP/2 calls: lower-case names, repeated ones as lists. */
export function http2Headers(raw: RawHeaders): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = Object.create(null);
  for (const [, value, name] of lines(raw)) {
    const earlier = headers[name];
    headers[name] = earlier === undefined ? value : [...(Array.isArray(earlier) ? earlier : [earlier]), value];
  }
  return headers;
}

/** Whether a request has a body (RFC 9112 section 6.3). */
export const declaresBody = (raw: RawHeaders): boolean =>
  lastHeaderValue(raw, 'transfer-encoding') !== undefined || (lastHeaderValue(raw, 'content-length') ?? '0') !== '0';
