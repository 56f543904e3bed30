import { mkdtemp, rm } from 'node:fs/promises';
import type http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { Route } from '../../src/model/route-table.ts';
import { AT_ONCE, call, closeServer, nameOf, openServer, SERVERS } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

const VIP = '127.72.1.1';
const GLOBAL_VIP = '127.72.2.1';
const SHOP_POD = '127.88.72.1';
const OTHER_POD = '127.88.72.2';
const TRUSTED_POD = '127.88.72.3';
const STRANGER = '127.88.72.9';

describe('a real HAProxy', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  const servers: http.Server[] = [];
  const a = aVersion('cart-a', [anEndpoint(SERVERS, 9101)]);
  const pods = [aCaller(SHOP_POD), aCaller(OTHER_POD, { namespace: 'other' }), aCaller(TRUSTED_POD, { namespace: 'ingress', trusted: true })];

  const serve = async (routes: readonly Route[], callers = pods): Promise<readonly string[]> =>
    (await proxy.apply(aTable(routes, callers))).map((problem) => `${problem.object.name}: ${problem.code}`);

  beforeAll(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'onehop-haproxy-'));
    servers.push(await openServer('a', 9101), await openServer('b', 9102));
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5 });
  });
  afterAll(async () => {
    if (proxy.status().restarts > 0) throw new Error('HAProxy was restarted');
  await proxy.close({ drainMs: 200, leaveRunning: false });
    for (const server of servers) await closeServer(server);
    await rm(runDir, { recursive: true, force: true });
  });

  it('runs without any route', async () => {
    expect(await serve([])).toEqual([]);
    expect(proxy.status()).toMatchObject({ restarts: 0, reloads: 0 });
    expect(proxy.status().pid).toBeGreaterThan(0);
  });

  it('forwards a call of the own namespace, host callers and trusted ones; refuses others with the reason', async () => {
    expect(await serve([aRoute('cart', { vip: VIP, listen: 8080, versions: [a] })])).toEqual([]);
    expect(nameOf(await call(SHOP_POD, VIP))).toBe('a');
    expect(nameOf(await call('127.0.0.1', VIP))).toBe('a');
    expect(nameOf(await call(TRUSTED_POD, VIP))).toBe('a');
    expect(await call(OTHER_POD, VIP)).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    const begun = Date.now();
    expect(await call(STRANGER, VIP)).toMatchObject({ status: 403, reason: 'caller-unknown' });
    expect(Date.now() - begun).toBeGreaterThan(1800);
    expect(proxy.listeners()).toEqual(new Set([`${VIP}:8080`]));
  });

  it('lets every known caller use the global address', async () => {
    await serve([aRoute('cart', { vip: VIP, globalVip: GLOBAL_VIP, listen: 8080, versions: [a] })]);
    expect(nameOf(await call(OTHER_POD, GLOBAL_VIP))).toBe('a');
    expect(await call(OTHER_POD, VIP)).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    expect(await call(STRANGER, GLOBAL_VIP)).toMatchObject({ status: 403, reason: 'caller-unknown' });
  });

  it('serves a caller that becomes known while it is held, without a reload', async () => {
    const routes = [aRoute('cart', { vip: VIP, listen: 8080, versions: [a] })];
    await serve(routes);
    const { reloads } = proxy.status();
    const held = call(STRANGER, VIP);
    await sleep(400);
    await serve(routes, [...pods, aCaller(STRANGER)]);
    expect(await held).toMatchObject({ status: 200 });
    expect(proxy.status().reloads).toBe(reloads);
  });

  it('applies the ACL by address, changed without a reload', async () => {
    const route = (defaultAllow: boolean, exceptions: readonly string[]): Route =>
      aRoute('cart', { vip: VIP, listen: 8080, versions: [a], access: { namespace: 'shop', defaultAllow, exceptions, accounts: [], hasEntries: true } });
    await serve([route(false, [SHOP_POD])]);
    expect((await call(SHOP_POD, VIP)).status).toBe(200);
    expect(await call('127.0.0.1', VIP)).toMatchObject({ status: 403, reason: 'acl-denied' });
    await serve([route(true, [TRUSTED_POD])]);
    const { reloads } = proxy.status();
    expect(await call(TRUSTED_POD, VIP)).toMatchObject({ status: 403, reason: 'acl-denied' });
    await serve([route(true, [])]);
    expect((await call(TRUSTED_POD, VIP)).status).toBe(200);
    expect(proxy.status().reloads).toBe(reloads);
  });

  it('removes x-onehop headers both ways and sets x-forwarded-for to the caller', async () => {
    await serve([aRoute('cart', { vip: VIP, listen: 8080, versions: [a] })]);
    const answer = await call(SHOP_POD, VIP, { path: '/a%20b?x=1', headers: { 'x-onehop-caller': 'root', 'X-Forwarded-For': '1.2.3.4', host: 'cart.shop' } });
    expect(answer.headers).not.toHaveProperty('x-onehop-reason');
    expect(answer.headers).not.toHaveProperty('x-onehop-other');
    const { headers, url } = JSON.parse(answer.body) as { headers: Record<string, string>; url: string };
    expect(headers).toMatchObject({ 'x-forwarded-for': SHOP_POD, host: 'cart.shop' });
    expect(Object.keys(headers).filter((name) => name.startsWith('x-onehop-'))).toEqual([]);
    expect(url).toBe('/a%20b?x=1');
  });
});
