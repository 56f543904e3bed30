import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { FinishedCall } from '../../src/haproxy/parse-log-line.ts';
import type { Route } from '../../src/model/route-table.ts';
import { AT_ONCE, call as callNow } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';
import { speak as speakNow, until } from '../support/wire.ts';

const SERVERS = '127.88.50.100';
const POD = '127.88.50.1';
const STRANGER = '127.88.51.1';
const FOREIGN = '127.88.50.2';
const ERRORS = '127.72.50.1';
const BREAKER = '127.72.50.2';
const SAMPLED = '127.72.50.3';
const TCP = '127.72.50.4';
const PLAIN = '127.72.50.5';
const BOTH = '127.72.50.6';
const DEAD = '127.72.50.7';
const DEAD_TCP = '127.72.50.8';
const EMPTY = '127.72.50.9';

/** Calls begin in milliseconds of their own: of two in one, on HAProxy's two threads, the second may be told of first. */
const inTurn =
  <Args extends readonly unknown[], Answer>(send: (...args: Args) => Promise<Answer>) =>
  async (...args: Args): Promise<Answer> => {
    await sleep(2);
    return send(...args);
  };
const call = inTurn(callNow);
const speak = inTurn(speakNow);

const breaker = { threshold: 1000, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 0 };
const errors = { mode: 'Errors', percent: 0 } as const;

describe('HAProxy tells of finished calls', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  const told: FinishedCall[] = [];
  const servers: (http.Server | net.Server)[] = [];
  const pods = [aCaller(POD, { pod: 'shop/web-1', serviceAccount: 'web' }), aCaller(FOREIGN, { namespace: 'other' })];
  const up = aVersion('v1', [anEndpoint(SERVERS, 9101, { pod: 'shop/v1-1' })]);
  const dead = aVersion('v1', [anEndpoint(SERVERS, 9)]);
  const tcp = (name: string, vip: string, version: Route['versions'][number]): Route => aRoute(name, { vip, listen: 8080, protocol: 'tcp', versions: [version], log: errors });
  const routes: readonly Route[] = [
    aRoute('errors', { vip: ERRORS, listen: 8080, versions: [up], log: errors, timeout: { connectMs: 250, requestMs: 300 } }),
    aRoute('breaker', { vip: BREAKER, listen: 8080, versions: [{ ...up, breaker }] }),
    aRoute('sampled', { vip: SAMPLED, listen: 8080, versions: [up], log: { mode: 'Sampled', percent: 100 } }),
    aRoute('both', { vip: BOTH, listen: 8080, versions: [{ ...up, breaker }], log: { mode: 'Sampled', percent: 50 } }),
    aRoute('plain', { vip: PLAIN, listen: 8080, versions: [up] }),
    aRoute('dead', { vip: DEAD, listen: 8080, versions: [dead], log: errors }),
    aRoute('empty', { vip: EMPTY, listen: 8080, versions: [aVersion('v1', [])], log: errors }),
    tcp('tcp', TCP, aVersion('v1', [anEndpoint(SERVERS, 9102)])),
    tcp('dead-tcp', DEAD_TCP, dead),
  ];
  /** What was told of a route since the last time; in the order in which the calls began. */
  const taken = async (route: string, count: number): Promise<readonly FinishedCall[]> => {
    const of = (): FinishedCall[] => told.filter(({ record }) => record.route === route && record.path !== '/probe').sort((a, b) => a.record.atMs - b.record.atMs);
    await until(() => of().length >= count, () => `${count} lines of ${route}, seen ${JSON.stringify(of())}`);
    const found = of();
    told.length = 0;
    return found;
  };

  beforeAll(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'onehop-calls-'));
    const web = http.createServer((request, response) => {
      const path = request.url ?? '/';
      if (path.startsWith('/never')) return;
      if (path.startsWith('/abort')) {
        response.writeHead(200, { 'content-length': 100 }).write('half');
        setTimeout(() => request.socket.destroy(), 20);
        return;
      }
      response.statusCode = path.startsWith('/500') ? 500 : path.startsWith('/404') ? 404 : 200;
      response.setHeader('x-onehop-reason', 'acl-denied');
      response.end('ok');
    });
    const raw = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (data) => (data.toString() === 'reset' ? socket.resetAndDestroy() : socket.end('bye')));
    });
    servers.push(web, raw);
    await new Promise<void>((resolve) => web.listen(9101, SERVERS, resolve));
    await new Promise<void>((resolve) => raw.listen(9102, SERVERS, resolve));
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5, threads: 2, events: { onCall: (call) => told.push(call) } });
    const problems = await proxy.apply(aTable(routes, pods));
    if (problems.length > 0) throw new Error(JSON.stringify(problems));
    // The feed is open once a call's line comes.
    await until(async () => {
      await call(POD, SAMPLED, { path: '/probe' });
      return told.length > 0;
    });
    told.length = 0;
  });
  afterAll(async () => {
    await proxy.close({ drainMs: 200, leaveRunning: false });
    for (const server of servers) server.close();
    for (const server of servers) if (server instanceof http.Server) server.closeAllConnections();
    await rm(runDir, { recursive: true, force: true });
  });

  it('errors only: of each kind who called, who served and why it failed; nothing of good calls', async () => {
    for (const path of ['/', '/404', '/500?secret=1', '/never']) await call(POD, ERRORS, { path });
    await call(POD, ERRORS, { path: '/abort' }).catch(() => undefined);
    await call(FOREIGN, ERRORS, { path: '/foreign' });
    const lines = await taken('errors', 4);
    expect(lines).toMatchObject([
      { failure: 'server-error', logged: true, version: { namespace: 'shop', route: 'errors', version: 0 }, record: { method: 'GET', path: '/500', status: 500, version: 'v1', tier: 'node', protocol: 'http', caller: { address: POD, namespace: 'shop', pod: 'shop/web-1', serviceAccount: 'web' }, server: { address: SERVERS, port: 9101, pod: 'shop/v1-1' } } },
      { failure: 'timeout', record: { path: '/never', status: 504, reason: 'upstream-timeout' } },
      { failure: 'aborted', record: { path: '/abort', status: 200, aborted: 'server' } },
      { record: { path: '/foreign', status: 403, reason: 'namespace-isolated', caller: { address: FOREIGN, namespace: 'other' } } },
    ]);
    expect(lines[0]?.record.reason).toBeUndefined();
    expect(lines[3]).not.toHaveProperty('failure');
    expect(lines[3]).not.toHaveProperty('version');
    expect(Math.abs((lines[0]?.record.atMs ?? 0) - Date.now())).toBeLessThan(30_000);
    expect(lines[1]?.record.totalMs).toBeGreaterThanOrEqual(300);
  });

  it('tells an unknown caller, a dead server and no server apart', async () => {
    expect(await call(STRANGER, ERRORS)).toMatchObject({ status: 403 });
    expect(await taken('errors', 1)).toMatchObject([{ record: { reason: 'caller-unknown', status: 403, caller: { address: STRANGER } } }]);
    await call(POD, DEAD);
    expect(await taken('dead', 1)).toMatchObject([{ failure: 'connect-failed', record: { reason: 'connect-failed', status: 502 } }]);
    await call(POD, EMPTY);
    const [none] = await taken('empty', 1);
    expect(none).toMatchObject({ record: { reason: 'no-endpoints', status: 503 } });
    expect(none?.failure).toBeUndefined();
  });

  it('a breaker alone: failures without method and path, no refusals of callers', async () => {
    for (const path of ['/', '/404', '/500']) await call(POD, BREAKER, { path });
    await call(POD, BREAKER, { path: '/abort' }).catch(() => undefined);
    const lines = await taken('breaker', 2);
    expect(lines).toMatchObject([{ failure: 'server-error', logged: false }, { failure: 'aborted', logged: false }]);
    expect(lines[0]?.record).not.toHaveProperty('path');
  });

  it('sampled: all of them at 100 percent; a part of the good ones and every failure where a breaker needs those', async () => {
    for (let i = 0; i < 20; i++) await call(POD, SAMPLED, { path: `/${i}` });
    expect((await taken('sampled', 20)).map(({ record, logged }) => `${record.path} ${record.status} ${logged}`)).toEqual(Array.from({ length: 20 }, (_, i) => `/${i} 200 true`));
    for (let i = 0; i < 60; i++) await call(POD, BOTH, { path: '/' });
    for (let i = 0; i < 20; i++) await call(POD, BOTH, { path: '/500' });
    await until(() => told.filter(({ failure }) => failure === 'server-error').length === 20);
    const lines = await taken('both', 20);
    const good = lines.filter(({ failure }) => failure === undefined);
    // 60 draws of one half: outside of 8..52 once in 10^8.
    expect(good.length).toBeGreaterThan(8);
    expect(good.length).toBeLessThan(52);
    expect(good.every(({ logged }) => logged)).toBe(true);
    const drawn = lines.filter(({ failure, logged }) => failure !== undefined && logged).length;
    expect(drawn).toBeGreaterThan(0);
    expect(drawn).toBeLessThan(20);
  });

  it('tcp: refusals, failed connects and server aborts; nothing of connections that ended well', async () => {
    expect(await speak(TCP, 8080, 'hello', POD)).toBe('bye');
    await speak(TCP, 8080, 'reset', POD);
    await speak(TCP, 8080, 'hello', FOREIGN);
    expect(await taken('tcp', 2)).toMatchObject([
      { failure: 'aborted', version: { version: 0 }, record: { protocol: 'tcp', aborted: 'server', caller: { address: POD }, server: { port: 9102 } } },
      { record: { reason: 'namespace-isolated', caller: { address: FOREIGN } } },
    ]);
    await speak(DEAD_TCP, 8080, 'hello', POD);
    expect(await taken('dead-tcp', 1)).toMatchObject([{ failure: 'connect-failed', record: { reason: 'connect-failed' } }]);
  });

  it('nothing from the wire breaks a line, whatever a path or method holds', async () => {
    const paths = [String.raw`/"quoted"\back][{}|`, '/%0d%0aHTTP%20', '/%00', "/it's;$(x)`y`", `/${'x'.repeat(5000)}`];
    for (const path of paths) expect(await speak(SAMPLED, 8080, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`, POD)).toContain('200 OK');
    // Refused by HAProxy itself: no blank, no NUL, no fragment, nothing above 7 bits in a request line, none above 16 kB.
    const refused = ['/a b', '/a\0b', '/\u00ff\u00fe', '/a#b', `/${'x'.repeat(64 * 1024)}`];
    for (const path of refused) expect(await speak(SAMPLED, 8080, Buffer.from(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`, 'latin1'), POD)).not.toContain('200 OK');
    await speak(SAMPLED, 8080, `${'M'.repeat(3000)} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`, POD);
    const lines = await taken('sampled', paths.length + refused.length + 1);
    expect(lines).toHaveLength(paths.length + refused.length + 1);
    expect(lines.slice(0, 4).map(({ record }) => record.path)).toEqual([String.raw`/#22quoted#22\back][{}|`, '/%0d%0aHTTP%20', '/%00', "/it's;$(x)`y`"]);
    expect(lines[4]?.record.path).toHaveLength(256);
    expect(lines.slice(5, 10).map(({ record }) => record.path)).toEqual(refused.map(() => undefined));
    expect(lines.slice(5, 9).map(({ record }) => record.status)).toEqual([400, 400, 400, 400]);
    // 3.2 says what is too long: the path.
    expect([400, 414]).toContain(lines[9]?.record.status);
    expect((lines[10]?.record.method ?? '').length).toBeLessThanOrEqual(20);
    expect(proxy.lostLines()).toBe(0);
  });

  it('goes on over a reload, and lets the old worker end', async () => {
    const { reloads } = proxy.status();
    expect(await proxy.apply(aTable([...routes, aRoute('more', { vip: '127.72.50.10', listen: 8080, versions: [up] })], pods))).toEqual([]);
    expect(proxy.status().reloads).toBe(reloads + 1);
    await until(async () => {
      await call(POD, SAMPLED, { path: '/after' });
      return told.some(({ record }) => record.path === '/after');
    });
    await until(async () => {
      await proxy.apply(aTable([...routes, aRoute('more', { vip: '127.72.50.10', listen: 8080, versions: [up] })], pods));
      return proxy.status().oldWorkers === 0;
    });
    told.length = 0;
    await call(POD, PLAIN, { path: '/500' });
    await call(POD, ERRORS, { path: '/500/last' });
    await taken('errors', 1);
  });

  it('stops asking when no route needs it, and begins again', async () => {
    const plain = routes.filter(({ name }) => name === 'plain');
    expect(await proxy.apply(aTable(plain, pods))).toEqual([]);
    await call(POD, PLAIN, { path: '/500' });
    expect(await proxy.apply(aTable(routes, pods))).toEqual([]);
    told.length = 0;
    await until(async () => {
      await call(POD, SAMPLED, { path: '/again' });
      return told.length > 0;
    });
    expect(told.every(({ record }) => record.path === '/again')).toBe(true);
  });
});
