import { describe, expect, it } from 'vitest';
import { fitListeners, largestChecked } from '../../../src/haproxy/fit-limits.ts';
import { aRoute, aTable } from '../../support/route-tables.ts';

const routes = (namespace: string, count: number) => Array.from({ length: count }, (_, i) => aRoute(`r${i}`, { namespace, vip: `127.72.${10 + (i >> 8)}.${i & 255}`, listen: 8080, versions: [] }));

describe('the budget for listeners', () => {
  it('leaves a table alone that fits', () => {
    const table = aTable(routes('a', 150), []);
    expect(fitListeners(table, 1000)).toEqual({ table, problems: [] });
  });

  it('cuts the namespace that asks for most, never a small one', () => {
    const { table, problems } = fitListeners(aTable([...routes('big', 500), ...routes('small', 20), ...routes('tiny', 1)], []), 1000);
    const kept = (namespace: string) => table.routes.filter((route) => route.namespace === namespace).length;
    expect([kept('big'), kept('small'), kept('tiny')]).toEqual([129, 20, 1]);
    expect(problems).toHaveLength(371);
    expect(problems[0]).toMatchObject({ code: 'too-many-listeners', object: { namespace: 'big' } });
  });

  it('shares equally between equals', () => {
    const { table } = fitListeners(aTable([...routes('a', 200), ...routes('b', 200)], []), 1000);
    expect(Map.groupBy(table.routes, (route) => route.namespace).get('a')).toHaveLength(75);
  });
});

describe('the budget for checks', () => {
  it.each([
    [[2, 5, 256], 1000, Infinity],
    [[2, 5, 600], 1000, 5],
    [[400, 400, 2], 1000, 399],
    [[], 1000, Infinity],
  ])('of %j under %d files: versions up to %d servers are checked', (counts, files, largest) => {
    expect(largestChecked(counts, files)).toBe(largest);
  });
});
