import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { openEmbeddedProxy } from '../../src/embedded/io/open-embedded-proxy.ts';
import type { EmbeddedProxy, EmbeddedProxyOptions } from '../../src/embedded/io/open-embedded-proxy.ts';
import type { CallRecord } from '../../src/model/call-record.ts';
import type { BreakerSpec } from '../../src/model/service-route.ts';
import type { Endpoint, Route } from '../../src/model/route-table.ts';
import { POD_A, POD_B, call, deadEndpoint, route, startHttp, startTcp, table, version } from '../support/embedded-world.ts';
import type { Answer, Running } from '../support/embedded-world.ts';

vi.setConfig({ testTimeout: 60_000 });

const VIP = '127.73.60.1';
const GLOBAL = '127.73.60.2';
const HOST = '127.88.60.1';
const running: Running[] = [];
const proxies: EmbeddedProxy[] = [];

async function serving(routes: readonly Route[], options: EmbeddedProxyOptions = {}): Promise<EmbeddedProxy> {
  const proxy = await openEmbeddedProxy(options);
  proxies.push(proxy);
  expect(await proxy.apply(table(routes))).toEqual([]);
  return proxy;
}
const started = async <T extends Running>(server: Promise<T>): Promise<T> => {
  const up = await server;
  running.push(up);
  return up;
};
/** A server that answers with the status that the path names, and counts its calls. */
async function counting(): Promise<Running & { readonly seen: () => number }> {
  let seen = 0;
  const server = await started(
    startHttp((request, response) => {
      seen++;
      response.writeHead(Number(/\d{3}/.exec(request.url ?? '')?.[0] ?? 200)).end('done');
    }, HOST),
  );
  return { ...server, seen: () => seen };
}
const breaker = (more: Partial<BreakerSpec> = {}): BreakerSpec => ({ threshold: 3, windowSeconds: 600, breakTimeSeconds: 600, connLimit: 0, ...more });
/** Without second tries, and with timeouts that a loaded machine does not meet: each call is one, and only what a test means to fail fails. */
const guarded = (server: Endpoint, spec: BreakerSpec, more: Partial<Route> = {}): Route =>
  route('svc', VIP, [version('v1', [server], { breaker: spec })], { timeout: { connectMs: 30_000, requestMs: 60_000 }, retries: { attempts: 0, on: [], nonIdempotent: false }, ...more });
const times = async <T>(count: number, one: () => Promise<T>): Promise<T[]> => {
  const results: T[] = [];
  for (let i = 0; i < count; i++) results.push(await one());
  return results;
};
const outcome = ({ status, reason }: Answer): string => (reason === undefined ? String(status) : `${status} ${reason}`);
const outcomeOf = (path = '/', vip = VIP): Promise<string> => call(vip, { path }).then(outcome, () => 'cut');

afterEach(async () => {
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close({ drainMs: 0, leaveRunning: false })));
  await Promise.all(running.splice(0).map((server) => server.close()));
});

describe('the breaker of 3 errors', () => {
  it('opens on exactly the third answer of 500 and above; nothing reaches the server after it', async () => {
    const server = await counting();
    const proxy = await serving([guarded(server.at, breaker())]);
    const paths = ['/500', '/200', '/503', '/404', '/599', '/200', '/500'];
    const outcomes: string[] = [];
    for (const path of paths) outcomes.push(await outcomeOf(path));
    expect(outcomes).toEqual(['500', '200', '503', '404', '599', '503 breaker-open', '503 breaker-open']);
    expect(server.seen()).toBe(5);
    expect(await proxy.breakers()).toMatchObject([{ namespace: 'b', route: 'svc', version: 0, mode: 'auto', open: true, errors: 0, openUntilMs: expect.toSatisfy((at: number) => at > Date.now() && at <= Date.now() + 600_000) }]);
    expect(proxy.status().refused['breaker-open']).toBe(2);
  });

  it.each<[string, (socket: net.Socket) => void, Partial<Route>, string]>([
    ['closes without an answer', (socket) => socket.destroy(), {}, '502 upstream-reset'],
    ['does not answer in time', () => {}, { timeout: { connectMs: 30_000, requestMs: 100 } }, '504 upstream-timeout'],
    ['closes in mid-body', (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'), {}, 'cut'],
    ['breaks off a chunked answer', (socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n'), {}, 'cut'],
  ])('counts a server that %s', async (_what, behave, more, failure) => {
    let seen = 0;
    const server = await started(startTcp((socket) => socket.once('data', () => (seen++, behave(socket))), HOST));
    await serving([guarded(server.at, breaker(), more)]);
    expect(await times(5, () => outcomeOf())).toEqual([failure, failure, failure, '503 breaker-open', '503 breaker-open']);
    expect(seen).toBe(3);
  });

  it('counts a call that found no server once, however often it was tried', async () => {
    const dead = await deadEndpoint(HOST);
    await serving([guarded(dead, breaker({ threshold: 2 }), { retries: { attempts: 2, on: ['connect-failure'], nonIdempotent: false } })]);
    expect(await times(3, () => outcomeOf())).toEqual(['502 connect-failed', '502 connect-failed', '503 breaker-open']);
  });

  it('does not count clients that leave, nor what a retry mended', async () => {
    const dead = await deadEndpoint(HOST);
    const server = await started(startHttp((request, response) => (request.url === '/slow' ? undefined : response.end('fine')), HOST));
    const proxy = await serving([
      route('svc', VIP, [version('v1', [dead], { backup: [server.at], breaker: breaker({ threshold: 1 }) })]),
    ]);
    const leaving = http.get({ host: VIP, port: 8080, path: '/slow', localAddress: POD_B });
    leaving.on('error', () => {});
    await once(server.server, 'request');
    leaving.destroy();
    expect(await times(3, () => outcomeOf())).toEqual(['200', '200', '200']);
    expect(await proxy.breakers()).toMatchObject([{ open: false, errors: 0 }]);
  });

  it('closes after its break time with an empty window, and opens again', async () => {
    const server = await counting();
    await serving([guarded(server.at, breaker({ breakTimeSeconds: 1 }))]);
    await times(3, () => outcomeOf('/500'));
    expect(await outcomeOf('/500')).toBe('503 breaker-open');
    await vi.waitUntil(async () => (await outcomeOf()) === '200', { timeout: 20_000, interval: 50 });
    const reached = server.seen();
    expect(await times(4, () => outcomeOf('/500'))).toEqual(['500', '500', '500', '503 breaker-open']);
    expect(server.seen()).toBe(reached + 3);
  });

  it('is one for each version, and outlives changes of the table that keep the version', async () => {
    const [bad, good] = [await counting(), await counting()];
    const choice = { kind: 'header' as const, header: 'v' };
    const two = (more: Partial<Route> = {}): Route =>
      route('svc', VIP, [version('v1', [bad.at], { match: '1', breaker: breaker() }), version('v2', [good.at], { match: '2', breaker: breaker() })], { choice, ...more });
    const proxy = await serving([two()]);
    const to = (v: string, path: string): Promise<string> => call(VIP, { path, headers: { v } }).then(outcome);
    await times(3, () => to('1', '/500'));
    expect([await to('1', '/'), await to('2', '/')]).toEqual(['503 breaker-open', '200']);
    await proxy.apply(table([two({ locality: 'Cluster', versions: two().versions.map((one) => ({ ...one, breaker: breaker({ threshold: 5 }) })) })]));
    expect([await to('1', '/'), await to('2', '/')]).toEqual(['503 breaker-open', '200']);
    await proxy.apply(table([{ ...two(), versions: two().versions.slice(1) }]));
    await proxy.apply(table([two()]));
    expect(await to('1', '/')).toBe('200');
  });

  it('is held by hand, also by the worker that follows a lost one', async () => {
    const server = await counting();
    const worker = new Promise<Worker>((resolve) => void process.once('worker', resolve));
    const only = [guarded(server.at, breaker())];
    const proxy = await serving(only);
    const ref = { namespace: 'b', route: 'svc', version: 0 };
    await proxy.setBreaker(ref, 'open');
    expect(await outcomeOf()).toBe('503 breaker-open');
    expect(await proxy.breakers()).toEqual([{ ...ref, mode: 'open', open: true, errors: 0 }]);
    await (await worker).terminate();
    await proxy.apply(table(only));
    expect(await outcomeOf()).toBe('503 breaker-open');
    await proxy.setBreaker(ref, 'close');
    expect(await times(5, () => outcomeOf('/500'))).toEqual(['500', '500', '500', '500', '500']);
    await proxy.setBreaker(ref, 'auto');
    expect(await times(4, () => outcomeOf('/500'))).toEqual(['500', '500', '500', '503 breaker-open']);
  });
});

describe('the connection limit of 10', () => {
  it('lets exactly 10 of 64 parallel calls through and answers the others at once', async () => {
    const held: http.ServerResponse[] = [];
    let most = 0;
    const server = await started(startHttp((_request, response) => (held.push(response), (most = Math.max(most, held.length))), HOST));
    const proxy = await serving([guarded(server.at, breaker({ threshold: 1, connLimit: 10 }))]);
    for (let round = 1; round <= 3; round++) {
      const outcomes: string[] = [];
      const calls = Array.from({ length: 64 }, () => outcomeOf().then((one) => outcomes.push(one)));
      await vi.waitUntil(() => outcomes.length === 54 && held.length === 10, { timeout: 50_000, interval: 10 });
      expect(new Set(outcomes)).toEqual(new Set(['503 conn-limit']));
      for (const response of held.splice(0)) response.end('done');
      await Promise.all(calls);
      expect(outcomes.filter((one) => one === '200')).toHaveLength(10);
      expect(most).toBe(10);
      expect(proxy.status().refused['conn-limit']).toBe(54 * round);
    }
  });

  it('counts a limit of 1 exactly from call to call', async () => {
    const server = await counting();
    await serving([guarded(server.at, breaker({ threshold: 0, connLimit: 1 }))]);
    expect(new Set(await times(100, () => outcomeOf()))).toEqual(new Set(['200']));
  });

  it('counts WebSockets while they are open, and what a client gave up no more', async () => {
    const server = await started(startHttp(() => {}, HOST));
    const sockets = new WebSocketServer({ server: server.server });
    await serving([guarded(server.at, breaker({ connLimit: 1 }))]);
    const client = new WebSocket(`ws://${VIP}:8080/`, { localAddress: POD_B });
    await once(client, 'open');
    expect(await outcomeOf()).toBe('503 conn-limit');
    client.close();
    await once(client, 'close');
    sockets.close();
    const waiting = (): http.ClientRequest => http.get({ host: VIP, port: 8080, localAddress: POD_B }).on('error', () => {});
    const arrives = once(server.server, 'request');
    const left = waiting();
    await arrives;
    expect(await outcomeOf()).toBe('503 conn-limit');
    left.destroy();
    const comes = once(server.server, 'request');
    await vi.waitUntil(
      async () => {
        const next = waiting();
        const refused = await Promise.race([once(next, 'response').then(() => true, () => true), comes.then(() => false)]);
        next.destroy();
        return !refused;
      },
      { timeout: 20_000, interval: 20 },
    );
  });
});

describe('tcp routes', () => {
  /** Connects, says hello, and tells what came until it was closed. */
  async function connect(): Promise<string> {
    const socket = net.connect({ host: VIP, port: 8080, localAddress: POD_B });
    let got = '';
    socket.on('error', () => {});
    socket.on('data', (chunk) => (got += chunk.toString()));
    socket.write('hello');
    await new Promise((resolve) => socket.once('close', resolve));
    return got;
  }

  it('count failed connects and aborts of the server, not ends; refused connections are closed', async () => {
    const servers = [
      await deadEndpoint(HOST),
      (await started(startTcp((socket) => socket.once('data', () => socket.resetAndDestroy()), HOST))).at,
    ];
    for (const at of servers) {
      const proxy = await serving([guarded(at, breaker({ threshold: 2 }), { protocol: 'tcp' })]);
      await times(3, connect);
      expect(proxy.status().refused['breaker-open']).toBe(1);
      await proxy.close({ drainMs: 0, leaveRunning: false });
    }
    const polite = await started(startTcp((socket) => socket.once('data', () => socket.end('bye')), HOST));
    const proxy = await serving([guarded(polite.at, breaker({ threshold: 1 }), { protocol: 'tcp' })]);
    expect(await times(3, connect)).toEqual(['bye', 'bye', 'bye']);
    expect(await proxy.breakers()).toMatchObject([{ open: false, errors: 0 }]);
  });

  it('count connections against the limit while they are open', async () => {
    const server = await started(startTcp((socket) => socket.pipe(socket), HOST));
    const proxy = await serving([guarded(server.at, breaker({ connLimit: 3 }), { protocol: 'tcp' })]);
    const open = await Promise.all(
      [1, 2, 3].map(async () => {
        const socket = net.connect({ host: VIP, port: 8080, localAddress: POD_B });
        socket.write('hello');
        await once(socket, 'data');
        return socket;
      }),
    );
    for (const ended of await times(2, connect)) expect(ended).not.toContain('hello');
    expect(proxy.status().refused['conn-limit']).toBe(2);
    const [first] = open;
    first?.destroy();
    await vi.waitUntil(async () => {
      const socket = net.connect({ host: VIP, port: 8080, localAddress: POD_B });
      socket.on('error', () => {});
      socket.write('hello');
      const echoed = await Promise.race([once(socket, 'data').then(() => true, () => false), once(socket, 'close').then(() => false)]);
      socket.destroy();
      return echoed;
    }, { timeout: 20_000 });
    for (const socket of open) socket.destroy();
  });
});

describe('the rate limit', () => {
  it.each([
    ['Caller', '200'],
    ['Route', '429 rate-limited'],
  ] as const)('of 2 at once, then 1 in a long time, is one per %s', async (per, ofAnother) => {
    const server = await counting();
    const proxy = await serving([guarded(server.at, breaker(), { globalVip: GLOBAL, rateLimit: { requestsPerSecond: 0.001, burst: 2, per } })]);
    const answers = await times(4, () => call(VIP));
    expect(answers.map(outcome)).toEqual(['200', '200', '429 rate-limited', '429 rate-limited']);
    expect(answers[3]?.headers['retry-after']).toMatch(/^(999|1000)$/);
    expect(outcome(await call(GLOBAL, { from: POD_A }))).toBe(ofAnother);
    expect(server.seen()).toBe(per === 'Caller' ? 3 : 2);
    expect(proxy.status().refused['rate-limited']).toBe(per === 'Caller' ? 2 : 3);
  });
});

describe('the access log', () => {
  async function logged(of: (server: Endpoint) => Route, calls: () => Promise<unknown>, wanted: number): Promise<readonly CallRecord[]> {
    const records: CallRecord[] = [];
    const server = await counting();
    await serving([of(server.at)], { onCalls: (batch) => records.push(...batch) });
    await calls();
    await vi.waitUntil(() => records.length >= wanted, { timeout: 20_000 });
    return records;
  }

  it('tells calls that fail', async () => {
    const of = (server: Endpoint): Route => guarded(server, breaker({ threshold: 1 }), { log: { mode: 'Errors', percent: 1 } });
    const records = await logged(of, async () => {
      for (const path of ['/200', '/404', '/500?token=1', '/200']) await outcomeOf(path);
    }, 2);
    expect(records).toMatchObject([
      { namespace: 'b', route: 'svc', caller: { address: POD_B, namespace: 'b', pod: 'pod-b' }, version: 'v1', tier: 'node', server: { address: HOST }, method: 'GET', path: '/500', status: 500, bytesOut: 4 },
      { path: '/200', status: 503, reason: 'breaker-open', bytesOut: 0 },
    ]);
    expect(records[0]).not.toHaveProperty('reason');
    expect(records[1]).not.toHaveProperty('version');
  });

  it('tells a share of all calls', async () => {
    const of = (server: Endpoint): Route => guarded(server, breaker(), { log: { mode: 'Sampled', percent: 50 } });
    const records = await logged(of, () => Promise.all(Array.from({ length: 400 }, () => outcomeOf())), 140);
    // 200 expected, 10 the standard deviation.
    expect(records.length).toBeGreaterThan(140);
    expect(records.length).toBeLessThan(260);
  });
});
