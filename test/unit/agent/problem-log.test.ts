import { expect, it } from 'vitest';
import { ProblemLog } from '../../../src/agent/problem-log.ts';
import { problem } from '../../../src/model/problem.ts';

const at = (line: number, message = 'bad') =>
  problem({ code: 'field-invalid', object: { kind: 'ServiceRoute', namespace: 'shop', name: 'cart' }, message, remedy: 'mend it', origin: { file: 'a.yaml', line } });

it('a Problem is told once while it lasts, wherever an edit moves it, and once when it is resolved', () => {
  const log = new ProblemLog();
  expect(log.update([at(3)]).appeared).toHaveLength(1);
  expect(log.update([at(9)])).toEqual({ appeared: [], resolved: [] });
  expect(log.update([at(9, 'worse')])).toEqual({ appeared: [at(9, 'worse')], resolved: [expect.stringContaining('bad')] });
  expect(log.update([])).toEqual({ appeared: [], resolved: [expect.stringMatching(/^a\.yaml:9: .*worse/)] });
});
