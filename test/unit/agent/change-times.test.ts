import { describe, expect, it } from 'vitest';
import { ChangeTimes } from '../../../src/agent/change-times.ts';
import { Metrics } from '../../../src/daemon/metrics.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';

const aSnapshot = (): Snapshot => ({ serviceRoutes: [], services: [], endpointSlices: [], pods: [], nodes: [], serviceAccounts: [], tokenCodes: [], problems: [] });

function world() {
  const metrics = new Metrics();
  const times = new ChangeTimes(metrics, () => 10_000);
  const sums = async (): Promise<readonly (string | undefined)[]> => {
    const text = await metrics.render();
    return [/^onehop_change_seconds_count (.*)$/m.exec(text)?.[1], /^onehop_change_seconds_sum (.*)$/m.exec(text)?.[1]];
  };
  const waiting = async (): Promise<string | undefined> => /^onehop_change_waiting_seconds (.*)$/m.exec(await metrics.render())?.[1];
  return { times, sums, waiting };
}

describe('times of changes', () => {
  it('the first snapshot is no change, and a pass without one tells nothing', async () => {
    const { times, sums } = world();
    const first = aSnapshot();
    times.came(first, 0);
    times.inEffect(first, 2_000);
    times.inEffect(first, 7_000);
    expect(await sums()).toEqual(['0', '0']);
  });

  it('what was overtaken is in effect with what came after it; what came later still waits', async () => {
    const { times, sums, waiting } = world();
    const [first, one, two, three] = [aSnapshot(), aSnapshot(), aSnapshot(), aSnapshot()];
    for (const [i, each] of [first, one, two, three].entries()) times.came(each, i * 1_000);
    times.inEffect(first, 3_500);
    times.inEffect(two, 4_000);
    expect(await sums()).toEqual(['2', '5']);
    expect(await waiting()).toBe('7');
    times.inEffect(two, 5_000);
    times.inEffect(three, 5_000);
    expect(await sums()).toEqual(['3', '7']);
    expect(await waiting()).toBe('0');
  });

  it('holds a bounded number while nothing can be applied', async () => {
    const { times, sums } = world();
    times.came(aSnapshot(), 0);
    const many = Array.from({ length: 3_000 }, aSnapshot);
    for (const each of many) times.came(each, 1_000);
    const last = many.at(-1);
    if (last !== undefined) times.inEffect(last, 2_000);
    expect(await sums()).toEqual(['1000', '1000']);
  });
});
