import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { ReloadPace } from '../../src/haproxy/reload-pace.ts';
import type { Endpoint, Route } from '../../src/model/route-table.ts';
import { openCliRelay, type Verdict } from '../support/cli-relay.ts';
import { call } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

const CALLER = '127.88.90.31';
const [A, B] = ['127.88.90.32', '127.88.90.33'] as const;

/** How many reloads a burst of edits makes, and what does not wait for them. */
describe('reloads', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  const servers: (http.Server | net.Server)[] = [];

  beforeAll(async () => {
    for (const address of [A, B]) {
      const server = http.createServer((_, response) => response.end(address));
      await once(server.listen(9003, address), 'listening');
      servers.push(server);
    }
    const echo = net.createServer((socket) => socket.on('error', () => undefined).pipe(socket));
    await once(echo.listen(9004, A), 'listening');
    servers.push(echo);
  });
  afterEach(async () => {
    await proxy.close({ drainMs: 0, leaveRunning: false });
    await rm(runDir, { recursive: true, force: true });
  });
  afterAll(() => {
    for (const server of servers) server.close();
  });

  async function open(pace: ReloadPace, onFault: (line: string) => void = () => undefined): Promise<void> {
    runDir = await mkdtemp(join(tmpdir(), 'onehop-reloads-'));
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, drainTimeoutSeconds: 30, threads: 2, pace, events: { onFault } });
  }
  const near = (...addresses: readonly string[]): Endpoint[] => addresses.map((address) => anEndpoint(address, 9003));
  const first = (active: readonly Endpoint[], more: Partial<Route> = {}): Route => aRoute('first', { vip: '127.90.4.1', listen: 8080, versions: [aVersion('v', active)], ...more });
  const others = (count: number): Route[] => Array.from({ length: count }, (_, i) => aRoute(`other-${i}`, { vip: `127.90.5.${i + 1}`, listen: 8080, versions: [aVersion('v', near(A))] }));
  const table = (...routes: readonly Route[]) => aTable(routes, [aCaller(CALLER)]);
  const body = async (to: string): Promise<string> => (await call(CALLER, to)).body;

  /** As the agent does it: a newer table overtakes one that waits. */
  class Owner {
    #overtake = new AbortController();
    #last: Promise<unknown> = Promise.resolve();
    want(next: Parameters<HaproxyProxy['apply']>[0]): Promise<unknown> {
      this.#overtake.abort();
      const { signal } = (this.#overtake = new AbortController());
      const turn = this.#apply(next, signal, this.#last);
      this.#last = turn;
      return turn;
    }

    async #apply(next: Parameters<HaproxyProxy['apply']>[0], signal: AbortSignal, before: Promise<unknown>): Promise<unknown> {
      await before;
      try {
        return await proxy.apply(next, signal);
      } catch (error) {
        if (error !== signal.reason) throw error;
        return 'overtaken';
      }
    }
  }

  it('a single edit is in effect at once; fifty routes one after the other take few; endpoints do not wait for any of them', async () => {
    await open({ gapMs: 3_000, mostMs: 3_000 });
    const owner = new Owner();
    await owner.want(table(first(near(A))));
    await owner.want(table(first(near(A)), ...others(1)));
    expect(proxy.status()).toMatchObject({ reloads: 1, reloadsByCause: { routes: 1 } });

    const begun = performance.now();
    const turns: Promise<unknown>[] = [];
    for (let i = 2; i <= 50; i++) turns.push(owner.want(table(first(near(i % 2 === 0 ? B : A)), ...others(i))));
    // The last endpoint of this burst is there although its reload is not.
    await vi.waitFor(async () => expect(await body('127.90.4.1')).toBe(B), { timeout: 2_500, interval: 20 });
    const { reloads } = proxy.status();
    const waited = performance.now() - begun;
    expect(waited > 3_000 || reloads === 1).toBe(true);
    const outcomes = await Promise.all(turns);
    expect(outcomes.at(-1)).toEqual([]);
    expect(outcomes.filter((outcome) => outcome === 'overtaken').length).toBeGreaterThan(30);
    expect(proxy.status().reloads).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - begun) / 3_000));
    for (const at of [1, 25, 50]) expect(await body(`127.90.5.${at}`)).toBe(A);
    expect(await body('127.90.4.1')).toBe(B);
  }, 60_000);

  it('what was brought while a reload waited is there when HAProxy is killed meanwhile, and after the reload', async () => {
    await open({ gapMs: 60_000, mostMs: 60_000 });
    const shares = (below: number): Partial<Route> => ({ rule: { type: 'Percentage' }, choice: { kind: 'weighted', total: 100, shares: [{ below, version: 0 }] } });
    const owner = new Owner();
    await owner.want(table(first(near(A), shares(100))));
    await owner.want(table(first(near(A), shares(100)), ...others(1)));
    const waiting = owner.want(table(first(near(B), shares(100)), ...others(2)));
    await vi.waitFor(async () => expect(await body('127.90.4.1')).toBe(B), { timeout: 10_000 });
    const { restarts, workerPid } = proxy.status();
    process.kill(workerPid ?? 0, 'SIGKILL');
    await vi.waitFor(() => expect(proxy.status().restarts).toBe(restarts + 1), { timeout: 20_000 });
    // The very first answer of the new one.
    expect(await vi.waitFor(() => body('127.90.4.1'), { timeout: 20_000 })).toBe(B);
    await proxy.repair();
    expect(proxy.status().repaired).toBe(0);
    // Shares of a route that has nothing to wait for do not either.
    const later = owner.want(table(first(near(B), shares(0)), ...others(2)));
    await vi.waitFor(async () => expect((await call(CALLER, '127.90.4.1')).reason).toBe('no-version'), { timeout: 10_000 });
    expect(await waiting).toBe('overtaken');
    await proxy.close({ drainMs: 0, leaveRunning: true });
    expect(await later).toEqual([]);
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, drainTimeoutSeconds: 30, threads: 2 });
    expect(await proxy.apply(table(first(near(B), shares(100)), ...others(2)))).toEqual([]);
    expect(proxy.status()).toMatchObject({ reloads: 1, restarts: 0 });
    expect([await body('127.90.4.1'), await body('127.90.5.2')]).toEqual([B, A]);
  }, 60_000);

  it('while the reload of an ACL waits, new pods are known but for those that it denies', async () => {
    await open({ gapMs: 60_000, mostMs: 60_000 });
    const [fresh, denied] = ['127.88.90.34', '127.88.90.35'] as const;
    const acl = (exceptions: readonly string[]): Partial<Route> => ({ access: { namespace: 'shop', defaultAllow: true, exceptions, accounts: [], hasEntries: exceptions.length > 0 } });
    const owner = new Owner();
    await owner.want(table(first(near(A))));
    await owner.want(table(first(near(A)), ...others(1)));
    const waiting = owner.want(aTable([first(near(A), acl([denied])), ...others(1)], [CALLER, fresh, denied].map((address) => aCaller(address))));
    await vi.waitFor(async () => expect((await call(fresh, '127.90.4.1')).status).toBe(200), { timeout: 10_000 });
    expect(await call(denied, '127.90.4.1')).toMatchObject({ status: 403, reason: 'caller-unknown' });
    expect(proxy.status().reloads).toBe(1);
    const last = owner.want(aTable([first(near(A)), ...others(1)], [CALLER, fresh, denied].map((address) => aCaller(address))));
    expect([await waiting, await last]).toEqual(['overtaken', []]);
    expect((await call(denied, '127.90.4.1')).status).toBe(200);
  }, 60_000);

  it.each<[title: string, judge: (command: string) => Verdict, raw: string, faults: readonly RegExp[]]>([
    ['a version that moves from tcp to h2c keeps no pod waiting, not its own either', () => 'pass', B, []],
    ['a backend that refuses its servers keeps no other waiting', (command) => (command.startsWith('add server shop.a-raw.v/') ? { answer: 'no' } : 'pass'), A, [/add server shop\.a-raw\.v\/.*: no$/]],
  ])('while a reload waits, %s', async (_, judge, raw, expected) => {
    const faults: string[] = [];
    await open({ gapMs: 60_000, mostMs: 60_000 }, (line) => faults.push(line));
    const owner = new Owner();
    // The first by name: its servers come before those of all others.
    const moved = (active: readonly Endpoint[], more: Partial<Route>, serverProtocol: 'h1' | 'h2'): Route => aRoute('a-raw', { vip: '127.90.4.3', listen: 8080, versions: [aVersion('v', active, { serverProtocol })], ...more });
    await owner.want(table(moved(near(A), { protocol: 'tcp' }, 'h1'), first(near(A))));
    await owner.want(table(moved(near(A), { protocol: 'tcp' }, 'h1'), first(near(A)), ...others(1)));
    const relay = await openCliRelay(runDir, judge);
    try {
      const waiting = owner.want(table(moved(near(B), {}, 'h2'), first(near(B)), ...others(1)));
      await vi.waitFor(async () => expect(await body('127.90.4.1')).toBe(B), { timeout: 10_000 });
      expect(await body('127.90.4.3')).toBe(raw);
      expect(proxy.status().reloads).toBe(1);
      expect(faults).toEqual(expected.map((fault) => expect.stringMatching(fault)));
      // What was refused is in doubt: it is asked for before the next change, and tried again.
      void owner.want(table(moved(near(B), {}, 'h2'), first(near(A)), ...others(1)));
      expect(await waiting).toBe('overtaken');
      await vi.waitFor(async () => expect(await body('127.90.4.1')).toBe(A), { timeout: 10_000 });
      expect(await body('127.90.4.3')).toBe(raw);
    } finally {
      await relay.close();
    }
    expect(await owner.want(table(moved(near(B), { protocol: 'tcp' }, 'h1'), first(near(B)), ...others(1)))).toEqual([]);
    expect([await body('127.90.4.1'), await body('127.90.4.3')]).toEqual([B, B]);
    expect(proxy.status().reloads).toBe(1);
  }, 60_000);

  it('in a storm of edits there are never more than eight old workers, and long connections last for minutes at its pace', async () => {
    await open({ gapMs: 0, mostMs: 0 });
    const tcp = (active: readonly Endpoint[]): Route => aRoute('tunnels', { vip: '127.90.4.2', listen: 8080, protocol: 'tcp', versions: [aVersion('v', active)] });
    const tunnel = async (): Promise<net.Socket> => {
      const socket = net.connect({ host: '127.90.4.2', port: 8080, localAddress: CALLER });
      socket.on('error', () => undefined).resume();
      await once(socket, 'connect');
      socket.write('x');
      await once(socket, 'data');
      return socket;
    };
    const tunnels: net.Socket[] = [];
    for (let i = 0; i < 14; i++) {
      expect(await proxy.apply(table(first(near(A), { timeout: { connectMs: 251 + i, requestMs: 60_000 } }), tcp([anEndpoint(A, 9004)])))).toEqual([]);
      expect(proxy.status().oldWorkers).toBeLessThanOrEqual(9);
      tunnels.push(await tunnel());
    }
    const { pid = 0 } = proxy.status();
    await vi.waitFor(async () => {
      expect(await proxy.apply(table(first(near(A), { timeout: { connectMs: 264, requestMs: 60_000 } }), tcp([anEndpoint(A, 9004)])))).toEqual([]);
      expect(proxy.status().oldWorkers).toBe(8);
    }, { timeout: 20_000 });
    expect(proxy.status()).toMatchObject({ pid, restarts: 0, reloads: 13, reloadsByCause: { settings: 13 } });
    await vi.waitFor(() => expect(tunnels.filter((socket) => socket.closed)).toHaveLength(5), { timeout: 20_000 });
    expect(tunnels.slice(0, 5).every((socket) => socket.closed)).toBe(true);
    for (const socket of tunnels) socket.destroy();
  }, 120_000);
});
