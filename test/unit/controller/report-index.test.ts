import { expect, it } from 'vitest';
import { ReportIndex } from '../../../src/controller/report-index.ts';

const report = (node: string, version: string, over = {}) => ({ node, version, notInEffect: new Map<string, string>(), live: true, renewedAtMs: 0, ...over });
const index = new ReportIndex([
  report('n1', '9'),
  report('n2', '10'),
  report('n3', '100', { notInEffect: new Map([['shop/cart', 'port-taken']]) }),
  report('n4', '100', { live: false }),
  report('n5', 'none'),
]);

it.each([
  ['9', 2, 3, 'shop/cart'],
  ['10', 1, 2, 'shop/cart'],
  ['101', 0, 0, 'shop/cart'],
])('from version %s on it is in effect on %i nodes (%i where none refuses)', (since, refused, all, key) => {
  expect([index.count(key, since).count, index.count('shop/other', since).count]).toEqual([refused, all]);
});

it('counts live nodes only, and names those that refuse what they know', () => {
  expect(index.count('shop/cart', '50')).toEqual({ count: 0, of: 4, refusals: ['n3: port-taken'] });
  expect(index.count('shop/cart', '101')).toEqual({ count: 0, of: 4, refusals: [] });
  expect(index.count('shop/cart', undefined)).toEqual({ count: 0, of: 4, refusals: [] });
});

it('counts 5,000 nodes for 1,000 routes in a moment', () => {
  const crowd = new ReportIndex(Array.from({ length: 5_000 }, (_, i) => report(`n${i}`, String(1_000 + i))));
  const startMs = performance.now();
  for (let i = 0; i < 1_000; i++) expect(crowd.count(`shop/r${i}`, '2000').count).toBe(4_000);
  expect(performance.now() - startMs).toBeLessThan(2_000); // each pair looked at: far more
});
