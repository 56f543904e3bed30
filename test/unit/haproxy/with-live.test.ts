import { describe, expect, it } from 'vitest';
import { parseServers } from '../../../src/haproxy/parse-server-states.ts';
import { planChange, planMaps } from '../../../src/haproxy/plan-change.ts';
import { renderConfig, type RenderedConfig } from '../../../src/haproxy/render-config.ts';
import { fittingServers, withLive } from '../../../src/haproxy/with-live.ts';
import type { Endpoint, Route } from '../../../src/model/route-table.ts';
import { anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const options = { runDir: '/run/onehop', drainTimeoutSeconds: 60, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const near = (...addresses: readonly string[]): Endpoint[] => addresses.map((address) => anEndpoint(address, 80));
const route = (name: string, servers: Readonly<Record<string, readonly Endpoint[]>>, more: Partial<Route> = {}): Route =>
  aRoute(name, { vip: '169.254.193.1', listen: 80, versions: Object.entries(servers).map(([version, active]) => aVersion(version, active, { backup: near('10.9.9.9') })), ...more });
const render = (...routes: readonly Route[]): RenderedConfig => renderConfig(aTable(routes), options);
const names = (config: RenderedConfig): unknown => [...config.servers].map(([backend, { servers, first }]) => [backend, servers.map(({ name }) => name), first]);

it('text, servers and pins of what was loaded follow what was given by commands, and nothing else does', () => {
  const loaded = render(route('a', { v: near('10.0.0.1'), w: near('10.0.0.2', '10.0.0.3') }), route('gone', { v: near('10.0.0.4') }));
  const desired = render(route('a', { v: [], x: near('10.0.0.7') }, { timeout: { connectMs: 300, requestMs: 60_000 } }), route('new', { v: near('10.0.0.8') }));
  const live = withLive(loaded, desired, new Map([['maps/callers.map', '10.1.1.1 shop\n']]));
  const expected = render(route('a', { v: [], w: near('10.0.0.2', '10.0.0.3') }), route('gone', { v: near('10.0.0.4') }));
  expect(names(live)).toEqual(names(expected));
  expect(live.config).toBe(expected.config);
  expect(live.files.get('maps/first.map')).toBe(expected.files.get('maps/first.map'));
  expect(live.files.get('maps/callers.map')).toBe('10.1.1.1 shop\n');
  expect([...live.files.keys()]).toEqual([...loaded.files.keys()]);
  // What a HAProxy that is started again reads is what one believes of it.
  expect([...parseServers(live.config, live.files.get('maps/first.map') ?? '')].map(([backend, { servers, first }]) => [backend, servers.map(({ name }) => name), first])).toEqual(names(live));
  expect(planChange(live, live)).toEqual([]);
});

it.each([true, false])('a file says whether servers see the addresses of callers: %s', (preserveClientIp) => {
  const { config } = renderConfig(aTable([route('a', { v: near('10.0.0.1') })]), { ...options, preserveClientIp });
  expect(parseServers(config, '').get('shop.a.v')?.preserveClientIp ?? false).toBe(preserveClientIp);
});

it('once more after that, and before the text was asked for', () => {
  const of = (address: string, connectMs: number): RenderedConfig => render(route('a', { v: near(address) }, { timeout: { connectMs, requestMs: 60_000 } }));
  let live = of('10.0.0.1', 250);
  for (const [i, address] of ['10.0.0.2', '10.0.0.3', '10.0.0.4'].entries()) live = withLive(live, of(address, 300 + i), new Map());
  expect(live.config).toBe(of('10.0.0.4', 250).config);
});

it('while a reload waits, shares of other routes move; those of a route that it changes wait with it', () => {
  const shares = (below: number): Partial<Route> => ({ rule: { type: 'Percentage' }, choice: { kind: 'weighted', total: 100, shares: [{ below, version: 0 }] } });
  const routes = (below: number, connectMs: number): RenderedConfig =>
    render(route('a', { v: near('10.0.0.1') }, shares(below)), route('b', { v: near('10.0.0.1') }, { ...shares(below), timeout: { connectMs, requestMs: 60_000 } }));
  expect(planMaps(routes(50, 250), routes(60, 300)).map(({ file }) => file)).toEqual(['maps/shop.a.shares.map']);
  expect(planMaps(routes(50, 250), routes(60, 250)).map(({ file }) => file)).toEqual(['maps/shop.a.shares.map', 'maps/shop.b.shares.map']);
});

describe('servers for a backend that waits for a reload', () => {
  const h2 = (protocol: Route['protocol'], address: string, serverProtocol: 'h1' | 'h2' = 'h2'): RenderedConfig =>
    render(aRoute('a', { vip: '169.254.193.1', listen: 80, protocol, versions: [aVersion('v', near(address), { serverProtocol })] }));
  it.each<[title: string, loaded: RenderedConfig, desired: RenderedConfig, proto: boolean]>([
    ['from tcp to h2: HAProxy would refuse the word in a tcp backend', h2('tcp', '10.0.0.1'), h2('http', '10.0.0.2'), false],
    ['from h1 to h2', h2('http', '10.0.0.1', 'h1'), h2('http', '10.0.0.2'), true],
    ['h2 as before', h2('http', '10.0.0.1'), h2('http', '10.0.0.2'), true],
    ['from h2 to tcp', h2('http', '10.0.0.1'), h2('tcp', '10.0.0.2'), false],
  ])('%s', (_, loaded, desired, proto) => {
    const live = withLive(loaded, desired, new Map());
    for (const wanted of [fittingServers(loaded, desired), fittingServers(live, desired), live.servers]) {
      expect(wanted.get('shop.a.v')).toMatchObject({ h2: proto, servers: [{ name: '10.0.0.2:80.plain' }] });
    }
  });

  it('are counted as long as its rules ask for that', () => {
    const spilling = (at: number | undefined): RenderedConfig => render(aRoute('a', { vip: '169.254.193.1', listen: 80, versions: [aVersion('v', near('10.0.0.1'), at === undefined ? {} : { spill: { at, tiers: [] } })] }));
    expect(fittingServers(spilling(5), spilling(undefined)).get('shop.a.v')?.counted).toBe(true);
    expect(fittingServers(spilling(undefined), spilling(5)).get('shop.a.v')?.counted).toBe(false);
    const desired = spilling(6);
    expect(fittingServers(spilling(5), desired).get('shop.a.v')).toBe(desired.servers.get('shop.a.v'));
  });
});

it('a backend that refused its servers has those of before', () => {
  const of = (address: string, connectMs: number): RenderedConfig => render(route('a', { v: near(address), w: near(address) }, { timeout: { connectMs, requestMs: 60_000 } }));
  const live = withLive(of('10.0.0.1', 250), of('10.0.0.2', 300), new Map(), new Map([['shop.a.v', new Error('no')]]));
  expect(live.config).toBe(render(route('a', { v: near('10.0.0.1'), w: near('10.0.0.2') })).config);
});
