import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CliSession } from '../../src/haproxy/io/cli-session.ts';
import { readFiles } from '../../src/haproxy/io/config-files.ts';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import { parseMap } from '../../src/haproxy/parse-answers.ts';
import { parseServerStates } from '../../src/haproxy/parse-server-states.ts';
import type { Endpoint, Route, RouteTable } from '../../src/model/route-table.ts';
import { openCliRelay, type Verdict } from '../support/cli-relay.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

const BACKEND = 'shop.cart.v';

/** Changes that are too long for one command, are cut off, refused or survive no HAProxy: what is there afterwards. */
describe('applying under faults', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  let binary: string;

  beforeEach(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'onehop-faults-'));
    binary = 'haproxy';
  });
  afterEach(async () => {
    await proxy.close({ drainMs: 0, leaveRunning: false });
    await rm(runDir, { recursive: true, force: true });
  });

  const open = async (events = {}): Promise<void> => {
    proxy = await openHaproxy({ binary, runDir, attach: false, drainTimeoutSeconds: 5, threads: 2, pace: { gapMs: 0, mostMs: 0 }, events });
  };
  const addresses = (count: number): string[] => Array.from({ length: count }, (_, i) => `127.89.${100 + (i >> 8)}.${i & 255}`);
  const near = (count: number): Endpoint[] => addresses(count).map((address) => anEndpoint(address, 9000));
  const cart = (active: readonly Endpoint[], more: Partial<Route> = {}): Route => aRoute('cart', { vip: '127.90.6.1', listen: 8080, versions: [aVersion('v', active)], ...more });
  const table = (routes: readonly Route[], pods = 1): RouteTable => aTable(routes, addresses(pods).map((address) => aCaller(address)));

  /** What the worker has: servers that serve, sorted, and a map. */
  async function running(file = 'maps/callers.map'): Promise<{ readonly servers: readonly string[]; readonly map: string }> {
    const cli = await CliSession.open(join(runDir, 'haproxy.sock'), 10_000);
    try {
      const states = parseServerStates(await cli.ask('show servers state', 20_000)).get(BACKEND) ?? new Map<string, string>();
      return { servers: [...states].flatMap(([name, state]) => (state === 'serving' ? [name] : [])).toSorted(), map: parseMap(await cli.ask(`show map ${file}`, 20_000)) };
    } finally {
      cli.close();
    }
  }
  const names = (count: number, suffix = ''): string[] => addresses(count).map((address) => `${address}:9000${suffix}`).toSorted();
  const callers = (count: number): string => `${addresses(count).map((address) => `${address} shop\n`).join('')}127.88.0.0/16 @unknown\n127.0.0.0/8 @host\n`;

  it('a map of hundreds of kilobytes, and a thousand endpoints at once, and back', async () => {
    await open();
    const acl = (count: number): Partial<Route> => ({ access: { namespace: 'shop', defaultAllow: true, exceptions: addresses(count), accounts: [], hasEntries: true } });
    expect(await proxy.apply(table([cart(near(2), acl(1))]))).toEqual([]);
    expect(await proxy.apply(table([cart(near(1000), acl(10_000))], 10_000))).toEqual([]);
    const full = await running();
    expect(full.servers.map((name) => name.replace('.plain', ''))).toEqual(names(1000));
    expect(full.map).toBe(callers(10_000));
    expect((await running('maps/shop.cart.denied.map')).map).toBe(addresses(10_000).map((address) => `${address} exception\n`).join(''));
    await vi.waitFor(async () => expect((await readFiles(runDir))?.servers.get(BACKEND)?.servers).toHaveLength(1000), { timeout: 30_000 });
    expect(await proxy.apply(table([cart(near(2), acl(1))]))).toEqual([]);
    expect(await running()).toEqual({ servers: names(2), map: callers(1) });
    await vi.waitFor(async () => expect((await readFiles(runDir))?.servers.get(BACKEND)?.servers).toHaveLength(2), { timeout: 30_000 });
    expect(proxy.status()).toMatchObject({ reloads: 0, restarts: 0 });
  }, 180_000);

  const nth = (pattern: RegExp, at: number, verdict: (command: string) => Verdict): ((command: string) => Verdict) => {
    let seen = 0;
    return (command) => (pattern.test(command) && ++seen === at ? verdict(command) : 'pass');
  };
  const refuse: Verdict = { answer: 'Permission denied' };

  it.each<[what: string, judge: (command: string) => Verdict, reloads: number]>([
    ['a connection that breaks between two servers', nth(/^add server/, 3, () => 'cut'), 0],
    ['a connection that breaks before a server is switched on', nth(/^enable server/, 2, () => 'cut'), 0],
    ['checks that are refused once', nth(/^enable health/, 1, () => refuse), 0],
    ['a connection that breaks while one leaves', nth(/^set server .* maint/, 1, () => 'cut'), 0],
    ['a connection that breaks in the middle of a map', nth(/^127\.89\.100\.7 /, 1, () => 'cut'), 0],
    ['a connection that breaks before the map is committed', nth(/^commit map/, 1, () => 'cut'), 0],
    ['one refused command', nth(/^enable server/, 1, () => refuse), 0],
    ['a server that cannot be added', (command) => (command.startsWith('add server') ? refuse : 'pass'), 1],
    ['a map that cannot be committed', (command) => (command.startsWith('commit map') ? refuse : 'pass'), 1],
    ['no command at all', (command) => (/^(?:add|set|enable|commit|prepare) /.test(command) ? 'cut' : 'pass'), 1],
  ])('%s', async (_, judge, reloads) => {
    await open();
    expect(await proxy.apply(table([cart(near(2))]))).toEqual([]);
    const relay = await openCliRelay(runDir, judge);
    try {
      expect(await proxy.apply(table([cart(near(12).slice(1))], 20))).toEqual([]);
    } finally {
      await relay.close();
    }
    expect(await running()).toEqual({ servers: names(12).filter((name) => name !== '127.89.100.0:9000'), map: callers(20) });
    expect(proxy.status()).toMatchObject({ reloads, restarts: 0, reloadsByCause: { command: reloads } });
    await proxy.repair();
    expect(proxy.status().repaired).toBe(0);
    expect(await proxy.apply(table([cart(near(3))], 2))).toEqual([]);
    expect(await running()).toEqual({ servers: names(3), map: callers(2) });
    expect(proxy.status().reloads).toBe(reloads);
  }, 60_000);

  it('what somebody else changed is mended although the commands of another backend are refused', async () => {
    const faults: string[] = [];
    await open({ onFault: (what: string) => faults.push(what) });
    const bad = aRoute('bad', { vip: '127.90.6.2', listen: 8080, versions: [aVersion('v', near(2))] });
    expect(await proxy.apply(table([bad, cart(near(2))]))).toEqual([]);
    const cli = await CliSession.open(join(runDir, 'haproxy.sock'));
    for (const server of ['shop.bad.v/127.89.100.0:9000', `${BACKEND}/127.89.100.0:9000`]) await cli.ask(`set server ${server} state maint`);
    cli.close();
    const relay = await openCliRelay(runDir, (command) => (command.includes(' shop.bad.v/') ? refuse : 'pass'));
    try {
      await proxy.repair();
      expect((await running()).servers).toEqual(names(2));
      expect(faults).toEqual([expect.stringMatching(/^shop\.bad\.v could not be mended: .*Permission denied/), expect.stringMatching(/; mended: shop\.cart\.v$/)]);
    } finally {
      await relay.close();
    }
    await proxy.repair();
    expect(faults.slice(2)).toEqual([expect.stringMatching(/; mended: shop\.bad\.v$/)]);
    expect(proxy.status()).toMatchObject({ repaired: 2, reloads: 0 });
  });

  it.each<[what: string, pattern: RegExp, at: number]>([
    ['between two servers', /^add server/, 3],
    ['before a map is committed', /^commit map/, 1],
  ])('HAProxy is killed in the middle of a change, %s: it is back with all of it, old or new, and then new', async (_, pattern, at) => {
    await open();
    expect(await proxy.apply(table([cart(near(2))]))).toEqual([]);
    const { pid = 0, workerPid = 0 } = proxy.status();
    const relay = await openCliRelay(runDir, nth(pattern, at, () => {
      for (const one of [pid, workerPid]) process.kill(one, 'SIGKILL');
      return 'cut';
    }));
    const begun = performance.now();
    const [problem] = await proxy.apply(table([cart(near(12))], 20));
    // Nobody waits for a reload of what is gone.
    expect(performance.now() - begun).toBeLessThan(15_000);
    expect(problem).toMatchObject({ code: 'haproxy-failed', object: { kind: 'Node' } });
    await vi.waitFor(() => expect(proxy.status().restarts).toBe(1), { timeout: 20_000 });
    const back = await vi.waitFor(() => running(), { timeout: 20_000 });
    expect(back).toEqual({ servers: names(2), map: callers(1) });
    await relay.close();
    expect(await proxy.apply(table([cart(near(12))], 20))).toEqual([]);
    expect(await running()).toEqual({ servers: names(12), map: callers(20) });
  }, 60_000);

  /** A HAProxy whose check refuses what holds this word, with this message; it notes each check. */
  async function picky(word: string, message: string): Promise<() => Promise<number>> {
    binary = join(runDir, 'picky');
    const log = join(runDir, 'checks');
    await writeFile(log, '');
    await writeFile(binary, `#!/bin/sh
if [ "$1" = -c ]; then
  echo >> ${log}
  grep -q '${word}' "$3/haproxy.cfg" || exit 0
  echo "[ALERT] (1) : config : ${message}" >&2
  exit 1
fi
exec haproxy "$@"
`, { mode: 0o755 });
    return async () => (await readFile(log, 'utf8')).length;
  }
  const thousand = (odd: Partial<Route>): Route[] =>
    Array.from({ length: 1000 }, (_, i) => aRoute(`r${String(i).padStart(3, '0')}`, { vip: `127.90.${7 + (i >> 8)}.${i & 255}`, listen: 8080, versions: [aVersion('v', near(1))], ...(i === 700 ? odd : {}) }));

  it.each<[how: string, message: string, checks: number]>([
    ['by its name', "Proxy 'shop.r700': something", 2],
    ['by halves, when the message names none', 'something', 14],
  ])('among 1,000 routes the one that is refused is found %s, left out, and tried again only when it changes', async (_, message, most) => {
    const checks = await picky('timeout connect 251ms', message);
    await open();
    const odd = { timeout: { connectMs: 251, requestMs: 60_000 } };
    const routes = thousand(odd);
    expect(await proxy.apply(table(routes))).toMatchObject([{ code: 'config-rejected', object: { kind: 'ServiceRoute', name: 'r700' } }]);
    expect(await checks()).toBeLessThanOrEqual(most);
    expect(proxy.listeners().size).toBe(999);
    const before = await checks();
    expect(await proxy.apply(table(routes))).toMatchObject([{ object: { name: 'r700' } }]);
    expect(await proxy.apply(table(thousand({ timeout: { connectMs: 251, requestMs: 60_000 } }), 2))).toMatchObject([{ object: { name: 'r700' } }]);
    expect(await checks()).toBe(before);
    expect(await proxy.apply(table(thousand({ timeout: { connectMs: 252, requestMs: 60_000 } })))).toEqual([]);
    expect(await checks()).toBe(before + 1);
    expect(proxy.listeners().size).toBe(1000);
  }, 180_000);

  it('a file that somebody broke blocks neither a restart nor an agent that comes later', async () => {
    await open();
    expect(await proxy.apply(table([cart(near(2))]))).toEqual([]);
    const file = join(runDir, 'haproxy.cfg');
    await writeFile(file, 'nonsense\n');
    await writeFile(join(runDir, 'maps/callers.map'), 'nonsense\n');
    process.kill(proxy.status().pid ?? 0, 'SIGKILL');
    await vi.waitFor(() => expect(proxy.status().restarts).toBe(1), { timeout: 20_000 });
    await vi.waitFor(async () => expect(await running()).toEqual({ servers: names(2), map: callers(1) }), { timeout: 20_000 });
    expect(await readFile(file, 'utf8')).toContain('frontend shop.cart from');

    await proxy.close({ drainMs: 0, leaveRunning: true });
    await writeFile(file, 'nonsense\n');
    await open();
    expect(await proxy.apply(table([cart(near(3))]))).toEqual([]);
    expect(proxy.status()).toMatchObject({ reloads: 1, reloadsByCause: { unknown: 1 }, restarts: 0 });
    expect((await running()).servers).toEqual(names(3));

    await proxy.close({ drainMs: 0, leaveRunning: false });
    await writeFile(file, 'nonsense\n');
    await open();
    expect(await proxy.apply(table([cart(near(2))]))).toEqual([]);
    expect((await running()).servers).toEqual(names(2));
  }, 60_000);
});
