import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { Choice, Route, Version } from '../../src/model/route-table.ts';
import { AT_ONCE, call, closeServer, nameOf, openServer, SERVERS } from '../support/haproxy-world.ts';
import type { Answer } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

const VIP = '127.72.3.1';
const POD = '127.88.72.11';
const DEAD = anEndpoint(SERVERS, 9299);

let runDir: string;
let proxy: HaproxyProxy;
const servers: http.Server[] = [];
const a = aVersion('cart-a', [anEndpoint(SERVERS, 9201)]);
const b = aVersion('cart-b', [anEndpoint(SERVERS, 9202)]);

const serve = async (more: Partial<Route> & { readonly versions: readonly Version[] }): Promise<void> => {
  expect(await proxy.apply(aTable([aRoute('cart', { vip: VIP, listen: 8080, ...more })], [aCaller(POD)]))).toEqual([]);
};
const get = (path = '/', headers: http.OutgoingHttpHeaders = {}): Promise<Answer> => call(POD, VIP, { path, headers });

beforeAll(async () => {
  runDir = await mkdtemp(join(tmpdir(), 'onehop-haproxy-'));
  servers.push(await openServer('a', 9201), await openServer('b', 9202));
  proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5 });
});
afterAll(async () => {
  if (proxy.status().restarts > 0) throw new Error('HAProxy was restarted');
  await proxy.close({ drainMs: 200, leaveRunning: false });
  for (const server of servers) await closeServer(server);
  await rm(runDir, { recursive: true, force: true });
});

describe('the choice of a version', () => {
  it('draws by weight, and gives the rest to the preferred version or to no-version', async () => {
    const weighted = (otherwise: Partial<Choice>): Choice =>
      ({ kind: 'weighted', total: 100, shares: [{ below: 30, version: 0 }, { below: 70, version: 1 }], ...otherwise }) as Choice;
    await serve({ versions: [a, b], choice: weighted({}) });
    const answers = await Promise.all(Array.from({ length: 600 }, () => get()));
    const count = (which: (answer: Answer) => boolean): number => answers.filter(which).length;
    const served = (name: string) => (answer: Answer) => answer.status === 200 && nameOf(answer) === name;
    // Three sigma and a little of 600 draws.
    expect(count(served('a'))).toBeGreaterThan(140);
    expect(count(served('a'))).toBeLessThan(220);
    expect(count(served('b'))).toBeGreaterThan(195);
    expect(count(served('b'))).toBeLessThan(285);
    expect(count(({ reason }) => reason === 'no-version')).toBe(600 - count(served('a')) - count(served('b')));
    await serve({ versions: [a, b], choice: { kind: 'weighted', total: 100, shares: [{ below: 1, version: 0 }], otherwise: 1 } });
    expect((await Promise.all(Array.from({ length: 50 }, () => get()))).filter(served('b')).length).toBeGreaterThan(40);
  });

  describe('by header', () => {
    beforeAll(async () => {
      await serve({
        versions: [{ ...a, match: '^$|(?i)canary' }, { ...b, match: '^b#1$|z{3}$' }],
        choice: { kind: 'header', header: 'X-Version' },
      });
    });
    it.each<[string, http.OutgoingHttpHeaders, string]>([
      ['an absent header never matches', {}, 'no-version'],
      ['an empty one can match ^$', { 'x-version': '' }, 'a'],
      ['blanks around a value are trimmed', { 'x-version': '  b#1 \t' }, 'b'],
      ['a leading (?i) works behind the limit', { 'x-version': 'my-CANARY-1' }, 'a'],
      ['a value is not split at commas', { 'x-version': 'x, b#1' }, 'no-version'],
      ['the last line counts', { 'x-version': ['nothing', 'b#1'] }, 'b'],
      ['the last line counts even if an earlier one matches', { 'x-version': ['b#1', 'nothing'] }, 'no-version'],
      ['a long value is read whole', { 'x-version': `${'y'.repeat(1000)}zzz` }, 'b'],
      ['names of headers ignore case', { 'X-VERSION': 'b#1' }, 'b'],
    ])('%s', async (_, headers, expected) => {
      const answer = await get('/', headers);
      expect(answer.status === 200 ? nameOf(answer) : answer.reason).toBe(expected);
    });
  });

  it('reads a header whose name holds every character that a token may have', async () => {
    const header = "X-!#$%&'*+-.^_`|~9";
    await serve({ versions: [{ ...a, match: '^1$' }, b], choice: { kind: 'header', header, otherwise: 1 } });
    expect(nameOf(await get('/', { [header]: '1' }))).toBe('a');
    expect(nameOf(await get('/', { [header]: '2' }))).toBe('b');
  });
});

describe('answers for failed servers', () => {
  beforeEach(async () => {
    await serve({ versions: [a, b], timeout: { connectMs: 250, requestMs: 500 }, retries: { attempts: 0, on: [], nonIdempotent: false } });
  });
  it('502 upstream-reset', async () => {
    expect(await get('/reset')).toMatchObject({ status: 502, reason: 'upstream-reset' });
  });
  it('504 upstream-timeout', async () => {
    expect(await get('/never')).toMatchObject({ status: 504, reason: 'upstream-timeout' });
  });
  it("a server's own 503 passes, without its x-onehop-reason", async () => {
    expect(await get('/503')).toMatchObject({ status: 503, reason: undefined });
  });
  it('502 connect-failed from a lone server, which serves again at once when it is back', async () => {
    await serve({ versions: [aVersion('cart-a', [anEndpoint(SERVERS, 9203)])] });
    expect(await get()).toMatchObject({ status: 502, reason: 'connect-failed', body: 'no connection to a server of the chosen version\n' });
    const back = await openServer('back', 9203);
    expect(nameOf(await get())).toBe('back');
    await closeServer(back);
  });
  it('503 no-endpoints without a server, and when all are down', async () => {
    await serve({ versions: [aVersion('cart-a', [])] });
    expect(await get()).toMatchObject({ status: 503, reason: 'no-endpoints', body: 'the chosen version has no usable endpoint\n' });
    await serve({ versions: [aVersion('cart-a', [DEAD, anEndpoint(SERVERS, 9298)])] });
    await get();
    expect(await get()).toMatchObject({ status: 503, reason: 'no-endpoints' });
  });
  it('503 no-version and route-invalid', async () => {
    await serve({ versions: [a, b], choice: { kind: 'none' } });
    expect(await get()).toMatchObject({ status: 503, reason: 'no-version' });
    await serve({ versions: [], invalid: true });
    expect(await get()).toMatchObject({ status: 503, reason: 'route-invalid' });
  });
});

it('goes to the next tier without a failed GET when the local server dies under load, and returns within seconds', async () => {
  let local = await openServer('local', 9204);
  await serve({ versions: [aVersion('cart-a', [anEndpoint(SERVERS, 9204)], { backup: [anEndpoint(SERVERS, 9202, { tier: 'any' })] })] });
  const seen: string[] = [];
  const load = new AbortController();
  const workers = Array.from({ length: 8 }, async () => {
    while (!load.signal.aborted) {
      const answer = await get();
      seen.push(answer.status === 200 ? nameOf(answer) : `${answer.status} ${answer.reason}`);
    }
  });
  await sleep(300);
  await closeServer(local);
  await sleep(700);
  const [failedOver] = seen.slice(-1);
  local = await openServer('local', 9204);
  await sleep(2500);
  load.abort();
  await Promise.all(workers);
  await closeServer(local);
  expect(new Set(seen)).toEqual(new Set(['local', 'b']));
  expect(seen[0]).toBe('local');
  expect(failedOver).toBe('b');
  expect(seen.at(-1)).toBe('local');
});

describe('protocols', () => {
  it('WebSocket', async () => {
    const server = new WebSocketServer({ host: SERVERS, port: 9205 });
    server.on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })));
    await serve({ versions: [aVersion('cart-a', [anEndpoint(SERVERS, 9205)])], timeout: { connectMs: 250, requestMs: 300 } });
    const socket = new WebSocket(`ws://${VIP}:8080/chat`, { localAddress: POD });
    await once(socket, 'open');
    // Longer than the request's timeout: a tunnel has its own.
    await sleep(600);
    socket.send('hello');
    const [message] = (await once(socket, 'message')) as [Buffer];
    expect(message.toString()).toBe('hello');
    socket.terminate();
    server.close();
  });

  it('h2c with prior knowledge, to an h1 server and with trailers to an h2 server', async () => {
    const grpc = http2.createServer();
    grpc.on('stream', (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end('reply');
    });
    await new Promise<void>((resolve) => grpc.listen(9206, SERVERS, () => resolve()));
    await serve({ versions: [{ ...a, match: 'h1' }, aVersion('cart-grpc', [anEndpoint(SERVERS, 9206)], { serverProtocol: 'h2' })], choice: { kind: 'header', header: 'x-to', otherwise: 1 } });
    const client = http2.connect(`http://${VIP}:8080`, { createConnection: () => net.connect({ host: VIP, port: 8080, localAddress: POD }) });
    const ask = async (headers: http2.OutgoingHttpHeaders): Promise<{ body: string; trailers: http2.IncomingHttpHeaders }> => {
      const stream = client.request(headers);
      let trailers: http2.IncomingHttpHeaders = {};
      stream.on('trailers', (received: http2.IncomingHttpHeaders) => (trailers = received));
      let body = '';
      stream.setEncoding('utf8');
      stream.on('data', (chunk: string) => (body += chunk));
      stream.end();
      await once(stream, 'end');
      return { body, trailers };
    };
    expect((await ask({ ':path': '/', 'x-to': 'h1' })).body).toContain('"name":"a"');
    const reply = await ask({ ':path': '/pkg.Service/Method', ':method': 'POST', te: 'trailers', 'content-type': 'application/grpc' });
    expect(reply).toMatchObject({ body: 'reply', trailers: { 'grpc-status': '0' } });
    client.destroy();
    grpc.close();
  });

  it('tcp: by percentage per connection, past a dead server; a refusal closes the connection', async () => {
    const echo = net.createServer((socket) => socket.on('data', (data) => socket.end(data)).on('error', () => undefined));
    await new Promise<void>((resolve) => echo.listen(9207, SERVERS, () => resolve()));
    await serve({
      protocol: 'tcp',
      versions: [aVersion('cart-a', [DEAD, anEndpoint(SERVERS, 9207)]), aVersion('cart-b', [])],
      choice: { kind: 'weighted', total: 100, shares: [{ below: 50, version: 0 }] },
    });
    const exchange = async (from: string): Promise<string> => {
      const socket = net.connect({ host: VIP, port: 8080, localAddress: from });
      let received = '';
      socket.on('data', (data) => (received += data.toString())).on('error', () => undefined);
      socket.write('ping');
      await once(socket, 'close');
      return received;
    };
    const replies = await Promise.all(Array.from({ length: 60 }, () => exchange(POD)));
    expect(replies.filter((reply) => reply === 'ping').length).toBeGreaterThan(12);
    expect(replies.filter((reply) => reply === '').length).toBeGreaterThan(12);
    const begun = Date.now();
    expect(await exchange('127.88.72.19')).toBe('');
    expect(Date.now() - begun).toBeGreaterThan(1800);
    echo.close();
  });
});
