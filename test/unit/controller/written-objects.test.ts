import { expect, it } from 'vitest';
import { WrittenObjects } from '../../../src/controller/written-objects.ts';

const object = (resourceVersion: string, uid = 'u') => ({ uid, resourceVersion });
const seen = (...entries: readonly (readonly [string, ReturnType<typeof object>])[]) => new Map(entries);
const versions = (merged: ReadonlyMap<string, ReturnType<typeof object>>) => Object.fromEntries([...merged].map(([key, one]) => [key, one.resourceVersion]));

it('a write counts until the watch has shown it', () => {
  const written = new WrittenObjects<ReturnType<typeof object>>();
  written.put('a', object('12'));
  expect(versions(written.merge(seen(['a', object('9')]), '10', 0))).toEqual({ a: '12' });
  expect(versions(written.merge(seen(['a', object('12')]), '12', 0))).toEqual({ a: '12' });
  expect(versions(written.merge(seen(), '13', 0))).toEqual({}); // deleted since
});

it('what somebody else wrote later counts more', () => {
  const written = new WrittenObjects<ReturnType<typeof object>>();
  written.put('a', object('12'));
  expect(versions(written.merge(seen(['a', object('15', 'another')]), '11', 0))).toEqual({ a: '15' });
});

it('a new object is there before the watch shows it', () => {
  const written = new WrittenObjects<ReturnType<typeof object>>();
  written.put('a', object('12'));
  expect(versions(written.merge(seen(), '11', 0))).toEqual({ a: '12' });
});

it('a deleted object is gone, until another of its name comes, or it will not go', () => {
  const written = new WrittenObjects<ReturnType<typeof object>>();
  written.remove('a', 'u', 0);
  expect(versions(written.merge(seen(['a', object('9')]), '10', 1))).toEqual({});
  expect(versions(written.merge(seen(['a', object('14', 'new')]), '14', 2))).toEqual({ a: '14' });
  written.remove('b', 'u', 0);
  expect(versions(written.merge(seen(['b', object('9')]), '10', 10_000))).toEqual({ b: '9' });
});
