import { parsePath } from './parsers.ts';

/** Names that HTTP, browsers, libraries or the proxies themselves use: their values would be taken for tokens, and they would not be forwarded. */
const TAKEN_HEADERS = new Set(
  (
    'accept accept-encoding authorization cache-control connection content-encoding content-length content-type cookie date expect forwarded ' +
    'host http2-settings keep-alive origin proxy-authorization proxy-connection range referer set-cookie te traceparent trailer transfer-encoding ' +
    'upgrade user-agent via x-forwarded-for x-forwarded-host x-forwarded-proto x-onehop-reason x-real-ip x-request-id'
  ).split(' '),
);
const MAX_NAME = 1_024;

/** The name of a header that nobody else uses. Of what RFC 9110 (section 5.6.2) allows, what every server and library lets pass. */
export function parseTokenHeader(text: string): string {
  if (!/^[A-Za-z][0-9A-Za-z-]{0,63}$/.test(text)) throw new Error(`'${text}' is not a header's name of at most 64 letters, digits and '-'`);
  if (TAKEN_HEADERS.has(text.toLowerCase())) throw new Error(`'${text}' has a meaning of its own in HTTP; choose a name that nothing else uses, such as X-Onehop-Token`);
  return text;
}

/** An http(s) URL without credentials (a command line is no place for them), else a path. */
export function parseTokenJwks(text: string, workingDirectory: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return parsePath(text, workingDirectory);
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error(`'${text}' is no http(s) URL and no path`);
  if (url.username !== '' || url.password !== '' || url.hash !== '') throw new Error('a URL of keys has no user, password or fragment');
  return url.href;
}

/** An issuer or an audience: compared character by character. */
export function parseTokenName(text: string): string {
  if (!/^[\x21-\x7e]+$/.test(text) || text.length > MAX_NAME) throw new Error(`'${text}' is not 1 to ${MAX_NAME} characters of ASCII without blanks`);
  return text;
}
