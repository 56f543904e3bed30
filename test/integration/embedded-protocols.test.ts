import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { openEmbeddedProxy } from '../../src/embedded/io/open-embedded-proxy.ts';
import type { EmbeddedProxy, EmbeddedProxyOptions } from '../../src/embedded/io/open-embedded-proxy.ts';
import type { Route } from '../../src/model/route-table.ts';
import { POD_A, POD_B, STRANGER, call, deadEndpoint, route, startHttp, startHttp2, startTcp, table, version } from '../support/embedded-world.ts';
import type { Running } from '../support/embedded-world.ts';

const VIP = '127.73.20.1';
const running: Running[] = [];
const proxies: EmbeddedProxy[] = [];

async function opened(options: EmbeddedProxyOptions = {}): Promise<EmbeddedProxy> {
  const proxy = await openEmbeddedProxy(options);
  proxies.push(proxy);
  return proxy;
}
async function serving(...routes: readonly Route[]): Promise<EmbeddedProxy> {
  const proxy = await opened();
  expect(await proxy.apply(table(routes))).toEqual([]);
  return proxy;
}
const started = async <T extends Running>(server: Promise<T>): Promise<T> => {
  const up = await server;
  running.push(up);
  return up;
};
const named = (name: string): Promise<Running> => started(startHttp((_request, response) => response.end(name)));

interface Http2Answer {
  readonly headers: http2.IncomingHttpHeaders;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly body: string;
}

/** One call over clear-text HTTP/2 with prior knowledge. */
async function call2(headers: http2.OutgoingHttpHeaders, body?: string, vip = VIP, trailers?: http2.OutgoingHttpHeaders): Promise<Http2Answer> {
  const session = http2.connect(`http://${vip}:8080`, { createConnection: () => net.connect({ host: vip, port: 8080, localAddress: POD_B }) });
  session.on('error', () => {});
  try {
    const stream = session.request(headers, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers ?? {}));
    let got: http2.IncomingHttpHeaders = {};
    let ended: http2.IncomingHttpHeaders = {};
    stream.on('response', (head) => (got = head));
    stream.on('trailers', (tail) => (ended = tail));
    if (body !== undefined) stream.end(body);
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    if (stream.rstCode !== 0) throw new Error(`reset with code ${stream.rstCode}`);
    return { headers: got, trailers: ended, body: text };
  } finally {
    session.destroy();
  }
}

/** Connects from `from`, sends `text`, ends, and returns everything until the other side ends. */
async function talk(text: string, from = POD_B, vip = VIP): Promise<string> {
  const socket = net.connect({ host: vip, port: 8080, localAddress: from });
  socket.on('error', () => {});
  socket.end(text);
  let got = '';
  socket.on('data', (chunk) => (got += chunk.toString()));
  await new Promise((resolve) => socket.on('close', resolve));
  return got;
}

afterEach(async () => {
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close({ drainMs: 0, leaveRunning: false })));
  await Promise.all(running.splice(0).map((server) => server.close()));
});

describe('WebSocket', () => {
  it('passes messages both ways, and closes both sides when one closes', async () => {
    const server = await started(startHttp(() => {}));
    const sockets = new WebSocketServer({ server: server.server });
    const seen: (string | undefined)[] = [];
    let closed = 0;
    sockets.on('connection', (socket, request) => {
      seen.push(request.headers['x-forwarded-for'] as string | undefined);
      socket.on('message', (data: Buffer) => socket.send(`echo ${data.toString()}`));
      socket.on('close', () => closed++);
    });
    await serving(route('svc', VIP, [version('v', [server.at])], { timeout: { connectMs: 250, requestMs: 300 } }));
    const client = new WebSocket(`ws://${VIP}:8080/chat`, { localAddress: POD_B });
    await once(client, 'open');
    client.send('one');
    expect(String((await once(client, 'message'))[0])).toBe('echo one');
    await delay(900);
    expect(client.readyState, 'a silent WebSocket outlives the request timeout').toBe(WebSocket.OPEN);
    client.send('x'.repeat(300_000));
    expect(String((await once(client, 'message'))[0])).toHaveLength(300_005);
    client.terminate();
    await expect.poll(() => closed, { timeout: 3_000 }).toBe(1);
    expect(seen).toEqual([POD_B]);
    sockets.close();
  });

  it('passes on a plain answer to an upgrade, and refuses as for any call', async () => {
    const server = await named('no upgrade here');
    await serving(route('svc', VIP, [version('v', [server.at])]), route('none', '127.73.20.3', [version('v', [])]));
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
    expect(await call(VIP, { headers })).toMatchObject({ status: 200, body: 'no upgrade here' });
    expect(await call('127.73.20.3', { headers })).toMatchObject({ status: 503, reason: 'no-endpoints' });
    expect(await call(VIP, { headers, from: POD_A })).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    expect(await call(VIP, { headers: { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAMAAABkAAQAAP__' } })).toMatchObject({ status: 200 });
  });
});

describe('HTTP/2', () => {
  it('serves clear-text HTTP/2 clients beside HTTP/1.1 ones, with an HTTP/1.1 server', async () => {
    const server = await started(
      startHttp((request, response) => {
        request.resume().on('end', () => {
          response.writeHead(200, { Trailer: 'X-Sum', 'Set-Cookie': ['a=1', 'b=2'] });
          response.addTrailers({ 'X-Sum': '7' });
          response.end(JSON.stringify({ host: request.headers.host, cookie: request.headers.cookie, url: request.url, from: request.headers['x-forwarded-for'] }));
        });
      }),
    );
    await serving(route('svc', VIP, [version('v', [server.at])]));
    const answer = await call2({ ':path': '/p?q', ':method': 'POST', cookie: ['a=1', 'b=2'] }, 'body');
    expect(answer.headers).toMatchObject({ ':status': 200, 'set-cookie': ['a=1', 'b=2'] });
    expect(JSON.parse(answer.body)).toEqual({ host: `${VIP}:8080`, cookie: 'a=1; b=2', url: '/p?q', from: POD_B });
    expect(answer.trailers).toMatchObject({ 'x-sum': '7' });
    expect(await call(VIP)).toMatchObject({ status: 200 });
  });

  it('refuses over HTTP/2 with the reason', async () => {
    await serving(route('none', VIP, [version('v', [])]));
    expect((await call2({ ':path': '/' })).headers).toMatchObject({ ':status': 503, 'x-onehop-reason': 'no-endpoints' });
  });

  it('carries gRPC: HTTP/2 on both sides, messages both ways at once, te and trailers', async () => {
    const server = await started(
      startHttp2((stream, headers) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': `te=${String(headers.te)} authority=${String(headers[':authority'])}`, 'x-onehop-reason': 'fake' }));
        stream.on('data', (chunk: Buffer) => stream.write(`got ${chunk.toString()};`));
        stream.on('end', () => stream.end());
      }),
    );
    await serving(route('svc', VIP, [version('v', [server.at], { serverProtocol: 'h2' })]));
    const session = http2.connect(`http://${VIP}:8080`, { localAddress: POD_B } as http2.ClientSessionOptions);
    const stream = session.request({ ':method': 'POST', ':path': '/pkg.Svc/Chat', te: 'trailers', 'content-type': 'application/grpc' });
    stream.setEncoding('utf8');
    const trailers = once(stream, 'trailers');
    for (const message of ['one', 'two', 'three']) {
      stream.write(message);
      expect((await once(stream, 'data'))[0]).toBe(`got ${message};`);
    }
    stream.end();
    expect((await trailers)[0]).toMatchObject({ 'grpc-status': '0', 'grpc-message': `te=trailers authority=${VIP}:8080` });
    expect(Object.keys((await trailers)[0] as object)).not.toContain('x-onehop-reason');
    session.destroy();
  });

  it('passes a gRPC answer of trailers only, and an answer that is reset, as they are', async () => {
    const server = await started(
      startHttp2((stream, headers) => {
        if (headers[':path'] === '/reset') {
          stream.respond({ ':status': 200 });
          stream.write('part');
          setTimeout(() => stream.destroy(new Error('broken')), 50);
        } else stream.respond({ ':status': 200, 'grpc-status': '12' }, { endStream: true });
      }),
    );
    await serving(route('svc', VIP, [version('v', [server.at], { serverProtocol: 'h2' })]));
    expect((await call2({ ':method': 'POST', ':path': '/' }, 'x')).headers).toMatchObject({ 'grpc-status': '12' });
    await expect(call2({ ':path': '/reset' })).rejects.toThrow(/reset|NGHTTP2/);
    await expect(call(VIP, { path: '/reset' })).rejects.toThrow(/aborted/);
  });

  it('frees the stream of the server when the client resets its own, and fails over when a server is gone', async () => {
    let freed = 0;
    let ended = 0;
    const silent = await started(startHttp2((stream) => stream.resume().on('close', () => freed++).on('end', () => ended++)));
    const alive = await started(startHttp2((stream) => (stream.respond({ ':status': 200 }), stream.end('alive'))));
    await serving(
      route('svc', VIP, [version('v', [silent.at], { serverProtocol: 'h2' })]),
      route('over', '127.73.20.3', [version('v', [await deadEndpoint()], { serverProtocol: 'h2', backup: [alive.at] })]),
    );
    const session = http2.connect(`http://${VIP}:8080`);
    const stream = session.request({ ':path': '/', ':method': 'POST' });
    stream.on('error', () => {});
    stream.write('half');
    await delay(200);
    stream.destroy(new Error('gone'));
    await expect.poll(() => freed, { timeout: 3_000 }).toBe(1);
    expect(ended, 'half an upload never looks complete').toBe(0);
    session.destroy();
    expect(await call('127.73.20.3')).toMatchObject({ status: 200, body: 'alive' });
    expect((await call2({ ':path': '/', ':method': 'POST' }, 'x', '127.73.20.3')).body).toBe('alive');
  });

  it('takes trailers from the client to the server', async () => {
    const server = await started(startHttp2((stream) => {
      stream.resume();
      stream.on('trailers', (trailers) => {
        stream.respond({ ':status': 200 });
        stream.end(String(trailers['x-sum']));
      });
    }));
    await serving(route('svc', VIP, [version('v', [server.at], { serverProtocol: 'h2' })]));
    expect((await call2({ ':path': '/', ':method': 'POST' }, 'x', VIP, { 'x-sum': '9' })).body).toBe('9');
  });
});

describe('TCP', () => {
  const echoServer = (name: string): Promise<Running> =>
    started(
      startTcp((socket) => {
        let got = '';
        socket.on('data', (chunk) => (got += chunk.toString()));
        socket.on('end', () => socket.end(`${name} ${got}`));
      }),
    );

  it('joins connections with half-close, fails over, splits by connection', async () => {
    const [a, b] = [await echoServer('a'), await echoServer('b')];
    const dead = await deadEndpoint();
    await serving(
      route('svc', VIP, [version('v', [dead], { backup: [a.at] })], { protocol: 'tcp' }),
      route('split', '127.73.20.3', [version('a', [a.at]), version('b', [b.at])], { protocol: 'tcp', choice: { kind: 'weighted', total: 2, shares: [{ below: 1, version: 0 }, { below: 2, version: 1 }] } }),
    );
    expect(await talk('hello')).toBe('a hello');
    expect(await talk('x'.repeat(500_000))).toHaveLength(500_002);
    const names = await Promise.all(Array.from({ length: 40 }, () => talk('x', POD_B, '127.73.20.3')));
    expect(new Set(names)).toEqual(new Set(['a x', 'b x']));
  });

  it('closes refused connections, and both sides when either breaks', async () => {
    let closed = 0;
    const server = await started(startTcp((socket) => void socket.resume().on('close', () => closed++)));
    const proxy = await serving(route('svc', VIP, [version('v', [server.at])], { protocol: 'tcp' }), route('dead', '127.73.20.3', [version('v', [await deadEndpoint()])], { protocol: 'tcp' }));
    expect(await talk('x', POD_A)).toBe('');
    const begun = performance.now();
    expect(await talk('x', STRANGER)).toBe('');
    expect(performance.now() - begun).toBeGreaterThan(1_900);
    expect(await talk('x', POD_B, '127.73.20.3')).toBe('');
    const client = net.connect({ host: VIP, port: 8080, localAddress: POD_B });
    await once(client, 'connect');
    client.write('x');
    await delay(200);
    client.resetAndDestroy();
    await expect.poll(() => closed, { timeout: 3_000 }).toBe(1);
    expect(proxy.status().refused).toMatchObject({ 'namespace-isolated': 1, 'caller-unknown': 1, 'connect-failed': 1 });
  });
});

describe('the proxy as a whole', () => {
  it('opens and closes listeners with the table, and follows changed routes on open connections', async () => {
    const [a, b] = [await named('a'), await named('b')];
    const proxy = await serving(route('svc', VIP, [version('v', [a.at])]), route('other', '127.73.20.3', [version('v', [a.at])], { globalVip: '127.73.20.4' }));
    expect([...proxy.listeners()].sort()).toEqual([`${VIP}:8080`, '127.73.20.3:8080', '127.73.20.4:8080'].sort());
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    expect(await call(VIP, { agent })).toMatchObject({ body: 'a' });
    await proxy.apply(table([route('svc', VIP, [version('v', [b.at])])]));
    expect([...proxy.listeners()]).toEqual([`${VIP}:8080`]);
    expect(await call(VIP, { agent })).toMatchObject({ body: 'b' });
    agent.destroy();
    await expect(call('127.73.20.3')).rejects.toThrow(/ECONNREFUSED/);
  });

  it('reports a taken port as a Problem of that route alone, and takes it once it is free', async () => {
    const a = await named('a');
    const squatter = net.createServer().listen(8080, '127.73.20.3');
    await once(squatter, 'listening');
    const routes = [route('svc', VIP, [version('v', [a.at])]), route('taken', '127.73.20.3', [version('v', [a.at])])];
    const proxy = await opened();
    expect(await proxy.apply(table(routes))).toMatchObject([{ code: 'port-taken', object: { namespace: 'b', name: 'taken' }, message: '127.73.20.3:8080 is taken by another process' }]);
    expect(await call(VIP)).toMatchObject({ status: 200 });
    squatter.close();
    await once(squatter, 'close');
    expect(await proxy.apply(table(routes))).toEqual([]);
    expect(await call('127.73.20.3')).toMatchObject({ status: 200 });
  });

  it('lets two generations share an address', async () => {
    const a = await named('a');
    const first = await serving(route('svc', VIP, [version('v', [a.at])]));
    await serving(route('svc', VIP, [version('v', [a.at])]));
    await first.close({ drainMs: 100, leaveRunning: false });
    expect(await call(VIP)).toMatchObject({ status: 200 });
  });

  it('reports a regex that cannot be the same as in HAProxy and answers route-invalid', async () => {
    const a = await named('a');
    const proxy = await opened();
    const problems = await proxy.apply(table([route('svc', VIP, [version('v', [a.at], { match: '(?=a)b' })], { choice: { kind: 'header', header: 'X' } })]));
    expect(problems).toMatchObject([{ code: 'regex-unsupported', field: 'spec.to[0].balance.rule' }]);
    expect(await call(VIP)).toMatchObject({ status: 503, reason: 'route-invalid' });
  });

  it('serves other routes while a hostile regex is matched against long values', async () => {
    const a = await named('a');
    const hostile = (match: string, vip: string): Route => route(`hostile-${vip.slice(-1)}`, vip, [version('v', [a.at], { match })], { choice: { kind: 'header', header: 'X' } });
    await serving(route('svc', VIP, [version('v', [a.at])]), hostile('(a+)+$', '127.73.20.3'), hostile('a[ab]{900}c', '127.73.20.4'));
    const over = new AbortController();
    const attack = async (vip: string): Promise<void> => {
      while (!over.signal.aborted) {
        const value = Array.from({ length: 8_000 }, () => (Math.random() < 0.5 ? 'a' : 'b')).join('');
        await call(vip, { headers: { X: `${vip.endsWith('3') ? 'a'.repeat(8_000) : value}!` } });
      }
    };
    const attackers = ['127.73.20.3', '127.73.20.3', '127.73.20.4', '127.73.20.4'].map((vip) => attack(vip));
    const times: number[] = [];
    for (let i = 0; i < 100; i++) {
      const begun = performance.now();
      expect(await call(VIP)).toMatchObject({ status: 200 });
      times.push(performance.now() - begun);
    }
    over.abort();
    await Promise.all(attackers);
    // Without a bound one of these values takes V8 hours.
    expect(times.sort((x, y) => x - y)[98]).toBeLessThan(1_000);
  });

  it('finishes calls that run when it is closed, takes no new ones, and cuts what is left after drainMs', async () => {
    const slow = await started(startHttp((request, response) => void (request.url === '/never' || setTimeout(() => response.end('done'), 600))));
    const proxy = await serving(route('svc', VIP, [version('v', [slow.at])]));
    const running = call(VIP, { agent: new http.Agent({ keepAlive: true }) });
    const never = call(VIP, { path: '/never' }).catch((error: unknown) => error);
    await delay(200);
    const begun = performance.now();
    const closing = proxy.close({ drainMs: 1_500, leaveRunning: false });
    await delay(100);
    await expect(call(VIP)).rejects.toThrow(/ECONNREFUSED/);
    expect(await running).toMatchObject({ status: 200, body: 'done' });
    await closing;
    expect(await never).toBeInstanceOf(Error);
    expect(performance.now() - begun).toBeGreaterThan(1_400);
    expect(proxy.listeners().size).toBe(0);
  });

  it('is started again with the last table when its worker dies, and says so', async () => {
    const a = await named('a');
    const faults: string[] = [];
    const worker = new Promise<Worker>((resolve) => void process.once('worker', resolve));
    const proxy = await opened({ onFault: (error) => faults.push(error.message) });
    await proxy.apply(table([route('svc', VIP, [version('v', [a.at])])]));
    expect(await call(VIP)).toMatchObject({ status: 200 });
    await (await worker).terminate();
    // Sent while no worker lives: it must not be lost.
    expect(await proxy.apply(table([route('svc', VIP, [version('v', [a.at])]), route('new', '127.73.20.3', [version('v', [a.at])])]))).toEqual([]);
    expect(await call(VIP)).toMatchObject({ status: 200 });
    expect(await call('127.73.20.3')).toMatchObject({ status: 200 });
    expect(faults).toEqual(["the embedded proxy's worker ended with code 1"]);
    expect(proxy.status()).toMatchObject({ restarts: 1, forwarded: { node: 3 } });
  });

  it('does not wait for idle connections when it is closed', async () => {
    const a = await named('a');
    const proxy = await serving(route('svc', VIP, [version('v', [a.at])]));
    const agent = new http.Agent({ keepAlive: true });
    await call(VIP, { agent });
    const session = http2.connect(`http://${VIP}:8080`);
    await once(session, 'connect');
    session.on('error', () => {});
    const begun = performance.now();
    await proxy.close({ drainMs: 10_000, leaveRunning: false });
    expect(performance.now() - begun).toBeLessThan(3_000);
    agent.destroy();
    session.destroy();
  });
});
