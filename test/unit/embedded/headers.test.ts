import { describe, expect, it } from 'vitest';
import { declaresBody, http2Headers, isAmbiguous, lastHeaderValue, requestHeaders, responseHeaders, trailerPairs } from '../../../src/embedded/headers.ts';

const from = { clientAddress: '10.0.0.1', tokenHeader: 'X-Onehop-Token' };

describe('headers', () => {
  it('finds the last line of a header, trimmed, and tells empty from absent', () => {
    const raw = ['X-V', 'one', 'x-v', ' two ', 'Y', ''];
    expect(lastHeaderValue(raw, 'X-v')).toBe('two');
    expect(lastHeaderValue(raw, 'y')).toBe('');
    expect(lastHeaderValue(raw, 'z')).toBeUndefined();
  });

  it('drops what belongs to one connection, what Connection lists, what is ours, and a client\'s X-Forwarded-For', () => {
    const raw = ['Host', 'h', 'Connection', 'Keep-Alive, X-Hop, Host', 'Keep-Alive', '5', 'X-Hop', '1', 'TE', 'gzip', 'Transfer-Encoding', 'chunked', 'x-forwarded-for', '6.6.6.6', 'X-ONEHOP-Anything', '1', 'x-onehop-token', 't', 'Via', 'v'];
    expect(requestHeaders(raw, from)).toEqual(['Host', 'h', 'Via', 'v', 'X-Forwarded-For', '10.0.0.1']);
  });

  it('drops a token header of another name', () => {
    expect(requestHeaders(['x-token', 't'], { ...from, tokenHeader: 'X-Token' })).toEqual(['X-Forwarded-For', '10.0.0.1']);
  });

  it('makes HTTP/1.1 headers of HTTP/2 ones', () => {
    expect(requestHeaders([':method', 'GET', ':authority', 'h:80', 'cookie', 'a=1', 'cookie', 'b=2', 'te', 'trailers'], from)).toEqual(['Host', 'h:80', 'te', 'trailers', 'Cookie', 'a=1; b=2', 'X-Forwarded-For', '10.0.0.1']);
  });

  it('keeps repeated response headers, and nothing that claims to be ours', () => {
    expect(responseHeaders(['Set-Cookie', 'a', 'Set-Cookie', 'b', 'X-Onehop-Reason', 'fake', 'Transfer-Encoding', 'chunked'])).toEqual(['Set-Cookie', 'a', 'Set-Cookie', 'b']);
    expect({ ...http2Headers(['Set-Cookie', 'a', 'set-cookie', 'b', 'X', '1', '__proto__', 'p']) }).toMatchObject({ 'set-cookie': ['a', 'b'], x: '1' });
  });

  it('drops what servers with names as CGI has them would take for ours, and what trailers may not say', () => {
    expect(requestHeaders(['X_Onehop_Token', 't', 'x-onehop_Reason', 'r', 'X_Forwarded_For', '6.6.6.6', 'x_other', 'k'], from)).toEqual(['x_other', 'k', 'X-Forwarded-For', '10.0.0.1']);
    expect(trailerPairs(['X-Onehop-Token', 't', 'X-Forwarded-For', '6.6.6.6', 'Host', 'h', 'Content-Length', '3', 'grpc-status', '0'])).toEqual([['grpc-status', '0']]);
  });

  it.each<[readonly string[], string, string, boolean]>([
    [['Host', 'x'], '/', '1.1', false],
    [['Host', 'x', 'host', 'x'], '/', '1.1', true],
    [['Host', 'X'], 'http://x/p', '1.1', false],
    [['Host', 'x'], 'http://y/p', '1.1', true],
    [['Host', 'x'], '/a#b', '1.1', true],
    [['Host', 'x', 'Transfer-Encoding', 'chunked'], '/', '1.1', false],
    [['Host', 'x', 'Transfer-Encoding', 'chunked'], '/', '1.0', true],
    [[':authority', 'x'], '/', '2.0', false],
  ])('%j for %s in HTTP/%s is ambiguous: %s', (raw, target, version, expected) => {
    expect(isAmbiguous(raw, target, version)).toBe(expected);
  });

  it.each([
    [['Content-Length', '0'], false],
    [['Content-Length', '7'], true],
    [['Transfer-Encoding', 'chunked'], true],
    [[], false],
  ])('%j declares a body: %s', (raw, expected) => {
    expect(declaresBody(raw)).toBe(expected);
  });
});
