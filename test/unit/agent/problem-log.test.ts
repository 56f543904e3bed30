import { expect, it } from 'vitest';
import { ProblemLog } from '../../../src/agent/problem-log.ts';
import { problem } from '../../../src/model/problem.ts';

const at = (line: number, message = 'bad') =>
  problem({ code: 'field-invalid', object: { kind: 'ServiceRoute', namespace: 'shop', name: 'cart' }, message, remedy: 'mend it', origin: { file: 'a.yaml', line } });

it('a Problem is told once while it lasts, wherever an edit moves it, and once when it is resolved', () => {
  const log = new ProblemLog();
  expect(log.update([at(3)], 9).appeared).toHaveLength(1);
  expect(log.update([at(9)], 9)).toEqual({ appeared: [], resolved: [], waiting: 0 });
  expect(log.update([at(9, 'worse')], 9)).toMatchObject({ appeared: [at(9, 'worse')], resolved: [at(3)] });
  expect(log.update([], 9)).toMatchObject({ appeared: [], resolved: [at(9, 'worse')] });
});

it('a flood is told part by part, and nothing of it is lost', () => {
  const log = new ProblemLog();
  const flood = Array.from({ length: 7 }, (_, i) => at(i, `bad ${i}`));
  const passes = Array.from({ length: 4 }, () => log.update(flood, 3));
  expect(passes.map(({ waiting }) => waiting)).toEqual([4, 1, 0, 0]);
  expect(passes.flatMap(({ appeared }) => appeared)).toEqual(flood);
  expect(Array.from({ length: 4 }, () => log.update([], 3)).flatMap(({ resolved }) => resolved)).toEqual(flood);
});
