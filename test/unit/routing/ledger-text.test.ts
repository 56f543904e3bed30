import { expect, it } from 'vitest';
import { parseLedger, renderLedger } from '../../../src/routing/ledger-text.ts';
import type { VipRecords } from '../../../src/routing/assign-vips.ts';

const records: VipRecords = new Map([
  ['169.254.200.1', { key: '*/pay', namespace: 'shop', freed: { atMs: Date.UTC(2026, 10, 22), version: '99' } }],
  ['169.254.193.1', { key: 'shop/cart' }],
  ['169.254.193.2', { key: 'shop/old', freed: { atMs: 1_500, version: '12345678901234567890' } }],
]);
const data = {
  '169.254.193.1': 'shop/cart',
  '169.254.193.2': 'shop/old freed 1970-01-01T00:00:01.500Z 12345678901234567890',
  '169.254.200.1': '*/pay of shop freed 2026-11-22T00:00:00.000Z 99',
};

it('the ledger is one line per address, in their order', () => {
  expect(renderLedger(records)).toEqual(data);
  expect(Object.keys(renderLedger(records))).toEqual(Object.keys(data));
  expect(parseLedger(data)).toEqual(records);
});

it('entries that did not change keep their identity', () => {
  const before = parseLedger(data);
  const after = parseLedger({ ...data, '169.254.193.1': 'bank/cart' }, before);
  expect([after.get('169.254.193.2') === before.get('169.254.193.2'), after.get('169.254.193.1')]).toEqual([true, { key: 'bank/cart' }]);
});

it.each(['', 'shop', 'shop/cart freed', 'shop/cart freed never 3', 'shop/cart\nfreed', 'a/b of c of d', `${'x'.repeat(70)}/y`])('an entry that says %j is nobody\'s, and its address rests before it is given', (text) => {
  expect(parseLedger({ '169.254.193.1': text })).toEqual(new Map([['169.254.193.1', { key: 'unreadable/entry' }]]));
});

it('what is no address is not ours', () => {
  expect(parseLedger({ README: 'edit with care', '::1': 'shop/cart', '300.1.1.1': 'shop/cart' })).toEqual(new Map());
});
