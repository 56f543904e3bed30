import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { once } from 'node:events';
import process from 'node:process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { askCli } from '../../src/haproxy/io/cli-socket.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { BreakerState } from '../../src/model/breaker.ts';
import type { Route, Version } from '../../src/model/route-table.ts';
import { CountingServer } from '../support/counting-server.ts';
import { AT_ONCE, call } from '../support/haproxy-world.ts';
import type { Answer } from '../support/haproxy-world.ts';
import { TURN_MS } from '../support/scenes/describe-scenes.ts';
import { takeTurn } from '../support/scenes/take-turns.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

const VIP = '127.72.40.1';
const POD = '127.88.40.1';
const SERVER = '127.88.40.100';
const BREAKER = { threshold: 5, windowSeconds: 60, breakTimeSeconds: 60, connLimit: 0 };
const OPEN = { status: 503, reason: 'breaker-open' };

/** Gives up before the test's own limit does, which would not say what was waited for. */
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 8_000; !(await holds()); await sleep(10)) if (Date.now() > end) throw new Error(`not so: ${what}`);
}

describe('the breaker of a version in a real HAProxy', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  let one: CountingServer;
  let two: CountingServer;
  let giveBack = async (): Promise<void> => {};
  let applied: readonly Route[] = [];

  const version = (name: string, port: number, breaker: Partial<typeof BREAKER> = {}): Version => aVersion(name, [anEndpoint(SERVER, port)], { breaker: { ...BREAKER, ...breaker } });
  const serve = async (...routes: readonly Route[]): Promise<void> => {
    applied = routes;
    expect(await proxy.apply(aTable(routes, [aCaller(POD)]))).toEqual([]);
  };
  /** The route's first version with this breaker; a second route has the other server. */
  const routeOf = (breaker: Partial<typeof BREAKER> = {}, more: Partial<Route> = {}): Route => aRoute('cart', { vip: VIP, listen: 8080, versions: [version('cart-a', 9101, breaker)], ...more });
  const get = (path: string, port = 8080): Promise<Answer> => call(POD, VIP, { path, port });
  const state = async (name = 'cart'): Promise<BreakerState | undefined> => (await proxy.breakers()).find(({ route }) => route === name);
  const set = (mode: 'open' | 'close' | 'auto', route = 'cart'): Promise<void> => proxy.setBreaker({ namespace: 'shop', route, version: 0 }, mode);

  /** Calls that HAProxy counts in the backend of the route now. */
  const sessions = async (): Promise<number> => {
    const row = (await askCli(join(runDir, 'haproxy.sock'), 'show stat')).split('\n').find((line) => line.startsWith('shop.cart.cart-a,BACKEND,'));
    return Number(row?.split(',')[4]);
  };

  beforeAll(async () => {
    giveBack = await takeTurn('127.88.40.255');
    runDir = await mkdtemp(join(tmpdir(), 'onehop-breaker-'));
    one = await new CountingServer().listen(SERVER, 9101);
    two = await new CountingServer().listen(SERVER, 9102);
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5, threads: 2 });
  }, TURN_MS);
  afterAll(async () => {
    await proxy.close({ drainMs: 200, leaveRunning: false });
    await one.close();
    await two.close();
    await rm(runDir, { recursive: true, force: true });
    await giveBack();
  });
  beforeEach(async () => {
    await serve(routeOf(), aRoute('other', { vip: VIP, listen: 8081, versions: [version('other-a', 9102)] }));
    await set('auto');
    await set('auto', 'other');
    one.reached = 0;
    two.reached = 0;
  });

  it('opens at exactly the threshold-th error, whatever header the server sends, and then nothing reaches it', async () => {
    for (let i = 0; i < 4; i++) expect(await get('/500')).toMatchObject({ status: 500, reason: undefined });
    for (const path of ['/404', '/429', '/200', '/404', '/404']) await get(path);
    expect(await state()).toMatchObject({ open: false, errors: 4, mode: 'auto' });
    expect(one.reached).toBe(9);
    expect(await get('/503')).toMatchObject({ status: 503, reason: undefined });
    for (let i = 0; i < 8; i++) expect(await get('/200')).toMatchObject({ ...OPEN, body: 'the circuit breaker of the chosen version is open\n' });
    expect(one.reached).toBe(10);
    const { open, openUntilMs = 0, errors } = (await state()) ?? {};
    expect({ open, errors }).toEqual({ open: true, errors: 0 });
    expect(openUntilMs - Date.now()).toBeGreaterThan(40_000);
    expect(openUntilMs - Date.now()).toBeLessThanOrEqual(60_500);
  });

  it('of one version leaves the other alone', async () => {
    for (let i = 0; i < 7; i++) await get('/500');
    for (let i = 0; i < 4; i++) expect((await get('/500', 8081)).status).toBe(500);
    expect((await get('/200', 8081)).status).toBe(200);
    expect([one.reached, two.reached]).toEqual([5, 5]);
  });

  it('counts 5xx, a reset, a timeout and a refused connection alike', async () => {
    await serve(routeOf({ threshold: 3 }, { timeout: { connectMs: 250, requestMs: 300 }, retries: { attempts: 0, on: [], nonIdempotent: false } }));
    expect(await get('/reset')).toMatchObject({ status: 502, reason: 'upstream-reset' });
    expect(await get('/never')).toMatchObject({ status: 504, reason: 'upstream-timeout' });
    expect(await state()).toMatchObject({ errors: 2 });
    expect((await get('/599')).status).toBe(599);
    expect(await get('/200')).toMatchObject(OPEN);
    await serve(aRoute('cart', { vip: VIP, listen: 8080, versions: [version('cart-a', 9109, { threshold: 3 })] }));
    await set('auto');
    for (let i = 0; i < 3; i++) expect(await get('/200')).toMatchObject({ status: 502, reason: 'connect-failed' });
    expect(await get('/200')).toMatchObject(OPEN);
  });

  it('counts answers that the server aborts, within a moment, and not those that the client leaves', async () => {
    await serve(routeOf({ threshold: 4 }));
    for (const [i, path] of ['/abort', '/cut', '/abort'].entries()) {
      await expect(get(path)).rejects.toThrow(/aborted|reset|hang up/);
      await until('it is counted', async () => (await state())?.errors === i + 1);
    }
    for (let i = 0; i < 3; i++) {
      const socket = net.connect({ host: VIP, port: 8080, localAddress: POD });
      socket.on('error', () => undefined).write('GET /held HTTP/1.1\r\nhost: a\r\n\r\n');
      await until('it is there', () => one.reached === 4 + i);
      socket.resetAndDestroy();
    }
    one.release();
    await until('all have left', async () => one.now === 0 && (await sessions()) === 0);
    await expect(get('/500')).resolves.toMatchObject({ status: 500 });
    expect(await get('/200')).toMatchObject(OPEN);
    expect(one.reached).toBe(7);
  });

  it('on a tcp route counts failed connects and server aborts, and opens', async () => {
    const tcp = (path: string, port = 8080): Promise<string> =>
      new Promise((resolve) => {
        const socket = net.connect({ host: VIP, port, localAddress: POD });
        let answer = '';
        socket.on('error', () => undefined).setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
        socket.on('close', () => resolve(answer.split('\r\n', 1)[0] ?? ''));
        socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`);
      });
    const refused = aRoute('other', { vip: VIP, listen: 8081, protocol: 'tcp', versions: [version('other-a', 9109, { threshold: 2 })] });
    await serve(routeOf({ threshold: 3 }, { protocol: 'tcp' }), refused);
    for (let i = 1; i <= 3; i++) {
      expect(await tcp('/200')).toBe('HTTP/1.1 200 OK');
      await tcp('/abort');
      await until('it is counted', async () => (await state())?.errors === i || i === 3);
    }
    await until('it is open', async () => (await state())?.open === true);
    expect(await tcp('/200')).toBe('');
    expect(one.reached).toBe(6);
    for (let i = 1; i <= 2; i++) {
      expect(await tcp('/200', 8081)).toBe('');
      await until('it is counted', async () => (await state('other'))?.errors === i || i === 2);
    }
    await until('it is open', async () => (await state('other'))?.open === true);
    expect((await proxy.calls()).refused['breaker-open']).toBeGreaterThan(0);
  });

  it('does not count its own refusals', async () => {
    await serve(aRoute('cart', { vip: VIP, listen: 8080, versions: [aVersion('cart-a', [], { breaker: { ...BREAKER, threshold: 2 } })] }));
    for (let i = 0; i < 6; i++) expect(await get('/')).toMatchObject({ status: 503, reason: 'no-endpoints' });
    expect(await state()).toMatchObject({ open: false, errors: 0 });
  });

  it('closes after its break time with an empty window, and opens again', async () => {
    await serve(routeOf({ threshold: 3, breakTimeSeconds: 1 }));
    for (let round = 1; round <= 3; round++) {
      for (let i = 0; i < 3; i++) expect((await get('/500')).status).toBe(500);
      const opened = performance.now();
      expect(await get('/200')).toMatchObject(OPEN);
      expect(one.reached).toBe(round * 4 - 1);
      await until('it is closed', async () => (await state())?.open === false);
      expect(performance.now() - opened).toBeGreaterThan(900);
      expect((await get('/200')).status).toBe(200);
      expect(await state()).toMatchObject({ errors: 0 });
      expect(one.reached).toBe(round * 4);
    }
  });

  it('forgets errors that leave the window', async () => {
    await serve(routeOf({ threshold: 3, windowSeconds: 1 }));
    for (let i = 0; i < 6; i++) {
      expect((await get('/500')).status).toBe(500);
      expect((await get('/500')).status).toBe(500);
      // At most two within a window.
      await until('the window is empty', async () => (await state())?.errors === 0);
    }
    expect(await state()).toMatchObject({ open: false });
    expect(one.reached).toBe(12);
  });

  it('does not count errors of calls that were on their way when it opened', async () => {
    await serve(routeOf({ threshold: 2 }, { timeout: { connectMs: 250, requestMs: 3000 }, retries: { attempts: 0, on: [], nonIdempotent: false } }));
    const late = [get('/never'), get('/never'), get('/never')];
    await until('they are there', () => one.reached === 3);
    for (let i = 0; i < 2; i++) await get('/500');
    const { openUntilMs = 0 } = (await state()) ?? {};
    expect(openUntilMs).toBeGreaterThan(Date.now());
    for (const answer of await Promise.all(late)) expect(answer.status).toBe(504);
    // Had they been counted, it would have opened anew.
    expect(Math.abs(((await state())?.openUntilMs ?? 0) - openUntilMs)).toBeLessThan(500);
    expect(await state()).toMatchObject({ open: true, errors: 0 });
  });

  it('is held open and closed by an operator, and begins anew with auto', async () => {
    await set('open');
    expect(await state()).toMatchObject({ mode: 'open', open: true });
    expect(await state()).not.toHaveProperty('openUntilMs');
    expect(await get('/200')).toMatchObject(OPEN);
    await set('close');
    for (let i = 0; i < 8; i++) expect((await get('/500')).status).toBe(500);
    expect(await state()).toMatchObject({ mode: 'close', open: false });
    await set('auto');
    for (let i = 0; i < 4; i++) expect((await get('/500')).status).toBe(500);
    expect((await get('/200')).status).toBe(200);
    await proxy.setBreaker({ namespace: 'shop', route: 'cart', version: 7 }, 'open');
    expect((await get('/200')).status).toBe(200);
  });

  it('keeps its errors when its settings change, without a reload', async () => {
    const { reloads } = proxy.status();
    for (let i = 0; i < 4; i++) await get('/500');
    await serve(routeOf({ threshold: 6, breakTimeSeconds: 30 }), ...applied.slice(1));
    expect(await state()).toMatchObject({ errors: 4 });
    await get('/500');
    expect((await get('/200')).status).toBe(200);
    await get('/500');
    expect(await get('/200')).toMatchObject(OPEN);
    expect((await state())?.openUntilMs ?? 0).toBeLessThanOrEqual(Date.now() + 30_500);
    await serve(routeOf({ threshold: 2 }), ...applied.slice(1));
    expect(await get('/200')).toMatchObject(OPEN);
    expect(proxy.status().reloads).toBe(reloads);
  });

  it('carries open breakers, errors and what is held over a reload and over a HAProxy that was killed', async () => {
    const held = (name: string, port: number): Route => aRoute(name, { vip: VIP, listen: port, versions: [version(`${name}-a`, 9102)] });
    await serve(...applied, held('third', 8082), held('fourth', 8083));
    for (let i = 0; i < 5; i++) await get('/500');
    for (let i = 0; i < 3; i++) await get('/500', 8081);
    await set('open', 'third');
    await set('close', 'fourth');
    const before = (await state())?.openUntilMs ?? 0;
    const check = async (): Promise<void> => {
      expect(await get('/200')).toMatchObject(OPEN);
      expect(Math.abs(((await state())?.openUntilMs ?? 0) - before)).toBeLessThan(1000);
      expect(await state('other')).toMatchObject({ open: false, errors: 3 });
      expect(await state('third')).toMatchObject({ mode: 'open', open: true });
      expect(await get('/200', 8082)).toMatchObject(OPEN);
      expect(await state('fourth')).toMatchObject({ mode: 'close', open: false });
    };
    const { reloads } = proxy.status();
    await serve(...applied, held('fifth', 8084));
    expect(proxy.status().reloads).toBe(reloads + 1);
    await check();
    const { workerPid = 0, pid = 0, restarts } = proxy.status();
    process.kill(pid, 'SIGKILL');
    process.kill(workerPid, 'SIGKILL');
    await until('it is started again', () => proxy.status().restarts > restarts && proxy.status().workerPid !== workerPid && proxy.status().workerPid !== undefined);
    await check();
    await get('/500', 8081);
    expect((await get('/200', 8081)).status).toBe(200);
    await get('/500', 8081);
    expect(await get('/200', 8081)).toMatchObject(OPEN);
  });

  it('goes on under the next agent: what it counted and what is held stays, without a reload', async () => {
    for (let i = 0; i < 4; i++) await get('/500');
    await set('open', 'other');
    await proxy.close({ drainMs: 0, leaveRunning: true });
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5, threads: 2 });
    await serve(...applied);
    expect(proxy.status()).toMatchObject({ reloads: 0, restarts: 0 });
    expect(await state()).toMatchObject({ errors: 4 });
    expect(await state('other')).toMatchObject({ mode: 'open' });
    await get('/500');
    expect(await get('/200')).toMatchObject(OPEN);
  });

  it('counts its refusals, and not as failures of servers', async () => {
    const before = (await proxy.calls()).refused;
    for (let i = 0; i < 12; i++) await get('/500');
    const after = (await proxy.calls()).refused;
    expect((after['breaker-open'] ?? 0) - (before['breaker-open'] ?? 0)).toBe(7);
    expect(after['failed']).toBe(before['failed']);
  });

  it('has no request counted twice nor lost under parallel errors on two threads', async () => {
    await serve(routeOf({ threshold: 100 }));
    await Promise.all(Array.from({ length: 11 }, async () => {
      for (let i = 0; i < 9; i++) expect((await get('/500')).status).toBe(500);
    }));
    expect(await state()).toMatchObject({ errors: 99, open: false });
    expect((await get('/500')).status).toBe(500);
    expect(await get('/200')).toMatchObject(OPEN);
    expect(one.reached).toBe(100);
  });

  it('agrees with a small oracle, whatever the times of its errors', async () => {
    const ask = (command: string): Promise<string> => askCli(join(runDir, 'haproxy.sock'), command);
    // Ages lie 50 s off every multiple of 100 s, windows on one: no moment of this test moves an error over a window's edge.
    const age = fc.integer({ min: 0, max: 39 }).map((n) => (n * 100 + 50) * 1000);
    const play = fc.record({ threshold: fc.integer({ min: 1, max: 8 }), windowSeconds: fc.integer({ min: 1, max: 36 }).map((n) => n * 100), ages: fc.array(age, { maxLength: 40 }) });
    await fc.assert(
      fc.asyncProperty(play, async ({ threshold, windowSeconds, ages }) => {
        const sorted = ages.toSorted((a, b) => b - a);
        await serve(routeOf({ threshold, windowSeconds }), ...applied.slice(1));
        await set('auto');
        if (sorted.length > 0) await ask(`onehop breaker shop.cart.cart-a errors ${sorted.join(',')}`);
        const within = (oldest: number, newest: number): boolean => oldest - newest < windowSeconds * 1000;
        const opens = sorted.some((newest, i) => i + 1 >= threshold && within(sorted[i + 1 - threshold] ?? 0, newest));
        const left = opens ? 0 : Math.min(threshold, sorted.filter((one) => within(one, 0)).length);
        expect(await state()).toMatchObject({ open: opens, errors: left });
        expect((await get('/200')).status).toBe(opens ? 503 : 200);
      }),
      { numRuns: 60 },
    );
  }, 120_000);

  it('refuses on a tcp route by closing', async () => {
    await serve(routeOf({}, { protocol: 'tcp' }));
    const connect = async (): Promise<string> => {
      const socket = net.connect({ host: VIP, port: 8080, localAddress: POD });
      let answer = '';
      socket.on('error', () => undefined).setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
      socket.write('GET /200 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n');
      await new Promise((resolve) => socket.on('close', resolve));
      return answer.split('\r\n', 1)[0] ?? '';
    };
    expect(await connect()).toBe('HTTP/1.1 200 OK');
    await set('open');
    expect(await connect()).toBe('');
    expect(one.reached).toBe(1);
    await set('close');
    expect(await connect()).toBe('HTTP/1.1 200 OK');
  });

  it('connLimit: of 64 parallel calls at most 10 are at the server, and exactly the others are refused at once', async () => {
    await serve(routeOf({ threshold: 0, connLimit: 10 }));
    const refusedBefore = (await proxy.calls()).refused['conn-limit'] ?? 0;
    one.most = 0;
    for (let round = 1; round <= 4; round++) {
      let refused = 0;
      const calls = Array.from({ length: 64 }, async () => {
        const answer = await get('/held');
        if (answer.status === 503) refused++;
        return answer;
      });
      await until('ten are there and all others answered', () => one.now === 10 && refused === 54);
      one.release();
      const answers = await Promise.all(calls);
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
      expect(answers.filter(({ status, reason, body }) => status === 503 && reason === 'conn-limit' && body === 'the connection limit of the chosen version is reached\n')).toHaveLength(54);
      expect(one.reached).toBe(10 * round);
      // A caller has its answer a moment before HAProxy has counted the call out.
      await until('all have left', async () => one.now === 0 && (await sessions()) === 0);
    }
    expect(one.most).toBe(10);
    const { refused } = await proxy.calls();
    expect((refused['conn-limit'] ?? 0) - refusedBefore).toBe(4 * 54);
    expect(await proxy.breakers()).toEqual([]);
  });

  it('connLimit counts tunnels for as long as they are open', async () => {
    await serve(routeOf({ threshold: 0, connLimit: 2 }, { protocol: 'tcp' }));
    const open = async (): Promise<net.Socket> => {
      const socket = net.connect({ host: VIP, port: 8080, localAddress: POD });
      socket.on('error', () => undefined).resume();
      socket.write('GET /held HTTP/1.1\r\nhost: a\r\n\r\n');
      await once(socket, 'connect');
      return socket;
    };
    const tunnels = [await open(), await open()];
    await until('both are there', () => one.reached === 2);
    const third = await open();
    if (!third.closed) await new Promise((resolve) => third.on('close', resolve));
    expect(one.reached).toBe(2);
    tunnels[0]?.destroy();
    // A connection that ended is counted a moment longer: one that is refused meanwhile is closed, the next is tried.
    await until('there is room again', async () => {
      const next = await open();
      await until('it is refused or there', () => next.closed || one.reached > 2);
      next.destroy();
      return one.reached > 2;
    });
    tunnels[1]?.destroy();
  });
});
