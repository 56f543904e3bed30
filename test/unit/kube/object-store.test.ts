import { expect, test } from 'vitest';
import { ObjectStore } from '../../../src/kube/object-store.ts';

const raw = (name: string, version: number, value: unknown, uid = 'u1') => ({ metadata: { namespace: 'shop', name, uid, resourceVersion: String(version) }, value });
const store = (): ObjectStore<{ readonly kept: unknown }> => new ObjectStore((object) => (object['value'] === 'no' ? undefined : { kept: object['value'] }));

test('an event tells its key only when what is kept changed', () => {
  const one = store();
  expect(one.set(raw('a', 1, [1]))).toBe('shop/a');
  const before = one.values.get('shop/a');
  expect(one.set(raw('a', 2, [1]))).toBeUndefined();
  expect(one.values.get('shop/a')).toBe(before);
  expect(one.set(raw('a', 3, [2]))).toBe('shop/a');
  expect(one.delete(raw('a', 4, [2]))).toBe('shop/a');
  expect(one.delete(raw('a', 5, [2]))).toBeUndefined();
  expect(one.values.size).toBe(0);
});

test('another uid is another object, also with the same content', () => {
  const one = store();
  one.set(raw('a', 1, [1]));
  const before = one.values.get('shop/a');
  expect(one.set(raw('a', 2, [1], 'u2'))).toBe('shop/a');
  expect(one.values.get('shop/a')).not.toBe(before);
});

test('an object that is no longer wanted goes', () => {
  const one = store();
  one.set(raw('a', 1, 1));
  expect(one.set(raw('a', 2, 'no'))).toBe('shop/a');
  expect(one.values.has('shop/a')).toBe(false);
});

test('a list takes the place of what was held, and tells the difference', () => {
  const one = store();
  for (const object of [raw('same', 1, [1]), raw('touched', 1, [1]), raw('changed', 1, [1]), raw('gone', 1, [1]), raw('anew', 1, [1])]) one.set(object);
  const [same, touched] = [one.values.get('shop/same'), one.values.get('shop/touched')];
  one.beginList();
  for (const object of [raw('same', 1, [1]), raw('touched', 2, [1]), raw('changed', 2, [2]), raw('anew', 2, [1], 'u2'), raw('new', 2, [1])]) one.list(object);
  expect(one.values.has('shop/gone')).toBe(true);
  expect([...one.endList()].sort()).toEqual(['shop/anew', 'shop/changed', 'shop/gone', 'shop/new']);
  expect([...one.values.keys()].sort()).toEqual(['shop/anew', 'shop/changed', 'shop/new', 'shop/same', 'shop/touched']);
  expect([one.values.get('shop/same'), one.values.get('shop/touched')]).toEqual([same, touched]);
  expect(one.values.get('shop/touched')).toBe(touched);
});

test('a list that was given up leaves what is held', () => {
  const one = store();
  one.set(raw('a', 1, 1));
  one.beginList();
  one.list(raw('b', 2, 1));
  one.beginList();
  one.list(raw('a', 1, 1));
  expect([...one.endList()]).toEqual([]);
});
