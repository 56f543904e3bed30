import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { Route } from '../../src/model/route-table.ts';
import { AT_ONCE, call } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';
import { speak } from '../support/wire.ts';

const SERVERS = '127.88.52.100';
const POD = '127.88.52.1';
const OTHER_POD = '127.88.52.2';
const FOREIGN = '127.88.52.3';
const DENIED = '127.88.52.4';

describe('the rate limit of a route, on two threads', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  let answered = 0;
  const servers: (http.Server | net.Server)[] = [];
  const pods = [aCaller(POD), aCaller(OTHER_POD), aCaller(FOREIGN, { namespace: 'other' }), aCaller(DENIED)];
  const web = aVersion('v1', [anEndpoint(SERVERS, 9101)]);
  const raw = aVersion('v1', [anEndpoint(SERVERS, 9102)]);
  let last = 0;
  /** A route of its own for each test: a bucket that nobody has used. */
  const serve = async (rateLimit: NonNullable<Route['rateLimit']>, more: Partial<Route> = {}): Promise<string> => {
    last++;
    const vip = `127.72.52.${last}`;
    const problems = await proxy.apply(aTable([aRoute(`limited-${last}`, { vip, listen: 8080, versions: [more.protocol === 'tcp' ? raw : web], rateLimit, ...more })], pods));
    expect(problems).toEqual([]);
    return vip;
  };
  const many = async (from: string, to: string, count: number): Promise<{ readonly passed: number; readonly refused: number }> => {
    const answers = await Promise.all(Array.from({ length: count }, () => call(from, to)));
    for (const answer of answers.filter(({ status }) => status !== 200)) expect(answer).toMatchObject({ status: 429, reason: 'rate-limited', headers: { 'retry-after': '1' } });
    const passed = answers.filter(({ status }) => status === 200).length;
    return { passed, refused: count - passed };
  };

  beforeAll(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'onehop-rate-'));
    const server = http.createServer((_request, response) => {
      answered++;
      response.end('ok');
    });
    const echo = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end('bye'));
    });
    servers.push(server, echo);
    await new Promise<void>((resolve) => server.listen(9101, SERVERS, resolve));
    await new Promise<void>((resolve) => echo.listen(9102, SERVERS, resolve));
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5, threads: 2 });
  });
  afterAll(async () => {
    await proxy.close({ drainMs: 200, leaveRunning: false });
    for (const server of servers) server.close();
    for (const server of servers) if (server instanceof http.Server) server.closeAllConnections();
    await rm(runDir, { recursive: true, force: true });
  });

  it('lets the burst pass at once and refuses the rest, which no server sees', async () => {
    const vip = await serve({ requestsPerSecond: 1, burst: 20, per: 'Route' });
    const begun = Date.now();
    answered = 0;
    const { passed } = await many(POD, vip, 100);
    const seconds = (Date.now() - begun) / 1000;
    expect(passed).toBeGreaterThanOrEqual(20 - 2);
    expect(passed).toBeLessThanOrEqual(20 + Math.floor(seconds));
    expect(answered).toBe(passed);
    expect((await proxy.calls()).refused).toMatchObject({ 'rate-limited': 100 - passed });
  });

  it('counts every call where two threads meet a new bucket', async () => {
    const vips = Array.from({ length: 80 }, (_, i) => `127.72.53.${i + 1}`);
    const rateLimit = { requestsPerSecond: 1, burst: 4, per: 'Route' } as const;
    expect(await proxy.apply(aTable(vips.map((vip, i) => aRoute(`new-${i}`, { vip, listen: 8080, versions: [web], rateLimit })), pods))).toEqual([]);
    const over: unknown[] = [];
    for (const vip of vips) {
      const begun = Date.now();
      const { passed } = await many(POD, vip, 20);
      const ms = Date.now() - begun;
      if (passed > rateLimit.burst + Math.ceil(ms / 1000) - 1) over.push({ vip, passed, ms });
    }
    expect(over).toEqual([]);
  });

  it('gives what the rate says afterwards, and no more than the burst after a rest', async () => {
    const vip = await serve({ requestsPerSecond: 20, burst: 5, per: 'Caller' });
    for (let round = 0; round < 2; round++) {
      const begun = Date.now();
      const { passed } = await many(POD, vip, 40);
      const seconds = (Date.now() - begun) / 1000;
      expect(passed).toBeGreaterThanOrEqual(4);
      expect(passed).toBeLessThanOrEqual(5 + Math.floor(20 * (seconds + 0.05)));
      await sleep(1500);
    }
    const begun = Date.now();
    let passed = 0;
    while (Date.now() - begun < 3000) if ((await call(POD, vip)).status === 200) passed++;
    const seconds = (Date.now() - begun) / 1000;
    expect(passed).toBeLessThanOrEqual(5 + 20 * (seconds + 0.05));
    // Each call is tried again at once, so almost nothing of the rate is left unused.
    expect(passed).toBeGreaterThan(20 * 3 * 0.6);
  });

  it('gives each caller a bucket of its own with per: Caller, and all of them one with per: Route', async () => {
    const own = await serve({ requestsPerSecond: 1, burst: 3, per: 'Caller' });
    const [a, b, host] = [await many(POD, own, 10), await many(OTHER_POD, own, 10), await many('127.0.0.1', own, 10)];
    for (const { passed } of [a, b, host]) {
      expect(passed).toBeGreaterThanOrEqual(3);
      expect(passed).toBeLessThanOrEqual(6);
    }
    const shared = await serve({ requestsPerSecond: 1, burst: 3, per: 'Route' });
    expect((await many(POD, shared, 10)).passed).toBeGreaterThanOrEqual(3);
    expect((await many(OTHER_POD, shared, 10)).passed).toBeLessThanOrEqual(3);
  });

  it('counts no call that was refused before, and comes before the choice of a version', async () => {
    const access = { namespace: 'shop', defaultAllow: true, exceptions: [DENIED], accounts: [], hasEntries: true };
    const vip = await serve({ requestsPerSecond: 1, burst: 5, per: 'Route' }, { access, choice: { kind: 'none' } });
    for (let i = 0; i < 20; i++) {
      expect(await call(FOREIGN, vip)).toMatchObject({ status: 403, reason: 'namespace-isolated' });
      expect(await call(DENIED, vip)).toMatchObject({ status: 403, reason: 'acl-denied' });
    }
    const reasons = (await Promise.all(Array.from({ length: 30 }, () => call(POD, vip)))).map(({ reason }) => reason);
    const chosen = reasons.filter((reason) => reason === 'no-version').length;
    expect(chosen).toBeGreaterThanOrEqual(5 - 2);
    expect(chosen).toBeLessThanOrEqual(8);
    expect(reasons.filter((reason) => reason === 'rate-limited')).toHaveLength(30 - chosen);
  });

  it('bounds a flood over both threads to burst + rate * time', async () => {
    const vip = await serve({ requestsPerSecond: 500, burst: 50, per: 'Route' });
    answered = 0;
    const begun = Date.now();
    const flood = async (from: string): Promise<void> => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1, localAddress: from });
      while (Date.now() - begun < 3000) {
        await new Promise<void>((resolve, reject) => {
          http.get({ host: vip, port: 8080, agent }, (response) => response.resume().on('end', resolve)).on('error', reject);
        });
      }
      agent.destroy();
    };
    await Promise.all([POD, OTHER_POD, POD, OTHER_POD, POD, OTHER_POD, POD, OTHER_POD].map(flood));
    const seconds = (Date.now() - begun) / 1000;
    expect(answered).toBeLessThanOrEqual(50 + 500 * (seconds + 0.05));
    expect(answered).toBeGreaterThan(50 + 500 * 3 * 0.3);
  });

  it('one call per second and a burst of one: the smallest bucket; a million: the largest', async () => {
    const small = await serve({ requestsPerSecond: 1, burst: 1, per: 'Caller' });
    expect((await call(POD, small)).status).toBe(200);
    await sleep(2100);
    expect((await call(POD, small)).status).toBe(200);
    const large = await serve({ requestsPerSecond: 1_000_000, burst: 1_000_000, per: 'Caller' });
    expect((await many(POD, large, 50)).refused).toBe(0);
  });

  it('tcp: closes the connections above it', async () => {
    const vip = await serve({ requestsPerSecond: 1, burst: 4, per: 'Caller' }, { protocol: 'tcp', log: { mode: 'Errors', percent: 0 } });
    const heard = await Promise.all(Array.from({ length: 20 }, () => speak(vip, 8080, 'hello', POD)));
    const passed = heard.filter((text) => text === 'bye').length;
    expect(passed).toBeGreaterThanOrEqual(4 - 1);
    expect(passed).toBeLessThanOrEqual(7);
    expect(heard.filter((text) => text === '')).toHaveLength(20 - passed);
    expect(await speak(vip, 8080, 'hello', FOREIGN)).toBe('');
  });
});
