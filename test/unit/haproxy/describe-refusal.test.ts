import { expect, test } from 'vitest';
import { logPlace, nodeProblem } from '../../../src/haproxy/describe-refusal.ts';

test.each<[string, boolean, string]>([
  ['its own child', false, '/run/onehop/haproxy.log'],
  ["another supervisor's", true, "its container's or unit's log"],
])('a HAProxy that fails and is %s: the remedy names the place of its messages', (_, attach, place) => {
  const { code, message, remedy } = nodeProblem('n1', 'haproxy-failed', '[NOTICE] (1) : hello\n[ALERT] (1) : no space', logPlace('/run/onehop', attach));
  expect([code, message]).toEqual(['haproxy-failed', 'HAProxy could not be brought to this configuration, what it had goes on: [ALERT] (1) : no space']);
  expect(remedy).toContain(`HAProxy's messages are in ${place};`);
});
