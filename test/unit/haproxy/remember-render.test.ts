import { expect, it } from 'vitest';
import { rememberRender } from '../../../src/haproxy/remember-render.ts';
import { renderConfig, type RenderedConfig } from '../../../src/haproxy/render-config.ts';
import type { RenderOptions } from '../../../src/haproxy/render-options.ts';
import type { RouteTable, Spill } from '../../../src/model/route-table.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const options: RenderOptions = { runDir: '/run/onehop', drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const cart = aRoute('cart', { vip: '169.254.193.1', listen: 80, versions: [aVersion('cart-a', [anEndpoint('10.244.1.20', 8080)])] });
const table = aTable([cart]);

it('gives the very same while routes and callers are the very same', () => {
  const render = rememberRender(options);
  const first = render(table);
  expect(render({ ...table, routes: [...table.routes], problems: [] })).toBe(first);
});

it.each([
  ['a route', { ...table, routes: [{ ...cart, listen: 81 }] }],
  ['one route less', { ...table, routes: [] }],
  ['a caller', { ...table, callers: aTable([], [aCaller('10.244.1.7')]).callers }],
])('renders anew after a change of %s', (_, changed) => {
  const render = rememberRender(options);
  render(table);
  expect(render(changed)).toEqual(renderConfig(changed, options));
  expect(render(table)).toEqual(renderConfig(table, options));
});

it.each([
  ['another limit', { at: 6, tiers: [[anEndpoint('10.244.3.20', 8080, { tier: 'zone' })]] }],
  ['a farther tier that comes', { at: 5, tiers: [[anEndpoint('10.244.3.20', 8080, { tier: 'zone' })], [anEndpoint('10.244.4.20', 8080, { tier: 'any' })]] }],
  ['a farther tier that goes', { at: 5, tiers: [] }],
] as const)('of a route that spills over amends the servers or renders anew: %s', (_, spill) => {
  const render = rememberRender(options);
  const spilling = (settings: Spill): RouteTable => aTable([{ ...cart, versions: cart.versions.map((version) => ({ ...version, backup: settings.tiers[0] ?? [], spill: settings })) }]);
  render(spilling({ at: 5, tiers: [[anEndpoint('10.244.3.20', 8080, { tier: 'zone' })]] }));
  expect(asPlain(render(spilling(spill)))).toEqual(asPlain(renderConfig(spilling(spill), options)));
});

const asPlain = ({ config, digest, files, servers }: RenderedConfig): object => ({ config, digest, files, servers });
