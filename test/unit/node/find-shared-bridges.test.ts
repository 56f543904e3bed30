import { expect, test } from 'vitest';
import { findSharedBridges } from '../../../src/node/find-shared-bridges.ts';

const route = (dst: string, dev: string, over: { type?: string; table?: string } = {}) => ({ dst, dev, type: 'unicast', ...over });
const bridges = new Set(['cni0', 'docker0']);

test('pods behind the route of a bridge share it', () => {
  const routes = [route('default', 'eth0'), route('10.244.1.0/24', 'cni0'), route('10.244.2.0/24', 'eth0'), route('10.244.1.1', 'cni0', { type: 'local', table: 'local' })];
  expect(findSharedBridges(['10.244.1.7', '10.244.1.8'], routes, bridges)).toEqual(['cni0']);
});

test('a route for each pod is more specific than anything of a bridge', () => {
  const routes = [route('10.244.0.0/16', 'cni0'), route('10.244.1.7', 'veth7'), route('fd00::7', 'veth7'), route('fd00::/64', 'cni0')];
  expect(findSharedBridges(['10.244.1.7', 'fd00::7'], routes, bridges)).toEqual([]);
  expect(findSharedBridges(['fd00::8'], routes, bridges)).toEqual(['cni0']);
});

test('a bridge without pods, a default route and other tables do not count', () => {
  const routes = [route('172.17.0.0/16', 'docker0'), route('0.0.0.0/0', 'cni0'), route('10.244.1.0/24', 'cni0', { table: '100' })];
  expect(findSharedBridges(['10.244.1.7', 'not an address'], routes, bridges)).toEqual([]);
});
