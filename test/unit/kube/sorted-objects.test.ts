import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SortedObjects } from '../../../src/kube/sorted-objects.ts';

interface One {
  readonly namespace: string;
  readonly name: string;
}

test('whatever changes, the list is what sorting everything gives', () => {
  const name = fc.constantFrom('a', 'b', 'a-b', 'b1', 'c', 'z');
  const change = fc.record({ namespace: fc.constantFrom('n', 'n-1', 'm'), name, gone: fc.boolean() });
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 80 }), { maxLength: 6 }), (rounds) => {
      const sorted = new SortedObjects<One>();
      const all = new Map<string, One>();
      for (const round of rounds) {
        const changes = new Map(round.map(({ namespace, name, gone }) => [`${namespace}/${name}`, gone ? undefined : { namespace, name }]));
        for (const [key, value] of changes) {
          if (value === undefined) all.delete(key);
          else all.set(key, value);
        }
        sorted.update(changes);
        const byCode = (a: One, b: One): number => (a.namespace < b.namespace ? -1 : a.namespace > b.namespace ? 1 : a.name < b.name ? -1 : 1);
        expect(sorted.list).toEqual([...all.values()].sort(byCode));
      }
    }),
  );
});

test('the list stays the very same when nothing changes', () => {
  const sorted = new SortedObjects<One>();
  const one = { namespace: 'a', name: 'b' };
  sorted.update(new Map([['a/b', one]]));
  const { list } = sorted;
  sorted.update(new Map([['a/b', one], ['a/c', undefined]]));
  expect(sorted.list).toBe(list);
});

test('many changes at once', () => {
  const sorted = new SortedObjects<One>();
  const objects = Array.from({ length: 300 }, (_, i) => ({ namespace: 'n', name: `p${(i * 7) % 300}` }));
  sorted.update(new Map(objects.map((one) => [`n/${one.name}`, one])));
  expect(sorted.list.map(({ name }) => name)).toEqual(objects.map(({ name }) => name).sort());
});
