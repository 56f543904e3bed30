import { describe, expect, test } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { RetryPlan, type Outcome } from '../../../src/kube/plan-retry.ts';

/** The longest delays: the jitter draws its upper bound. */
const plan = (): RetryPlan => new RetryPlan(() => 0);
const error = (status: number, reason = '', retryAfterMs?: number): ApiError => new ApiError({ status, reason, message: '', retryAfterMs });
const failed = (status: number, progressed = false, retryAfterMs?: number): Outcome => ({ kind: 'failed', during: 'watch', error: error(status, '', retryAfterMs), progressed });
const away = (during: 'list' | 'watch' = 'watch'): Outcome => ({ kind: 'failed', during, error: error(0, 'Unreachable'), progressed: false });
const bad = (status: number, progressed = false): Outcome => ({ kind: 'bad-event', error: error(status), progressed });

describe('what comes next', () => {
  test.each<[string, readonly Outcome[], readonly (readonly [action: string, delayMs: number, returnMs?: number])[]]>([
    ['a list leads to a watch at once', [{ kind: 'listed' }], [['watch', 0]]],
    ['a watch that the server ends is opened again at once', [{ kind: 'ended', progressed: true }], [['watch', 0]]],
    ['one that ends without a word waits', [{ kind: 'ended', progressed: false }], [['watch', 500]]],
    ['failures wait longer and longer, up to 30 s', Array.from({ length: 8 }, () => failed(500)), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].map((ms) => ['watch', ms])],
    ['a server that cannot be reached is tried every 5 s at least, and soon after it answered anybody', [away('list'), ...Array.from({ length: 5 }, () => away())], [['list', 500, 500], ['watch', 1000, 500], ...[2000, 4000, 5000, 5000].map((ms) => ['watch', ms, 500] as const)]],
    ['how long it was away is forgotten when it answers, whatever that is', [...Array.from({ length: 6 }, () => away()), failed(429), away()], [...[500, 1000, 2000, 4000, 5000, 5000].map((ms) => ['watch', ms, 500] as const), ['watch', 500], ['watch', 500, 500]]],
    ['a server that is overloaded is never listed again', [...Array.from({ length: 4 }, () => failed(504)), failed(500), failed(503), failed(429), failed(401), failed(403)], [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000].map((ms) => ['watch', ms])],
    ['progress begins anew', [failed(500), failed(500), failed(500, true)], [['watch', 500], ['watch', 1000], ['watch', 500]]],
    ['Retry-After comes on top', [failed(429, false, 7_000)], [['watch', 7_500]]],
    ['410 lists again, spread over 2 s', [failed(410, true)], [['list', 2_000]]],
    ['410 as an event, too', [bad(410, true)], [['list', 2_000]]],
    ['410 again and again waits longer', [failed(410), { kind: 'listed' }, failed(410), { kind: 'listed' }, failed(410)], [['list', 2_000], ['watch', 0], ['list', 4_000], ['watch', 0], ['list', 8_000]]],
    ['after a long absence 410 lists as soon as ever', [...Array.from({ length: 8 }, () => failed(500)), failed(410)], [...[500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].map((ms): [string, number] => ['watch', ms]), ['list', 2_000]]],
    ['three other bad events lead to a list', [bad(500), bad(0), bad(500), bad(500)], [['watch', 500], ['watch', 1000], ['list', 2000], ['watch', 4000]]],
    ['bad events with progress between them do not', [bad(500), bad(500), bad(500, true), bad(500)], [['watch', 500], ['watch', 1000], ['watch', 500], ['watch', 1000]]],
    ['a watch refused three times is given up for a list', [failed(400), failed(400), failed(400)], [['watch', 500], ['watch', 1000], ['list', 2000]]],
    ['a list that failed is tried again', [{ kind: 'failed', during: 'list', error: error(403), progressed: false }], [['list', 500]]],
    ['an object that is too long is listed', [{ kind: 'too-long' }], [['list', 500]]],
  ])('%s', (_, outcomes, steps) => {
    const one = plan();
    expect(outcomes.map((outcome) => Object.values(one.after(outcome)))).toEqual(steps);
  });
});

test('delays are drawn from the whole range', () => {
  const one = new RetryPlan(() => 0.75);
  expect([one.after(failed(500)).delayMs, one.after(failed(500)).delayMs]).toEqual([125, 250]);
  expect(one.after(away())).toEqual({ action: 'watch', delayMs: 125, returnMs: 125 });
});
