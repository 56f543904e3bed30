import { describe, expect, it } from 'vitest';
import { orderServers, serverKey } from '../../../src/embedded/choose-server.ts';
import type { ServerPick } from '../../../src/embedded/choose-server.ts';
import type { BalanceAlgorithm } from '../../../src/model/service-route.ts';
import { endpoint, version } from '../../support/embedded-world.ts';

const [a, b, c, far] = [endpoint('10.0.0.1', 80), endpoint('10.0.0.2', 80), endpoint('10.0.0.3', 80), endpoint('10.1.0.1', 80, 'zone')];
const order = (algorithm: BalanceAlgorithm, pick: Partial<ServerPick> = {}, active = [a, b, c]): string => {
  const idle = { inFlight: 0, passedOver: false };
  const servers = orderServers(version('v', active, { algorithm, backup: [far] }), { load: () => idle, hashKey: undefined, turn: 0, draw: 0, ...pick });
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
