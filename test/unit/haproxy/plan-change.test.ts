import { describe, expect, it } from 'vitest';
import { parseVersion, isSupported, isTried } from '../../../src/haproxy/features.ts';
import { findCulprits } from '../../../src/haproxy/find-culprits.ts';
import { parseFailedReload, parseInfo, parseListeners, parseMap, parseProcesses } from '../../../src/haproxy/parse-answers.ts';
import { planChange, planMaps } from '../../../src/haproxy/plan-change.ts';
import { renderConfig } from '../../../src/haproxy/render-config.ts';
import type { RenderedConfig } from '../../../src/haproxy/render-config.ts';
import type { Route } from '../../../src/model/route-table.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const options = { runDir: '/run/onehop', drainTimeoutSeconds: 60, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const render = (routes: readonly Route[], callers: readonly string[] = []): RenderedConfig => renderConfig(aTable(routes, callers.map((address) => aCaller(address))), options);
const version = aVersion('v', [anEndpoint('10.1.1.1', 80)]);
const route = (name: string, more: Partial<Route> = {}): Route => aRoute(name, { vip: '169.254.193.1', listen: 80, versions: [version], ...more });
const acl = (exceptions: readonly string[], defaultAllow = true): Partial<Route> => ({ access: { namespace: 'shop', defaultAllow, exceptions, accounts: [], hasEntries: true } });
const weights = (below: number): Partial<Route> => ({ choice: { kind: 'weighted', total: 100, shares: [{ below, version: 0 }] } });
const rate = (requestsPerSecond: number, burst = 10): Partial<Route> => ({ rateLimit: { requestsPerSecond, burst, per: 'Route' } });
const spill = (at: number, far: readonly string[] = []): Partial<Route> => {
  const tier = far.map((address) => anEndpoint(address, 80, { tier: 'zone' }));
  return { versions: [{ ...version, backup: tier, spill: { at, tiers: tier.length === 0 ? [] : [tier] } }] };
};

describe('planChange', () => {
  const cases: readonly [title: string, before: RenderedConfig, after: RenderedConfig, steps: readonly string[]][] = [
    ['nothing', render([route('a')]), render([route('a')]), []],
    ['a pod comes', render([route('a')]), render([route('a')], ['10.9.9.9']), ['map maps/accounts.map', 'map maps/callers.map']],
    ['a pod comes that an ACL names', render([route('a', acl([]))]), render([route('a', acl(['10.9.9.9']))], ['10.9.9.9']), ['map maps/accounts.map', 'map maps/shop.a.denied.map', 'map maps/callers.map']],
    ['a pod goes that an ACL named', render([route('a', acl(['10.9.9.9']))], ['10.9.9.9']), render([route('a', acl([]))]), ['map maps/callers.map', 'map maps/accounts.map', 'map maps/shop.a.denied.map']],
    ['a route gets an ACL, with a pod', render([route('a')]), render([route('a', acl(['10.9.9.9']))], ['10.9.9.9']), ['map maps/accounts.map', 'write maps/callers.map maps/accounts.map maps/shop.a.denied.map maps/shop.a.denied-accounts.map haproxy.cfg; remove ', 'reload: changed shop/a']],
    ['a new route brings its ACL, with a pod', render([route('a')]), render([route('a'), route('b', acl(['10.9.9.9']))], ['10.9.9.9']), ['map maps/accounts.map', 'map maps/callers.map', 'write maps/callers.map maps/accounts.map maps/shop.b.denied.map maps/shop.b.denied-accounts.map haproxy.cfg; remove ', 'reload: added shop/b']],
    ['an ACL is turned over', render([route('a', acl(['10.9.9.9']))]), render([route('a', acl(['10.9.9.9'], false))]), ['write maps/shop.a.allowed.map maps/shop.a.allowed-accounts.map haproxy.cfg; remove maps/shop.a.denied-accounts.map maps/shop.a.denied.map', 'reload: changed shop/a']],
    ['a route comes, with a pod', render([route('a')]), render([route('a'), route('b')], ['10.9.9.9']), ['map maps/accounts.map', 'map maps/callers.map', 'write maps/callers.map maps/accounts.map haproxy.cfg; remove ', 'reload: added shop/b']],
    ['routes go', render([route('a'), route('b'), route('c'), route('d'), route('e')]), render([route('e')]), ['write haproxy.cfg; remove ', 'reload: removed shop/a shop/b shop/c and 1 more']],
    ['a weight changes', render([route('a', weights(50))]), render([route('a', weights(60))]), ['map maps/shop.a.shares.map']],
    ['another rate', render([route('a', rate(998))]), render([route('a', rate(999))]), ['map maps/shop.a.rate.map']],
    ['another rate while another route comes', render([route('a', rate(998))]), render([route('a', rate(999)), route('b')]), ['map maps/shop.a.rate.map', 'write maps/shop.a.rate.map haproxy.cfg; remove ', 'reload: added shop/b']],
    ['a rate in another unit waits for its rules', render([route('a', rate(999))]), render([route('a', rate(1000))]), ['write maps/shop.a.rate.map haproxy.cfg; remove ', 'reload: changed shop/a']],
    ['another limit for spilling over', render([route('a', spill(5))]), render([route('a', spill(6))]), ['map maps/spill.map']],
    [
      'a farther tier comes', render([route('a', spill(5))]), render([route('a', spill(5, ['10.2.2.2']))]),
      ['servers shop.a.v: 10.1.1.1:80 10.2.2.2:80', 'servers shop.a.v:2: 10.2.2.2:80 10.1.1.1:80'],
    ],
    ['a route begins to spill over', render([route('a')]), render([route('a', spill(5))]), ['write maps/spill.map haproxy.cfg; remove ', 'reload: changed shop/a']],
    ['a route spills over no more', render([route('a', spill(5))]), render([route('a')]), ['write haproxy.cfg; remove maps/spill.map', 'reload: changed shop/a']],
    ['a port changes', render([route('a')]), render([route('a', { listen: 81 })]), ['write haproxy.cfg; remove ', 'reload: changed shop/a']],
  ];
  it.each(cases)('%s', (_, before, after, expected) => {
    const steps = planChange(before, after).map((step) => {
      if (step.kind === 'replace-map') return `map ${step.file}`;
      if (step.kind === 'reload') return `reload: ${step.reason}`;
      if (step.kind === 'servers') return `servers ${step.backend}: ${step.wanted.servers.map(({ name }) => name).join(' ')}`;
      return `write ${[...step.write.keys()].join(' ')}; remove ${step.remove.join(' ')}`;
    });
    expect(steps).toEqual(expected);
  });

  it('has nobody at an address that changes hands while the ACLs change', () => {
    const callers = (namespace: string): readonly ReturnType<typeof aCaller>[] => [aCaller('10.9.9.8'), aCaller('10.9.9.9', { namespace })];
    const of = (namespace: string, denied: readonly string[]): RenderedConfig => renderConfig(aTable([route('a', acl(denied))], callers(namespace)), options);
    const steps = planChange(of('shop', ['10.9.9.9']), of('other', []));
    const lines = steps.map((step) => (step.kind === 'replace-map' ? step.content.split('\n').filter((line) => line.startsWith('10.9.9.')) : step.kind));
    expect(lines).toEqual([['10.9.9.8 shop'], ['10.9.9.8 shop/default', '10.9.9.9 other/default'], [], ['10.9.9.8 shop', '10.9.9.9 other']]);
  });

  const identities = (before: RenderedConfig, after: RenderedConfig): readonly (readonly string[])[] =>
    planMaps(before, after).flatMap(({ file, content }) => (file === 'maps/callers.map' ? [content.split('\n').filter((line) => line.startsWith('10.'))] : []));
  const old = ['10.9.9.1', '10.9.9.2'];
  const pods = ['10.9.9.2', '10.9.9.3', '10.9.9.4'];
  it.each<[title: string, before: RenderedConfig, after: RenderedConfig, known: readonly (readonly string[])[]]>([
    ['a new pod that a new ACL denies is nobody until the reload; all others are known', render([route('a')], old), render([route('a', acl(['10.9.9.4']))], pods), [['10.9.9.2 shop'], ['10.9.9.2 shop', '10.9.9.3 shop']]],
    ['so it is when an ACL is turned over to denying', render([route('a', acl([], false))], old), render([route('a', acl(['10.9.9.4']))], pods), [['10.9.9.2 shop'], ['10.9.9.2 shop', '10.9.9.3 shop']]],
    ['a pod that was known stays known until then', render([route('a')], old), render([route('a', acl(['10.9.9.2']))], pods), [['10.9.9.2 shop'], ['10.9.9.2 shop', '10.9.9.3 shop', '10.9.9.4 shop']]],
    ['a new ACL that allows keeps nobody back', render([route('a')], old), render([route('a', acl(['10.9.9.4'], false))], pods), [['10.9.9.2 shop'], ['10.9.9.2 shop', '10.9.9.3 shop', '10.9.9.4 shop']]],
    ['the ACL of a route that comes keeps nobody back', render([route('a')], old), render([route('a'), route('b', acl(['10.9.9.4']))], pods), [['10.9.9.2 shop'], ['10.9.9.2 shop', '10.9.9.3 shop', '10.9.9.4 shop']]],
  ])('%s', (_, before, after, known) => {
    expect(identities(before, after)).toEqual(known);
  });

  it('brings no identity again while the reload waits', () => {
    const [before, after] = [render([route('a')], old), render([route('a', acl(['10.9.9.4']))], pods)];
    const brought = new Map(planMaps(before, after).map(({ file, content }) => [file, content] as const));
    expect(planMaps({ ...before, files: new Map([...before.files, ...brought]) }, after)).toEqual([]);
  });
});

describe('findCulprits', () => {
  const { config } = render([route('a'), route('b')]);
  const line = config.split('\n').indexOf('# ServiceRoute shop/b') + 3;
  const list = config.split('\n').indexOf('backend maps from http') + 2;
  const routes = [{ key: 'shop/a', stem: 'shop.a' }, { key: 'shop/b', stem: 'shop.b' }];
  it.each<[string, string, readonly string[]]>([
    ['a line of the file', `[ALERT]    (12) : config : parsing [haproxy.cfg:${line}] : nonsense`, ['shop/b']],
    ['a section', `[ALERT]    (12) : config : Proxy 'shop.a': nonsense`, ['shop/a']],
    ['a backend', `[ALERT]    (12) : config : backend 'shop.b.v' has no server`, ['shop/b']],
    ['a bind that fails', `[ALERT]    (12) : Binding [haproxy.cfg:${line}] for frontend shop.b: cannot bind socket (Address already in use) for [127.0.0.1:80]`, ['shop/b']],
    ['a map file that stands in the list of maps', `[ALERT]    (12) : config : parsing [haproxy.cfg:${list}] : error detected in backend 'maps' while parsing 'http-request set-var(txn.listed)' rule : invalid args in converter 'map_int' : 'x' is not a number at line 1 of file 'maps/shop.b.shares.map'.`, ['shop/b']],
    ['a map file', `[ALERT]    (12) : config : error at line 1 of file 'maps/shop.a.header.map'.`, ['shop/a']],
    ['warnings and the head of the file do not count', `[WARNING]  (12) : config : Proxy 'shop.a': careful\n[ALERT]    (12) : config : parsing [haproxy.cfg:3] : nonsense`, []],
  ])('%s', (_, messages, expected) => {
    expect([...findCulprits(messages, config, routes).keys()]).toEqual(expected);
  });
});

describe('answers of HAProxy', () => {
  it('show proc', () => {
    const answer = '#<PID>          <type>          <reloads>       <uptime>        <version>\n18086           master          3 [failed: 1]   0d00h10m45s     2.6.12\n# workers\n24025           worker          1               0d00h00m07s     2.6.12\n# old workers\n1               worker          2               0d00h00m07s     2.6.12\n2               worker          3               0d00h00m07s     2.6.12\n# programs';
    expect(parseProcesses(answer)).toEqual({ master: 18086, worker: 24025, old: [2, 1], failed: 1 });
    expect(parseProcesses('')).toBeUndefined();
    // 3.2 after a reload that failed: the worker that serves, and one that drains.
    const failed = '#<PID>          <type>          <reloads>       <uptime>        <version>\n29907           master          2 [failed: 1]   0d00h00m04s     3.2.26-1\n# workers\n# old workers\n29910           worker          1               0d00h00m04s     3.2.26-1\n29909           worker          2               0d00h00m09s     3.2.26-1\n';
    expect(parseProcesses(failed)).toEqual({ master: 29907, worker: 29910, old: [29909], failed: 1 });
    expect(parseProcesses(failed.replace('failed: 1', 'failed: 0'))).toMatchObject({ worker: undefined, old: [29909, 29910] });
  });
  it('reload', () => {
    expect(parseFailedReload('Success=0\n--\n[ALERT]    (1) : Binding\n[WARNING]  (1) : Loading failure!')).toBe('[ALERT]    (1) : Binding\n[WARNING]  (1) : Loading failure!');
    expect(parseFailedReload('Success=0')).toBe('');
    expect(parseFailedReload('Success=1\n--\n[NOTICE]   (1) : Loading success.')).toBeUndefined();
    // 2.6 says nothing.
    expect(parseFailedReload('')).toBeUndefined();
  });
  it('show info, show map, binds', () => {
    expect(parseInfo('Name: HAProxy\nPid: 12\nStart_time_sec: 1795332623\ndescription: abc\n')).toEqual({ pid: 12, startedAt: 1795332623, digest: 'abc' });
    expect(parseInfo('Name: HAProxy\nPid: 12\n')).toBeUndefined();
    expect(parseMap('0x55c6 127.0.0.0/8 @host\n0x55c7 10.0.0.1 shop\n')).toBe('127.0.0.0/8 @host\n10.0.0.1 shop\n');
    expect(parseListeners(render([route('a', { vip6: 'fd00::1', globalVip: '169.254.193.9' })]).config)).toEqual(new Set(['169.254.193.1:80', '[fd00::1]:80', '169.254.193.9:80']));
  });
  it('haproxy -vv', () => {
    expect(parseVersion('HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nFeature list : +LINUX_TPROXY +LUA -MEMORY')).toEqual({ version: '2.6.12', lua: true });
    expect(parseVersion('HA-Proxy version 2.4.0\nFeature list : -LUA')).toEqual({ version: '2.4.0', lua: false });
    expect(parseVersion('nginx version: nginx/1.22')).toBeUndefined();
    expect([2.4, 2.6, '3.0', '3.2'].map((v) => isSupported({ version: `${v}.1`, lua: true }))).toEqual([false, true, true, true]);
    expect(['2.6.12', '3.2.26', '3.3.0', '4.0.0'].map((version) => isTried({ version }))).toEqual([true, true, false, false]);
  });
});
