import { describe, expect, it } from 'vitest';
import { orderServers, serverKey } from '../../../src/embedded/choose-server.ts';
import type { ServerPick } from '../../../src/embedded/choose-server.ts';
import type { BalanceAlgorithm } from '../../../src/model/service-route.ts';
import { endpoint, version } from '../../support/embedded-world.ts';

const [a, b, c, far] = [endpoint('10.0.0.1', 80), endpoint('10.0.0.2', 80), endpoint('10.0.0.3', 80), endpoint('10.1.0.1', 80, 'zone')];
const order = (algorithm: BalanceAlgorithm, pick: Partial<ServerPick> = {}, active = [a, b, c]): string => {
  const idle = { inFlight: 0, passedOver: false };
  const { servers } = orderServers(version('v', active, { algorithm, backup: [far] }), { load: () => idle, hashKey: undefined, turn: 0, draw: 0, ...pick });
  return servers.map((server) => (server === far ? 'far' : server.address.slice(-1))).join(' ');
};
const passedOver = (...keys: string[]) => ({ load: (key: string) => ({ inFlight: 0, passedOver: keys.includes(key) }) });

describe('orderServers', () => {
  it.each<[string, string, string]>([
    ['RoundRobin takes turns', order('RoundRobin', { turn: 4 }), '2 3 1 far'],
    ['Random goes by the draw', order('Random', { draw: 0.99 }), '3 1 2 far'],
    ['LeastConn prefers the least loaded', order('LeastConn', { load: (key) => ({ inFlight: key === serverKey(a) ? 2 : key === serverKey(b) ? 1 : 0, passedOver: false }) }), '3 2 1 far'],
    ['LeastConn takes turns among equals', order('LeastConn', { turn: 1 }), '2 3 1 far'],
    ['a hash without its key takes turns', order('HeaderHash', { turn: 1 }), '2 3 1 far'],
    ['a server that failed comes after the next tier', order('RoundRobin', passedOver(serverKey(a))), '2 3 far 1'],
    ['when all failed all are tried', order('RoundRobin', passedOver(serverKey(a), serverKey(far)), [a]), '1 far'],
  ])('%s', (_name, found, expected) => {
    expect(found).toBe(expected);
  });

  it('moves only the keys of a server that leaves', () => {
    const first = (hashKey: string, active = [a, b, c]): string => order('SourceHash', { hashKey }, active).split(' ')[0] ?? '';
    const keys = Array.from({ length: 300 }, (_, i) => `10.9.0.${i}`);
    const before = keys.map((key) => first(key));
    const shares = ['1', '2', '3'].map((name) => before.filter((server) => server.endsWith(name)).length);
    expect(Math.min(...shares)).toBeGreaterThan(60);
    const staying = keys.filter((_key, i) => before[i] !== '3');
    expect(staying.map((key) => first(key, [a, b]))).toEqual(before.filter((server) => server !== '3'));
  });
});

describe('spill-over', () => {
  const [zone1, zone2, any] = [endpoint('10.1.0.1', 80, 'zone'), endpoint('10.1.0.2', 80, 'zone'), endpoint('10.2.0.1', 80, 'any')];
  const NAMES = new Map([[a, 'a'], [b, 'b'], [zone1, 'z1'], [zone2, 'z2'], [any, 'any']]);
  const tiers = [[zone1, zone2], [any]];
  /** Calls in flight by server; `down`: passed over. Two calls for each server are a full tier. */
  const orderOf = (calls: Readonly<Record<string, number>>, down: readonly string[] = [], active = [a, b], spill = tiers): string => {
    const name = (key: string): string => [...NAMES].find(([server]) => serverKey(server) === key)?.[1] ?? '';
    const load = (key: string) => ({ inFlight: calls[name(key)] ?? 0, passedOver: down.includes(name(key)) });
    const whole = version('v', active, { algorithm: 'RoundRobin', backup: spill[0] ?? [], spill: { at: 2, tiers: spill } });
    const { servers, spilled } = orderServers(whole, { load, hashKey: undefined, turn: 0, draw: 0 });
    return `${servers.map((server) => NAMES.get(server)).join(' ')}${spilled ? ' (spilled)' : ''}`;
  };

  it.each<[string, string, string]>([
    ['stays while there is room', orderOf({ a: 2, b: 1 }), 'a b z1 z2 any'],
    ['counts the tier, not the one server', orderOf({ a: 3 }), 'a b z1 z2 any'],
    ['leaves a full tier', orderOf({ a: 2, b: 2 }), 'z1 z2 a b any (spilled)'],
    ['goes on when the next is full too', orderOf({ a: 2, b: 2, z1: 4 }), 'any a b z1 z2 (spilled)'],
    ['stays when all are full', orderOf({ a: 2, b: 2, z1: 2, z2: 2, any: 2 }), 'a b z1 z2 any'],
    ['counts servers that are up', orderOf({ a: 2 }, ['b']), 'z1 z2 a any b (spilled)'],
    ['passes over a tier that is down: that is no spill', orderOf({ z1: 1 }, ['a', 'b']), 'z1 z2 any a b'],
    ['passes over a farther tier that is down', orderOf({ a: 2, b: 2 }, ['z1', 'z2']), 'any a b z1 z2 (spilled)'],
    ['has nowhere to go', orderOf({ a: 9 }, [], [a], []), 'a'],
  ])('%s', (_name, found, expected) => {
    expect(found).toBe(expected);
  });
});
