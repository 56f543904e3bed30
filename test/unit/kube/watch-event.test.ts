import { describe, expect, test } from 'vitest';
import { ApiError, parseStatus } from '../../../src/kube/api-error.ts';
import { describeTrouble } from '../../../src/kube/describe-trouble.ts';
import { parseWatchEvent } from '../../../src/kube/parse-watch-event.ts';

const object = { metadata: { name: 'a', resourceVersion: '7' } };

test.each<[string, unknown, object | undefined]>([
  ['ADDED', { type: 'ADDED', object }, { type: 'changed', object, resourceVersion: '7' }],
  ['MODIFIED', { type: 'MODIFIED', object }, { type: 'changed', object, resourceVersion: '7' }],
  ['DELETED', { type: 'DELETED', object }, { type: 'deleted', object, resourceVersion: '7' }],
  ['BOOKMARK', { type: 'BOOKMARK', object }, { type: 'bookmark', resourceVersion: '7' }],
  ['a type of tomorrow', { type: 'MOVED', object }, undefined],
  ['no resourceVersion', { type: 'ADDED', object: { metadata: { name: 'a' } } }, undefined],
  ['an object that is none', { type: 'ADDED', object: 7 }, undefined],
  ['something else', [1], undefined],
])('an event: %s', (_, event, expected) => {
  expect(parseWatchEvent(JSON.stringify(event))).toEqual(expected);
});

test('a line that is no JSON is no event', () => {
  expect(parseWatchEvent('{"type":')).toBeUndefined();
});

test('an ERROR event carries its status', () => {
  const event = { type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version: 1 (2)' } };
  expect(parseWatchEvent(JSON.stringify(event))).toMatchObject({ type: 'error', error: { status: 410, reason: 'Expired', message: 'too old resource version: 1 (2)' } });
});

describe('a failed answer', () => {
  test.each<[string, Parameters<typeof parseStatus>, object]>([
    ['a Status', [403, { reason: 'Forbidden', message: 'no' }], { status: 403, reason: 'Forbidden', message: 'no' }],
    ['no body', [503, undefined], { status: 503, reason: 'ServiceUnavailable', message: 'the API server answered 503' }],
    ['Retry-After', [429, undefined, '7'], { retryAfterMs: 7000 }],
    ['a Retry-After of a week is cut', [429, undefined, '604800'], { retryAfterMs: 300_000 }],
    ['a date is passed over', [429, undefined, 'Wed, 21 Oct 2026 07:28:00 GMT'], { status: 429 }],
    ['seconds in the Status', [500, { details: { retryAfterSeconds: 2 } }], { retryAfterMs: 2000 }],
    ['text that steers a terminal', [400, { message: '\u001b[31mred' }], { message: '\\u{1b}[31mred' }],
  ])('%s', (_, input, expected) => {
    expect(parseStatus(...input)).toMatchObject(expected);
  });

  test('is bounded', () => {
    const { message, reason } = parseStatus(400, { message: 'x'.repeat(5_000), reason: 'y'.repeat(5_000) });
    expect([message.length, reason.length]).toEqual([300, 64]);
  });
});

test.each<[number, string]>([
  [0, 'may not'],
  [401, 'refuses the credentials'],
  [403, 'allow list and watch of serviceroutes.paas.io'],
  [404, 'install the CRD of this version'],
  [410, 'it is listed again'],
  [429, 'overloaded'],
  [500, '(500)'],
])('trouble %i has a remedy', (status, part) => {
  const { message, remedy } = describeTrouble({ name: 'serviceroutes.paas.io', path: '/' }, 'list', 'https://h', new ApiError({ status, reason: '', message: 'may not' }));
  expect(`${message}; ${remedy}`).toContain(part);
});
