import { beforeAll, describe, expect, test } from 'vitest';
import { renderReport } from '../support/chaos/render-report.ts';
import { runChaos, type ChaosResult } from '../support/chaos/run-chaos.ts';

/** `npm run test:chaos` sets these: `--seed N`, `--calls N`, `--seconds N`, `--keep`. */
const number = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const options = {
  seed: number('CHAOS_SEED', Math.floor(Date.now() / 1000) % 1_000_000),
  calls: number('CHAOS_CALLS', 60_000),
  seconds: number('CHAOS_SECONDS', 130),
  callsPerSecond: number('CHAOS_RATE', 340),
  keep: process.env['CHAOS_KEEP'] === '1',
};
/** A processor that many others want answers when they let it. */
const BUSY_LOAD = 4;
const BACK_MS = 1_000;
const BUSY_BACK_MS = 10_000;
/** Shares of calls that are excused; a usual run has 0.8 %, all of them met a killed HAProxy. */
const MOST_EXCUSED = 0.03;
const MOST_BEHIND = 0.002;
/** The slowest change of a usual run takes 5 s. */
const IN_EFFECT_MS = 60_000;

let result: ChaosResult;

beforeAll(async () => {
  process.stdout.write(`chaos: seed ${options.seed}, at most ${options.calls} calls or ${options.seconds} s; again with: npm run test:chaos -- --seed ${options.seed}\n`);
  result = await runChaos(options);
  process.stdout.write(`${renderReport(result)}\n`);
});

const shown = (kind: 'failed' | 'wrong'): readonly string[] => result.judge.violations.filter((one) => one.kind === kind).map(({ text }) => text);

describe('while everything changes', () => {
  test('no call fails, but those that a killed HAProxy held', () => {
    expect(shown('failed')).toEqual([]);
    expect(result.judge.failed).toBe(0);
  });

  test('no call is answered by a wrong version, route or namespace, or against the rules', () => {
    expect(shown('wrong')).toEqual([]);
    expect(result.judge.wrong).toBe(0);
  });

  test('few calls are excused: those that met a killed HAProxy, or an old worker on a kept connection', () => {
    const { calls, cut, unserved, behind } = result.judge;
    expect((cut + unserved + behind) / calls).toBeLessThanOrEqual(MOST_EXCUSED);
    expect(behind / calls).toBeLessThanOrEqual(MOST_BEHIND);
  });

  test('every change is in effect soon', () => expect(result.slowestEffectMs).toBeLessThanOrEqual(IN_EFFECT_MS));

  test('20 TCP connections and 20 WebSockets live through at least 10 reloads', () => {
    expect(result.long.state).toMatchObject({ opened: 40, living: 40, faults: [] });
    expect(result.long.reloads).toBeGreaterThanOrEqual(10);
    expect(result.long.state.echoes).toBeGreaterThan(400);
  });

  test('a killed HAProxy serves again within a second', () => {
    expect(result.outagesMs.length).toBeGreaterThanOrEqual(3);
    expect(Math.max(...result.outagesMs)).toBeLessThan(result.load > BUSY_LOAD ? BUSY_BACK_MS : BACK_MS);
  });

  test('generations take each other\'s place', () => expect(result.handOvers).toBeGreaterThanOrEqual(2));

  test('no process, connection, descriptor, server or file is left over', () => expect(result.leaks).toEqual([]));

  test('nothing is wrong with the node', () => expect(result.troubles).toEqual([]));

  test('everything that was begun came to its end', () => expect(result.errors).toEqual([]));

  test('there were calls enough to tell anything, of every sort', () => {
    expect(result.judge.calls).toBeGreaterThan(Math.min(options.calls - 1, options.seconds * 20));
    expect([...result.judge.outcomes.keys()]).toEqual(expect.arrayContaining(['answered', 'closed', 'namespace-isolated', 'acl-denied', 'caller-unknown', 'no-version']));
    expect(result.retries).toBeGreaterThan(0);
  });
});
