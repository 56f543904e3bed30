import { expect, test } from 'vitest';
import { WorkerBreakers } from '../../../src/haproxy/io/worker-breakers.ts';
import type { RenderOptions } from '../../../src/haproxy/render-options.ts';
import { anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const render: RenderOptions = { runDir: '/run/onehop', drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const version = aVersion('a', [anEndpoint('127.0.0.1', 80)], { breaker: { threshold: 5, windowSeconds: 30, breakTimeSeconds: 5, connLimit: 0 } });

test('what a new worker could not be told is told at the next look, and counts for nothing until then', async () => {
  const told: string[] = [];
  let answers = true;
  let state = 'restored\nshop.cart.a auto open 4000 -';
  const breakers = new WorkerBreakers({
    render,
    ask: (command) => {
      if (command === 'onehop breakers') return Promise.resolve(state);
      if (!answers) return Promise.reject(new Error('no answer'));
      told.push(command);
      return Promise.resolve('');
    },
  });
  breakers.use(aTable([aRoute('cart', { vip: '127.77.1.1', listen: 80, versions: [version] })]));
  await breakers.save();
  [state, answers] = ['fresh', false];
  await expect(breakers.restore()).rejects.toThrow('no answer');
  await breakers.save();
  expect(told).toEqual([]);
  answers = true;
  await breakers.save();
  expect(told).toEqual([expect.stringMatching(/^onehop breaker shop\.cart\.a opened \d+$/), 'onehop breakers restored']);
  await breakers.save();
  expect(told).toHaveLength(2);
  expect(await breakers.states()).toMatchObject([{ route: 'cart', open: true }]);
  breakers.close();
});
