import { describe, expect, it } from 'vitest';
import { mayUseForeignAddresses, parseTrial } from '../../../src/haproxy/client-ip.ts';
import { planServers } from '../../../src/haproxy/plan-servers.ts';
import { renderConfig } from '../../../src/haproxy/render-config.ts';
import type { RenderOptions } from '../../../src/haproxy/render-options.ts';
import { serversOf } from '../../../src/haproxy/servers.ts';
import { anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const options: RenderOptions = { runDir: '/run/onehop', drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const near = [anEndpoint('10.244.1.20', 8080), anEndpoint('10.244.1.21', 8080)];
const far = [anEndpoint('10.244.2.20', 8080, { tier: 'any' })];
const route = aRoute('cart', { vip: '169.254.193.1', listen: 80, log: { mode: 'Errors', percent: 1 }, versions: [aVersion('cart', near, { backup: far })] });
const tcp = aRoute('db', { vip: '169.254.193.2', listen: 5432, protocol: 'tcp', versions: [aVersion('db', [anEndpoint('fd00::20', 5432)])] });
const table = aTable([route, tcp]);
const preserved = renderConfig(table, { ...options, preserveClientIp: true });
const section = (name: string): string => preserved.config.split(/\n{2,}/).find((part) => part.startsWith(`backend shop.${name}.`)) ?? '';

describe('with preserveClientIp', () => {
  it("a backend connects from the caller's address, or the node's own, and leaves the port out of it", () => {
    expect(section('cart')).toContain(`  source 0.0.0.0 usesrc clientip
  http-request set-src ipv4(0.0.0.0) unless { var(sess.caller) -m found } !{ var(sess.caller) -m str @host @unknown } { src 0.0.0.0/0 }
  http-request set-src-port int(0)
`);
    expect(section('db')).toContain(`  source ipv6@[::] usesrc clientip
  tcp-request content set-src ipv6(::) unless { var(sess.caller) -m found } !{ var(sess.caller) -m str @host @unknown } !{ src 0.0.0.0/0 }
`);
    expect(section('db')).not.toContain('set-src-port');
  });

  it('only servers of this node are checked, and no failed connect takes one out by itself', () => {
    const lines = section('cart').split('\n').filter((line) => line.startsWith('  server '));
    expect(lines.map((line) => line.replace(/ #.*/, ''))).toEqual([
      '  server 10.244.1.20:8080 10.244.1.20:8080 ',
      '  server 10.244.1.21:8080 10.244.1.21:8080 ',
      '  server 10.244.2.20:8080.backup 10.244.2.20:8080 no-check backup ',
    ]);
    expect(preserved.config).toMatch(/default-server pool-low-conn 128 check .* on-error fastinter$/m);
    expect(preserved.config).not.toContain('mark-down');
  });

  it('servers that are added at run time get the same words as those of the file', () => {
    const servers = serversOf(aVersion('cart', near, { backup: far }), 100, true);
    const added = planServers('b', new Map(), undefined, { servers, first: undefined, h2: false, preserveClientIp: true }).map(({ text }) => text).filter((text) => text.startsWith('add server'));
    expect(added).toEqual([
      expect.stringMatching(/^add server b\/10\.244\.1\.20:8080 10\.244\.1\.20:8080 pool-low-conn 128 check .* on-error fastinter$/),
      expect.stringContaining('10.244.1.21:8080 pool-low-conn 128 check'),
      'add server b/10.244.2.20:8080.backup 10.244.2.20:8080 pool-low-conn 128 backup',
    ]);
    expect([...preserved.servers.values()].every(({ preserveClientIp }) => preserveClientIp === true)).toBe(true);
  });

  it('a mix of near and far servers that take calls alike: the far ones have no checks', () => {
    expect(serversOf(aVersion('cart', [...near, ...far]), 100, true).map(({ way }) => way)).toEqual(['active', 'active', 'plain']);
    expect(serversOf(aVersion('cart', [...near, ...far]), 100).map(({ way }) => way)).toEqual(['active', 'active', 'active']);
  });

  it('finished calls name the caller and not what it is seen as', () => {
    expect(preserved.config).toContain('%b %s %[fc_src] %Ts');
    expect(preserved.config).not.toContain('%ci');
  });

  it('the right to do it can be tried on the health socket', () => {
    expect(preserved.config).toContain('  http-request return status 200 content-type text/plain string "ok\\n" unless { path /client-ip }\n');
    expect(preserved.config).toContain('  source 0.0.0.0 usesrc 192.0.2.1\n');
    expect(['tried for 301 ms\n', 'tried for 0 ms\n', 'ok\n', ''].map(parseTrial)).toEqual([true, false, undefined, undefined]);
  });

  it('is another configuration, which only a reload brings', () => {
    expect(preserved.digest).not.toBe(renderConfig(table, options).digest);
  });
});

it('without it nothing is there', () => {
  for (const off of [{}, { preserveClientIp: false }]) expect(renderConfig(table, { ...options, ...off }).config).not.toMatch(/usesrc|set-src|client-ip|pool-low-conn|fastinter$|fc_src/m);
});

it.each<[string, boolean | undefined]>([
  ['0000000000002000\n', true],
  ['0000000000001400\n', true],
  ['CapEff:\t000001ffffffffff\n', true],
  ['0000000000000400\n', false],
  ['0000000000000000\n', false],
  ['', undefined],
  ['zz', undefined],
])('capabilities %j', (text, may) => {
  expect(mayUseForeignAddresses(text)).toBe(may);
});
