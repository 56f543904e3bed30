import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { askCli } from '../../src/haproxy/io/cli-socket.ts';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import { parseServerStates } from '../../src/haproxy/parse-server-states.ts';
import type { Endpoint, Route } from '../../src/model/route-table.ts';
import { AT_ONCE } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

/** What is brought to a running HAProxy without a reload, and what is there after one. */
const VIP = '127.72.96.1';
const CALLER = '127.88.96.9';
const [A, B] = ['127.88.96.11', '127.88.96.12'] as const;

describe('without a reload', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  const servers: http.Server[] = [];
  let reloads = 0;
  /** Answers that servers hold back. */
  const held: (() => void)[] = [];
  const states = async (): Promise<readonly string[]> => {
    const answer = await askCli(join(runDir, 'haproxy.sock'), 'show servers state shop.cart.a');
    return [...(parseServerStates(answer).get('shop.cart.a')?.keys() ?? [])];
  };

  beforeAll(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'onehop-live-'));
    for (const address of [A, B]) {
      const server = http.createServer((request, response) => (request.url === '/slow' ? held.push(() => response.end(address)) : response.end(address)));
      await once(server.listen(8080, address), 'listening');
      servers.push(server);
    }
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5 });
  }, 60_000);
  afterAll(async () => {
    await proxy.close({ drainMs: 200, leaveRunning: false });
    for (const server of servers) server.close();
    await rm(runDir, { recursive: true, force: true });
  });
  beforeEach(async () => {
    await serve({});
    reloads = proxy.status().reloads;
  });

  const version = (name: string, address: string, match?: string) => aVersion(name, [anEndpoint(address, 8080)], match === undefined ? {} : { match });
  const route = (more: Partial<Route>): Route => aRoute('cart', { vip: VIP, listen: 8080, versions: [version('a', A), version('b', B)], ...more });
  const serve = async (more: Partial<Route>): Promise<void> => expect(await proxy.apply(aTable([route(more)], [aCaller(CALLER)]))).toEqual([]);

  function call(headers: Record<string, string> = {}, path = '/'): Promise<string> {
    return new Promise((resolve, reject) => {
      const request = http.get({ host: VIP, port: 8080, localAddress: CALLER, agent: false, headers, path }, (response) => {
        let text = '';
        response.on('data', (part: Buffer) => (text += part.toString()));
        response.on('end', () => resolve(response.statusCode === 200 ? text : String(response.headers['x-onehop-reason'])));
      });
      request.on('error', reject);
    });
  }
  const calls = async (times: number, headers?: Record<string, string>): Promise<readonly string[]> => {
    const answers: string[] = [];
    for (let i = 0; i < times; i++) answers.push(await call(headers));
    return [...new Set(answers)].toSorted();
  };

  it.each([
    ['Percentage', 100],
    ['', 7],
  ] as const)('shares of a %s route move at once, and are there after a reload', async (type, total) => {
    const shares = (below: number): Partial<Route> => ({ rule: { type }, choice: { kind: 'weighted', total, shares: [{ below, version: 0 }, { below: total, version: 1 }] } });
    await serve(shares(total));
    reloads = proxy.status().reloads;
    expect(await calls(20)).toEqual([A]);
    await serve(shares(0));
    expect(await calls(20)).toEqual([B]);
    await serve(shares(Math.round(total / 2)));
    expect(await calls(60)).toEqual([A, B]);
    expect(proxy.status().reloads).toBe(reloads);
    await serve({ ...shares(0), timeout: { connectMs: 300, requestMs: 60_000 } });
    expect(await calls(20)).toEqual([B]);
    expect(proxy.status().reloads).toBe(reloads + 1);
  });

  const near = (...addresses: readonly string[]) => addresses.map((address) => anEndpoint(address, 8080));
  const far = (...addresses: readonly string[]) => addresses.map((address) => anEndpoint(address, 8080, { tier: 'any' }));
  const served = (active: readonly Endpoint[], backup: readonly Endpoint[] = []): Partial<Route> => ({ versions: [aVersion('a', active, { backup })] });

  it('endpoints come, go, stand by and stand first; the file follows, and a reload finds all as it was', async () => {
    await serve(served(near(A)));
    reloads = proxy.status().reloads;
    expect(await calls(10)).toEqual([A]);
    await serve(served(near(A, B)));
    expect(await calls(20)).toEqual([A, B]);
    await serve(served(near(B), far(A)));
    expect(await calls(20)).toEqual([B]);
    await serve(served([]));
    expect(await calls(2)).toEqual(['no-endpoints']);
    await serve(served(near(A), far(B)));
    expect(await calls(20)).toEqual([A]);
    expect(proxy.status().reloads).toBe(reloads);
    const file = join(runDir, 'haproxy.cfg');
    await vi.waitFor(async () => expect(await readFile(file, 'utf8')).toMatch(/ {2}server 127\.88\.96\.11:8080 .*# node\n {2}server 127\.88\.96\.12:8080 .*# any/), { timeout: 10_000 });
    expect(await readFile(join(runDir, 'maps/first.map'), 'utf8')).toBe(`shop.cart.a ${A}:8080\n`);
    await serve({ ...served(near(A), far(B)), timeout: { connectMs: 300, requestMs: 60_000 } });
    expect(proxy.status().reloads).toBe(reloads + 1);
    expect(await calls(20)).toEqual([A]);
  });

  it('a call in flight keeps its server until it has ended; then the server is deleted', async () => {
    await serve(served(near(A, B)));
    reloads = proxy.status().reloads;
    const slow = [call({}, '/slow'), call({}, '/slow'), call({}, '/slow'), call({}, '/slow')];
    await vi.waitFor(() => expect(held.length).toBe(4), { timeout: 10_000 });
    await serve(served(near(B)));
    expect(await calls(10)).toEqual([B]);
    for (const finish of held.splice(0)) finish();
    expect(new Set(await Promise.all(slow))).toEqual(new Set([A, B]));
    await vi.waitFor(async () => expect((await states()).toSorted()).toEqual([`${B}:8080.plain`]), { timeout: 15_000 });
    expect(proxy.status().reloads).toBe(reloads);
  });

  it('an agent that comes later finds servers that changed at run time, and changes nothing', async () => {
    await serve(served(near(A)));
    await serve(served(near(B), far(A)));
    await proxy.close({ drainMs: 0, leaveRunning: true });
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5 });
    await serve(served(near(B), far(A)));
    expect(proxy.status()).toMatchObject({ reloads: 0, restarts: 0 });
    expect(await calls(20)).toEqual([B]);
    await serve(served(near(A)));
    expect(proxy.status()).toMatchObject({ reloads: 0, restarts: 0 });
    expect(await calls(20)).toEqual([A]);
  });

  it('an agent that comes later goes by what the worker has, not by a file that is behind', async () => {
    await serve(served(near(A)));
    const file = join(runDir, 'haproxy.cfg');
    await vi.waitFor(async () => expect(await readFile(file, 'utf8')).toMatch(/server 127\.88\.96\.11:8080\.plain/), { timeout: 10_000 });
    const behind = await readFile(file, 'utf8');
    await serve(served(near(B), far(A)));
    await proxy.close({ drainMs: 0, leaveRunning: true });
    await writeFile(file, behind);
    await writeFile(join(runDir, 'maps/first.map'), '');
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5 });
    await serve(served(near(A)));
    expect(proxy.status()).toMatchObject({ reloads: 0, restarts: 0 });
    expect(await calls(20)).toEqual([A]);
    expect(await states()).toEqual([`${A}:8080.plain`]);
  });

  it('a configuration that is refused, nobody knows why, keeps no pod from coming and going', async () => {
    // A HAProxy that cannot check two certain routes together: no message, and no single route, is to blame.
    const picky = join(runDir, 'picky');
    await writeFile(picky, `#!/bin/sh
if [ "$1" = -c ] && grep -q 'frontend shop.cart from' "$3/haproxy.cfg" && grep -q 'frontend shop.late from' "$3/haproxy.cfg"; then
  echo '[ALERT] (1) : no' >&2
  exit 1
fi
exec haproxy "$@"
`, { mode: 0o755 });
    await serve(served(near(A)));
    await proxy.close({ drainMs: 200, leaveRunning: false });
    proxy = await openHaproxy({ binary: picky, runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5 });
    await serve(served(near(A)));
    const late = aRoute('late', { vip: '127.72.96.2', listen: 8080, versions: [version('b', B)] });
    const both = (...active: readonly Endpoint[]) => proxy.apply(aTable([route(served(active)), late], [aCaller(CALLER)]));
    expect(await both(...near(A))).toMatchObject([{ code: 'config-rejected', object: { kind: 'Node' } }]);
    expect(await calls(5)).toEqual([A]);
    expect(await both(...near(B))).toMatchObject([{ code: 'config-rejected', object: { kind: 'Node' } }]);
    expect(await calls(5)).toEqual([B]);
    await serve(served(near(A, B)));
    expect(await calls(20)).toEqual([A, B]);
    expect(proxy.status()).toMatchObject({ reloads: 0, restarts: 0 });
  });

  it('what somebody else changed in the running process is found, mended and counted', async () => {
    await serve({ ...served(near(A), far(B)), access: { namespace: 'shop', defaultAllow: true, exceptions: ['127.88.96.77'], accounts: [], hasEntries: true } });
    reloads = proxy.status().reloads;
    await proxy.repair();
    const { repaired } = proxy.status();
    const socket = join(runDir, 'haproxy.sock');
    for (const command of [`set server shop.cart.a/${A}:8080 state maint`, 'del map maps/first.map shop.cart.a', 'clear map maps/callers.map', `add map maps/shop.cart.denied.map ${CALLER} x`]) expect((await askCli(socket, command)).trim()).toBe('');
    await proxy.repair();
    expect(proxy.status()).toMatchObject({ reloads, repaired: repaired + 3 });
    expect(await calls(20)).toEqual([A]);
    await proxy.repair();
    expect(proxy.status().repaired).toBe(repaired + 3);
  });

  it('a HAProxy that is killed comes back with the servers that it had', async () => {
    await serve(served(near(A)));
    await serve(served(near(B), far(A)));
    const { restarts, workerPid } = proxy.status();
    process.kill(workerPid ?? Number.NaN, 'SIGKILL');
    await vi.waitFor(() => expect(proxy.status().restarts).toBe(restarts + 1), { timeout: 20_000 });
    await vi.waitFor(async () => expect(await calls(5)).toEqual([B]), { timeout: 20_000 });
  });

  it('regular expressions change at once', async () => {
    const matches = (a: string, b: string): Partial<Route> => ({ rule: { type: 'Header', header: 'x-version' }, choice: { kind: 'header', header: 'x-version' }, versions: [version('a', A, a), version('b', B, b)] });
    await serve(matches('^one$', '^two$'));
    reloads = proxy.status().reloads;
    expect([await call({ 'x-version': 'one' }), await call({ 'x-version': 'two' }), await call({ 'x-version': 'three' })]).toEqual([A, B, 'no-version']);
    await serve(matches('^t', '^two$'));
    expect([await call({ 'x-version': 'one' }), await call({ 'x-version': 'two' }), await call({ 'x-version': 'three' })]).toEqual(['no-version', A, A]);
    await serve(matches('^two#"\\\\x', '^two'));
    expect([await call({ 'x-version': 'two' }), await call({ 'x-version': 'two#"\\x' })]).toEqual([B, A]);
    expect(proxy.status().reloads).toBe(reloads);
  });
});
