import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync, mkdirSync } from 'node:fs';
import type http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { isSince } from '../../src/haproxy/features.ts';
import { askCli } from '../../src/haproxy/io/cli-socket.ts';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { readHaproxyUid, readHeldListeners } from '../../src/haproxy/io/held-listeners.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { Route } from '../../src/model/route-table.ts';
import { killAll } from '../support/agent-process.ts';
import { AT_ONCE, call, closeServer, openServer, SERVERS } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

/** A HAProxy that `onehop-haproxy` runs, and agents that know it by its sockets alone. */
const LAUNCHER = 'daemonset/onehop-haproxy';
const POD = '127.88.75.21';
const STRANGER = '127.88.75.22';
const ONE = '11111111-1111-4111-8111-111111111111';
const TWO = '22222222-2222-4222-8222-222222222222';
const vip = (index: number): string => `127.75.5.${index}`;
const route = (index: number, more: Partial<Route> = {}): Route =>
  aRoute(`cart${index}`, { vip: vip(index), listen: 8080, versions: [aVersion('cart-a', [anEndpoint(SERVERS, 9303)])], ...more });
const table = (callers: readonly string[], ...routes: Route[]) => aTable(routes, callers.map((address) => aCaller(address)));

let server: http.Server;
let parent: string;
const launchers: ChildProcess[] = [];
const proxies: HaproxyProxy[] = [];
const troubles: (string | undefined)[] = [];

beforeAll(async () => {
  server = await openServer('a', 9303);
  // It must not be the server that ends the connections which old workers hold.
  server.keepAliveTimeout = 120_000;
});
afterAll(() => closeServer(server));
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'oh-att-'));
  troubles.length = 0;
});
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.close({ drainMs: 0, leaveRunning: true });
  for (const launcher of launchers.splice(0)) launcher.kill('SIGKILL');
  killAll(haproxys(parent));
  rmSync(parent, { recursive: true });
});

/** Processes of HAProxy below a folder. */
function haproxys(dir: string): readonly number[] {
  const listed = execFileSync('ps', ['-eo', 'pid,comm,args'], { encoding: 'utf8' }).split('\n');
  return listed.filter((line) => / haproxy +haproxy .*master\.sock,/.test(line) && line.includes(`${dir}/`)).map((line) => Number.parseInt(line, 10));
}

function launch(runDir: string, env: Readonly<Record<string, string>> = {}) {
  const child = spawn(LAUNCHER, [runDir], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } });
  launchers.push(child);
  const run = { child, log: '', exit: once(child, 'exit').then(([code]) => code as number | null) };
  child.stderr.setEncoding('utf8').on('data', (text: string) => (run.log += text));
  return run;
}

async function attach(runDir: string): Promise<HaproxyProxy> {
  const proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: true, pace: AT_ONCE, drainTimeoutSeconds: 60, threads: 1, events: { onTrouble: (why) => troubles.push(why) } });
  proxies.push(proxy);
  return proxy;
}

const status = async (from: string, index: number): Promise<number> => (await call(from, vip(index))).status;
const until = (check: () => unknown): Promise<unknown> => vi.waitFor(check, { timeout: 15_000, interval: 50 });
const listening = (address: string): number => execFileSync('ss', ['-ltnH', 'src', address], { encoding: 'utf8' }).split('\n').filter((line) => line !== '').length;

describe('the launcher', () => {
  it('waits for haproxy.cfg, and ends with 0 when it is stopped before', async () => {
    const run = launch(parent);
    await until(() => expect(run.log).toContain('waiting for'));
    run.child.kill('SIGTERM');
    expect(await run.exit).toBe(0);
  });

  it('ends with the exit code of a HAProxy that cannot start', async () => {
    writeFileSync(join(parent, 'haproxy.cfg'), 'nonsense\n');
    expect(await launch(parent).exit).toBe(1);
  });

  it.each(['worker', 'master'])('starts HAProxy again at once when its %s is killed, and still stops when it is told to', async (which) => {
    const run = launch(parent);
    const proxy = await attach(parent);
    expect(await proxy.apply(table([POD], route(1)))).toEqual([]);
    // A HAProxy that ends in its first two seconds is the supervisor's affair.
    await sleep(2_500);
    // The master was there first.
    const [master, worker] = haproxys(parent).toSorted((a, b) => a - b);
    if (master === undefined || worker === undefined) throw new Error('HAProxy does not run');
    process.kill(which === 'worker' ? worker : master, 'SIGKILL');
    await until(() => expect(run.log).toContain('starting it again'));
    await until(async () => expect(await status(POD, 1)).toBe(200));
    expect(run.child.exitCode).toBeNull();
    run.child.kill('SIGTERM');
    expect(await run.exit).toBe(0);
    expect(haproxys(parent)).toEqual([]);
  });

  it('a stop lets open connections live until its time is over', { timeout: 60_000 }, async () => {
    const proxy = await attach(parent);
    const run = launch(parent, { ONEHOP_GRACE_SECONDS: '12' });
    expect(await proxy.apply(table([POD], route(1, { protocol: 'tcp' })))).toEqual([]);
    const socket = net.connect({ host: vip(1), port: 8080, localAddress: POD });
    const said: string[] = [];
    socket.setEncoding('utf8').on('data', (text: string) => said.push(text));
    const closed = once(socket, 'close');
    await once(socket, 'connect');
    const begun = Date.now();
    run.child.kill('SIGTERM');
    await until(() => expect(listening(vip(1))).toBe(0));
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await until(() => expect(said.join('')).toContain('200 OK'));
    await closed;
    expect(Date.now() - begun).toBeGreaterThan(2_000);
    expect(await run.exit).toBe(0);
  });

  it('takes the listening sockets of a sibling that serves, and of none that is dead', async () => {
    const [one, two] = [join(parent, ONE), join(parent, TWO)];
    const first = launch(one);
    expect(await (await attach(one)).apply(table([POD], route(1)))).toEqual([]);
    expect(first.log).not.toContain('taking');
    const second = launch(two);
    const proxy = await attach(two);
    expect(await proxy.apply(table([POD], route(1)))).toEqual([]);
    expect(second.log).toContain(`from ${ONE}`);
    // One socket, two processes that accept from it.
    expect(listening(vip(1))).toBe(1);
    first.child.kill('SIGTERM');
    expect(await first.exit).toBe(0);
    // The sibling is gone: a reload must not need it.
    expect(await proxy.apply(table([POD], route(1), route(2)))).toEqual([]);
    expect([await status(POD, 1), await status(POD, 2)]).toEqual([200, 200]);

    second.child.kill('SIGTERM');
    await second.exit;
    const third = launch(two);
    await until(async () => expect(await status(POD, 2)).toBe(200));
    expect(third.log).not.toContain('taking');
  });

  it('takes over from a HAProxy of its folder that outlived its launcher', async () => {
    const run = launch(parent);
    expect(await (await attach(parent)).apply(table([POD], route(1)))).toEqual([]);
    const before = haproxys(parent);
    run.child.kill('SIGKILL');
    await run.exit;
    const again = launch(parent);
    await until(() => expect(haproxys(parent).filter((pid) => before.includes(pid))).toEqual([]));
    expect(again.log).toContain('an earlier HAProxy');
    expect(await status(POD, 1)).toBe(200);
    expect(listening(vip(1))).toBe(1);
  });
});

describe('an attached HAProxy', () => {
  it('that was started again with other maps than it had is brought in step without a reload', async () => {
    const run = launch(parent);
    const proxy = await attach(parent);
    await proxy.apply(table([POD], route(1)));
    const early = readFileSync(join(parent, 'maps/callers.map'), 'utf8');
    await proxy.apply(table([POD, STRANGER], route(1)));
    expect(await status(STRANGER, 1)).toBe(200);
    const { reloads } = proxy.status();
    // As if it had been started again in the middle of a change.
    run.child.kill('SIGTERM');
    await run.exit;
    writeFileSync(join(parent, 'maps/callers.map'), early);
    launch(parent);
    await until(async () => expect(await status(POD, 1)).toBe(200));
    // Nobody has to ask for it.
    await until(async () => expect(await status(STRANGER, 1)).toBe(200));
    expect(proxy.status()).toMatchObject({ reloads, restarts: 1 });
  });

  it('that hangs is told; its own ports are not taken for strangers by an agent that starts meanwhile', { timeout: 60_000 }, async () => {
    launch(parent);
    const first = await attach(parent);
    await first.apply(table([POD], route(1)));
    await first.close({ drainMs: 0, leaveRunning: true });
    for (const pid of haproxys(parent)) process.kill(pid, 'SIGSTOP');
    const config = readFileSync(join(parent, 'haproxy.cfg'), 'utf8');
    const second = await attach(parent);
    expect(second.listeners()).toEqual(new Set());
    expect(await readHeldListeners(parent, [])).toEqual(new Set([`${vip(1)}:8080`]));
    expect(await readHaproxyUid(parent)).toBe(process.getuid?.());
    expect(await second.apply(table([POD], route(1)))).toMatchObject([{ code: 'haproxy-failed' }]);
    await until(() => expect(troubles.at(-1)).toContain('hangs'));
    expect(readFileSync(join(parent, 'haproxy.cfg'), 'utf8')).toBe(config);
    for (const pid of haproxys(parent)) process.kill(pid, 'SIGCONT');
    await until(() => expect(troubles.at(-1)).toBeUndefined());
    expect(await second.apply(table([POD, STRANGER], route(1)))).toEqual([]);
    expect(await status(STRANGER, 1)).toBe(200);
    expect(second.status().reloads).toBe(0);
  });

  it('whose reload fails for a port that a stranger took serves on; one that says why costs that route alone', { timeout: 60_000 }, async () => {
    launch(parent);
    const proxy = await attach(parent);
    await proxy.apply(table([POD], route(1)));
    const stranger = net.createServer().listen(8080, vip(9));
    await once(stranger, 'listening');
    const problems = await proxy.apply(table([POD], route(1), route(2), route(9)));
    // Its log is elsewhere: 2.6 leaves the agent nothing to find the route by, later versions answer with what was said.
    const says = isSince({ version: proxy.status().version }, [2, 7]);
    expect(problems).toMatchObject(says ? [{ code: 'port-taken', object: { name: 'cart9' } }] : [{ code: 'haproxy-failed' }]);
    expect([await status(POD, 1), await status(POD, 2).catch(() => 0)]).toEqual([200, says ? 200 : 0]);
    expect(proxy.status()).toMatchObject({ restarts: 0, reloads: says ? 1 : 0 });
    stranger.close();
    await once(stranger, 'close');
    const all = table([POD, STRANGER], route(1), route(2), route(9));
    // Without a culprit only another configuration is tried again.
    expect(await proxy.apply(says ? all : table([POD], route(1), route(2)))).toEqual([]);
    expect(await proxy.apply(all)).toEqual([]);
    expect([await status(POD, 9), proxy.status().restarts]).toEqual([200, 0]);
  });

  it('keeps at most eight old workers with connections', { timeout: 60_000 }, async () => {
    launch(parent);
    const proxy = await attach(parent);
    const tcp = route(1, { protocol: 'tcp' });
    await proxy.apply(table([POD], tcp));
    const sockets: net.Socket[] = [];
    for (let i = 2; i < 13; i++) {
      const socket = net.connect({ host: vip(1), port: 8080, localAddress: POD }).on('error', () => undefined);
      sockets.push(socket);
      await once(socket, 'connect');
      // The server answers: the connection is through.
      socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
      await once(socket, 'data');
      await proxy.apply(table([POD], tcp, route(i)));
    }
    await until(async () => {
      await proxy.apply(table([POD], tcp));
      expect(proxy.status().oldWorkers).toBeLessThanOrEqual(8);
    });
    expect(sockets[0]?.destroyed).toBe(true);
    expect(sockets.at(-1)?.destroyed).toBe(false);
    for (const socket of sockets) socket.destroy();
  });
});

it('listeners of a sibling count while its HAProxy is there, or its agent, which may stand in for it', async () => {
  const [one, two] = [join(parent, ONE), join(parent, TWO)];
  const run = launch(one);
  const proxy = await attach(one);
  await proxy.apply(table([POD], route(1)));
  mkdirSync(two);
  expect(await readHeldListeners(two, [one])).toEqual(new Set([`${vip(1)}:8080`]));
  run.child.kill('SIGTERM');
  await run.exit;
  expect(existsSync(join(one, 'haproxy.cfg'))).toBe(true);
  expect(await readHeldListeners(two, [one])).toEqual(new Set([`${vip(1)}:8080`]));
  await proxy.close({ drainMs: 0, leaveRunning: true });
  expect(await readHeldListeners(two, [one])).toEqual(new Set());
  await expect(askCli(join(one, 'haproxy.sock'), 'show info')).rejects.toThrow(/ENOENT|ECONNREFUSED/);
});
