import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { openEmbeddedProxy } from '../../src/embedded/io/open-embedded-proxy.ts';
import type { EmbeddedProxy } from '../../src/embedded/io/open-embedded-proxy.ts';
import type { Choice, Route } from '../../src/model/route-table.ts';
import { CALLERS, POD_A, POD_B, STRANGER, TRUSTED, call, caller, deadEndpoint, route, startHttp, startTcp, table, version } from '../support/embedded-world.ts';
import type { Running } from '../support/embedded-world.ts';

const VIP = '127.73.10.1';
const GLOBAL = '127.73.10.2';
const running: Running[] = [];
const proxies: EmbeddedProxy[] = [];

async function serving(...routes: readonly Route[]): Promise<EmbeddedProxy> {
  // The token 'secret' is that of pod b.
  const proxy = await openEmbeddedProxy({ verifyToken: async (token) => (token === 'secret' ? { ok: true, identity: { namespace: 'b', serviceAccount: 'default' } } : { ok: false, why: 'unknown' }) });
  proxies.push(proxy);
  expect(await proxy.apply(table(routes))).toEqual([]);
  return proxy;
}

const started = async <T extends Running>(server: Promise<T>): Promise<T> => {
  const up = await server;
  running.push(up);
  return up;
};
const named = (name: string): Promise<Running> => started(startHttp((_request, response) => response.end(name)));

/** A server that shows the request it got. */
const echo = (): Promise<Running> =>
  started(
    startHttp((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => response.end(JSON.stringify({ method: request.method, url: request.url, headers: request.headers, trailers: request.trailers, body: Buffer.concat(chunks).toString() })));
    }),
  );

/** Sends raw bytes from a pod of b and collects everything until the proxy closes or `ms` pass. */
async function raw(text: string, ms = 1_500): Promise<string> {
  const socket = net.connect({ host: VIP, port: 8080, localAddress: POD_B });
  socket.on('error', () => {});
  socket.write(text);
  let got = '';
  socket.on('data', (chunk) => (got += chunk.toString('latin1')));
  await Promise.race([once(socket, 'close'), delay(ms)]);
  socket.destroy();
  return got;
}

afterEach(async () => {
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close({ drainMs: 0, leaveRunning: false })));
  await Promise.all(running.splice(0).map((server) => server.close()));
});

describe('choosing and refusing', () => {
  it('splits by percentage, within 4 sigma of 70 of 100 over 1,000 calls', async () => {
    const choice: Choice = { kind: 'weighted', total: 100, shares: [{ below: 70, version: 0 }, { below: 100, version: 1 }] };
    await serving(route('svc', VIP, [version('a', [(await named('A')).at]), version('b', [(await named('B')).at])], { choice }));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => call(VIP, { agent })));
    agent.destroy();
    const share = answers.filter(({ body }) => body === 'A').length;
    expect(share).toBeGreaterThan(700 - 58);
    expect(share).toBeLessThan(700 + 58);
  });

  it('chooses by header: the last line, trimmed, any case of the name', async () => {
    const versions = [version('a', [(await named('A')).at], { match: '^a' }), version('b', [(await named('B')).at], { match: '(?i)^b+$' })];
    await serving(route('svc', VIP, versions, { choice: { kind: 'header', header: 'X-Version' } }));
    const ask = async (headers: http.OutgoingHttpHeaders): Promise<string> => {
      const { body, reason } = await call(VIP, { headers });
      return reason ?? body;
    };
    expect(await ask({ 'x-version': 'abc' })).toBe('A');
    expect(await ask({ 'X-VERSION': '  BBB ' })).toBe('B');
    expect(await ask({ 'X-Version': ['a', 'b'] })).toBe('B');
    expect(await ask({ 'X-Version': 'c, a' })).toBe('no-version');
    expect(await ask({ 'X-Version': 'c' })).toBe('no-version');
    expect(await ask({})).toBe('no-version');
  });

  it('isolates namespaces, opens the global address, and follows the acl', async () => {
    const server = await named('ok');
    const open = { defaultAllow: true, hasEntries: true, namespace: 'b', exceptions: [POD_B], accounts: [] };
    await serving(route('svc', VIP, [version('v', [server.at])], { globalVip: GLOBAL }), route('acl', '127.73.10.3', [version('v', [server.at])], { access: open }));
    expect(await call(VIP, { from: POD_B })).toMatchObject({ status: 200, body: 'ok' });
    expect(await call(VIP, { from: POD_A })).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    expect(await call(VIP, { from: TRUSTED })).toMatchObject({ status: 200 });
    expect(await call(VIP, { from: '127.0.0.1' })).toMatchObject({ status: 200 });
    expect(await call(GLOBAL, { from: POD_A })).toMatchObject({ status: 200 });
    expect(await call('127.73.10.3', { from: POD_B })).toMatchObject({ status: 403, reason: 'acl-denied' });
    expect(await call('127.73.10.3', { from: '127.0.0.1' })).toMatchObject({ status: 200 });
  });

  it('answers each refusal with its status, reason and one line of text, and counts it', async () => {
    const proxy = await serving(
      route('svc', VIP, [version('v', [])]),
      route('bad', '127.73.10.3', [], { invalid: true }),
      route('none', '127.73.10.4', [version('v', [])], { choice: { kind: 'none' } }),
      route('dead', '127.73.10.5', [version('v', [await deadEndpoint()])]),
    );
    expect(await call(VIP)).toMatchObject({ status: 503, reason: 'no-endpoints', body: 'the chosen version has no usable endpoint\n' });
    const begun = performance.now();
    expect(await call('127.73.10.3', { from: STRANGER })).toMatchObject({ status: 503, reason: 'route-invalid' });
    expect(performance.now() - begun, 'a stranger is not held for an invalid route').toBeLessThan(1_500);
    expect(await call('127.73.10.4')).toMatchObject({ status: 503, reason: 'no-version' });
    expect(await call('127.73.10.5', { method: 'POST', body: 'x' })).toMatchObject({ status: 502, reason: 'connect-failed' });
    expect(proxy.status().refused).toMatchObject({ 'no-endpoints': 1, 'route-invalid': 1, 'no-version': 1, 'connect-failed': 1, 'acl-denied': 0 });
  });

  it('holds a source that is not yet known until the table knows it, else refuses it after 2 s', async () => {
    const server = await named('ok');
    const proxy = await serving(route('svc', VIP, [version('v', [server.at])]));
    const begun = performance.now();
    const [stranger, late] = await Promise.all([
      call(VIP, { from: STRANGER }),
      (async () => {
        const answer = call(VIP, { from: '127.88.73.160' });
        await delay(300);
        await proxy.apply(table([route('svc', VIP, [version('v', [server.at])])], { ...CALLERS, pods: [...CALLERS.pods, caller('127.88.73.160', 'b')] }));
        return { answer: await answer, ms: performance.now() - begun };
      })(),
    ]);
    expect(late.answer).toMatchObject({ status: 200, body: 'ok' });
    expect(late.ms).toBeLessThan(1_800);
    expect(stranger).toMatchObject({ status: 403, reason: 'caller-unknown' });
    expect(performance.now() - begun).toBeGreaterThan(1_900);
  });
});

describe('what is forwarded', () => {
  it('keeps method, path, Host and body; strips the token and x-onehop-*; sets X-Forwarded-For', async () => {
    await serving(route('svc', VIP, [version('v', [(await echo()).at])]));
    const answer = await call(VIP, {
      method: 'PATCH',
      path: '/a//b?x=%20y',
      body: 'hello',
      headers: { Host: 'shop.example', 'X-Forwarded-For': '6.6.6.6', 'X-Onehop-Token': 'secret', 'x-onehop-reason': 'fake', Connection: 'close, X-Hop', 'X-Hop': '1', 'X-Kept': 'yes' },
    });
    const seen = JSON.parse(answer.body) as { headers: Record<string, string> };
    expect(seen).toMatchObject({ method: 'PATCH', url: '/a//b?x=%20y', body: 'hello' });
    expect(seen.headers).toMatchObject({ host: 'shop.example', 'x-forwarded-for': POD_B, 'x-kept': 'yes' });
    expect(Object.keys(seen.headers).filter((name) => /onehop|hop$/.test(name))).toEqual([]);
  });

  it('never shows x-onehop-* of a server', async () => {
    const server = await started(startHttp((_request, response) => response.writeHead(200, { 'X-Onehop-Reason': 'acl-denied', 'Set-Cookie': ['a=1', 'b=2'] }).end('ok')));
    await serving(route('svc', VIP, [version('v', [server.at])]));
    const answer = await call(VIP);
    expect(answer.reason).toBeUndefined();
    expect(answer.headers['set-cookie']).toEqual(['a=1', 'b=2']);
  });

  it('sends no body framing for a POST without body, and chunks for one of unknown length with its trailers', async () => {
    await serving(route('svc', VIP, [version('v', [(await echo()).at])]));
    const empty = await raw(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    expect(empty).toContain('"content-length":"0"');
    const chunked = await raw('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n');
    expect(chunked).toContain('"body":"hello"');
    expect(chunked).toContain('"trailers":{"x-sum":"42"}');
  });

  it('answers HEAD, 204 and 304 without a body and keeps Content-Length', async () => {
    const server = await started(
      startHttp((request, response) => {
        if (request.url === '/204') response.writeHead(204).end();
        else if (request.url === '/304') response.writeHead(304, { ETag: '"1"' }).end();
        else response.writeHead(200, { 'Content-Length': '5' }).end('hello');
      }),
    );
    await serving(route('svc', VIP, [version('v', [server.at])]));
    expect(await call(VIP, { method: 'HEAD' })).toMatchObject({ status: 200, body: '', headers: { 'content-length': '5' } });
    expect(await call(VIP, { path: '/204' })).toMatchObject({ status: 204, body: '' });
    expect(await call(VIP, { path: '/304' })).toMatchObject({ status: 304, headers: { etag: '"1"' } });
  });

  it('passes 100-continue on from the server, and refuses without it', async () => {
    const server = await echo();
    await serving(route('svc', VIP, [version('v', [server.at])]), route('none', '127.73.10.4', [version('v', [])]));
    const ask = async (vip: string): Promise<readonly [boolean, number]> => {
      const request = http.request({ host: vip, port: 8080, localAddress: POD_B, method: 'POST', agent: false, headers: { Expect: '100-continue', 'Content-Length': '5' } });
      let continued = false;
      request.on('continue', () => {
        continued = true;
        request.end('hello');
      });
      request.on('error', () => {});
      request.flushHeaders();
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      response.resume();
      return [continued, response.statusCode ?? 0];
    };
    expect(await ask(VIP)).toEqual([true, 200]);
    expect(await ask('127.73.10.4')).toEqual([false, 503]);
  });

  it('streams 40 MB each way, and holds the sender back while the reader sleeps', async () => {
    const size = 40 * 1024 * 1024;
    let sent = 0;
    const server = await started(
      startHttp((request, response) => {
        if (request.method === 'POST') {
          let got = 0;
          request.on('data', (chunk: Buffer) => (got += chunk.length)).on('end', () => response.end(String(got)));
          return;
        }
        const chunk = Buffer.alloc(65_536);
        const write = (): void => {
          while (sent < size) {
            sent += chunk.length;
            if (!response.write(chunk)) return void response.once('drain', write);
          }
          response.end();
        };
        write();
      }),
    );
    await serving(route('svc', VIP, [version('v', [server.at])]));
    expect(await call(VIP, { method: 'POST', body: Buffer.alloc(size) })).toMatchObject({ status: 200, body: String(size) });
    const request = http.get({ host: VIP, port: 8080, localAddress: POD_B, agent: false });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    response.pause();
    await delay(500);
    expect(sent).toBeLessThan(size);
    let got = 0;
    for await (const chunk of response) got += (chunk as Buffer).length;
    expect(got).toBe(size);
  });

  it('sends the head of an answer before its body exists', async () => {
    const server = await started(startHttp((_request, response) => response.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders()));
    await serving(route('svc', VIP, [version('v', [server.at])]));
    const request = http.get({ host: VIP, port: 8080, localAddress: POD_B, agent: false });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    expect(response.headers['content-type']).toBe('text/event-stream');
    request.destroy();
  });

  it('keeps connections on both sides', async () => {
    let connections = 0;
    const server = await started(startHttp((_request, response) => response.end('ok')));
    server.server.on('connection', () => connections++);
    await serving(route('svc', VIP, [version('v', [server.at])]));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const sockets = new Set<number | undefined>();
    for (let i = 0; i < 20; i++) {
      const request = http.get({ host: VIP, port: 8080, localAddress: POD_B, agent });
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      sockets.add(response.socket.localPort);
      response.resume();
      await once(response, 'end');
    }
    agent.destroy();
    expect(sockets.size).toBe(1);
    expect(connections).toBe(1);
  });

  it('answers a malformed request with 400 and goes on', async () => {
    await serving(route('svc', VIP, [version('v', [(await named('ok')).at])]));
    expect(await raw('GET / HTTP/1.1\r\nbad header\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
    expect(await raw('\x00\x01\x02\x03\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
    expect(await raw(`GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'a'.repeat(20_000)}\r\n\r\n`)).toMatch(/^HTTP\/1.1 400 /);
    expect(await raw('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
    await raw('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage that is no frame at all, long enough to be read as one');
    await raw('PR', 100);
    expect(await call(VIP)).toMatchObject({ status: 200 });
  });
});

describe('failing servers', () => {
  it('goes to another active server, then to the next tier, when a connect fails; a dead one is passed over', async () => {
    const [alive, backup] = [await named('alive'), await named('backup')];
    const dead = await deadEndpoint();
    await serving(
      route('svc', VIP, [version('v', [dead, alive.at], { algorithm: 'RoundRobin' })]),
      route('far', '127.73.10.3', [version('v', [dead], { backup: [{ ...backup.at, tier: 'zone' }] })]),
    );
    for (let i = 0; i < 10; i++) expect(await call(VIP, { method: i % 2 === 0 ? 'GET' : 'POST', ...(i % 2 === 0 ? {} : { body: 'x' }) })).toMatchObject({ status: 200, body: 'alive' });
    for (let i = 0; i < 10; i++) expect(await call('127.73.10.3')).toMatchObject({ status: 200, body: 'backup' });
  });

  it('loses no call when one of two servers dies under load', async () => {
    const [dying, staying] = [await named('dying'), await named('staying')];
    await serving(route('svc', VIP, [version('v', [dying.at, staying.at])]));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
    const answers = Array.from({ length: 600 }, (_, i) => delay(i).then(() => call(VIP, { agent })));
    await delay(300);
    await dying.close();
    const bodies = new Set((await Promise.all(answers)).map(({ status, body }) => `${status} ${body}`));
    agent.destroy();
    expect([...bodies].sort()).toEqual(['200 dying', '200 staying']);
  });

  it('repeats an idempotent call that got no answer on another server, and a POST only with nonIdempotent', async () => {
    const closing = await started(startTcp((socket) => socket.once('data', () => socket.destroy())));
    const alive = await echo();
    const servers = [version('v', [closing.at], { backup: [alive.at] })];
    const retries = { attempts: 3, on: ['empty-response'] as const, nonIdempotent: false };
    await serving(
      route('svc', VIP, servers, { retries }),
      route('always', '127.73.10.3', servers, { retries: { ...retries, nonIdempotent: true } }),
      route('never', '127.73.10.4', servers, { retries: { ...retries, attempts: 0 } }),
    );
    expect(await call(VIP)).toMatchObject({ status: 200 });
    expect(JSON.parse((await call(VIP, { method: 'PUT', body: 'again' })).body)).toMatchObject({ body: 'again' });
    expect(await call(VIP, { method: 'POST', body: 'once' })).toMatchObject({ status: 502, reason: 'upstream-reset' });
    expect(JSON.parse((await call('127.73.10.3', { method: 'POST', body: 'twice' })).body)).toMatchObject({ body: 'twice' });
    expect(await call('127.73.10.4')).toMatchObject({ status: 502, reason: 'upstream-reset' });
  });

  it('gives up on a silent server after the request timeout, and tries another for response-timeout', async () => {
    const silent = await started(startTcp((socket) => socket.resume()));
    const alive = await named('alive');
    const timeout = { connectMs: 250, requestMs: 300 };
    await serving(
      route('svc', VIP, [version('v', [silent.at])], { timeout, retries: { attempts: 0, on: [], nonIdempotent: false } }),
      route('retry', '127.73.10.3', [version('v', [silent.at], { backup: [alive.at] })], { timeout }),
    );
    expect(await call(VIP)).toMatchObject({ status: 504, reason: 'upstream-timeout' });
    expect(await call('127.73.10.3')).toMatchObject({ status: 200, body: 'alive' });
  });

  it('cuts the answer when the server dies in mid-body', async () => {
    const server = await started(
      startHttp((request, response) => {
        response.writeHead(200, request.url === '/length' ? { 'Content-Length': '100' } : {});
        response.write('part');
        setTimeout(() => response.destroy(), 100);
      }),
    );
    await serving(route('svc', VIP, [version('v', [server.at])]));
    await expect(call(VIP)).rejects.toThrow(/aborted/);
    await expect(call(VIP, { path: '/length' })).rejects.toThrow(/aborted/);
  });

  it('frees the server when the client goes away, before and within the answer', async () => {
    let freed = 0;
    const server = await started(
      startHttp((request, response) => {
        response.on('close', () => freed++);
        if (request.url === '/body') response.write('part');
      }),
    );
    await serving(route('svc', VIP, [version('v', [server.at])]));
    for (const path of ['/', '/body']) {
      const request = http.get({ host: VIP, port: 8080, localAddress: POD_B, agent: false, path });
      request.on('error', () => {});
      if (path === '/body') request.on('response', (response) => response.on('error', () => {}));
      await delay(200);
      request.destroy();
    }
    await expect.poll(() => freed, { timeout: 3_000 }).toBe(2);
  });

  it('passes on an answer that comes before the request was read', async () => {
    // It does not close at once: a close with unread data is a TCP reset, which may overtake the answer.
    const server = await started(startHttp((_request, response) => response.writeHead(413).end('too large')));
    await serving(route('svc', VIP, [version('v', [server.at])]));
    const request = http.request({ host: VIP, port: 8080, localAddress: POD_B, agent: false, method: 'POST' });
    request.on('error', () => {});
    request.write(Buffer.alloc(300_000));
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    expect(response.statusCode).toBe(413);
    request.destroy();
  });
});

describe('balance algorithms', () => {
  it('RoundRobin takes turns, SourceHash and HeaderHash stay with one server, LeastConn avoids the busy one', async () => {
    const servers = await Promise.all(['1', '2', '3'].map((name) => named(name)));
    const active = servers.map(({ at }) => at);
    const busy = await started(startHttp((_request, response) => void setTimeout(() => response.end('busy'), 1_000)));
    await serving(
      route('round', VIP, [version('v', active, { algorithm: 'RoundRobin' })]),
      route('source', '127.73.10.3', [version('v', active, { algorithm: 'SourceHash' })]),
      route('header', '127.73.10.4', [version('v', active, { algorithm: 'HeaderHash', hashHeader: 'X-User' })]),
      route('least', '127.73.10.5', [version('v', [busy.at, ...active.slice(0, 1)])]),
    );
    const bodies = async (vip: string, headers: http.OutgoingHttpHeaders = {}): Promise<string[]> => {
      const found: string[] = [];
      for (let i = 0; i < 9; i++) found.push((await call(vip, { headers })).body);
      return found;
    };
    expect((await bodies(VIP)).sort().join('')).toBe('111222333');
    expect(new Set(await bodies('127.73.10.3')).size).toBe(1);
    expect(new Set(await bodies('127.73.10.4', { 'X-User': 'ann' })).size).toBe(1);
    const users = await Promise.all(Array.from({ length: 30 }, (_, i) => call('127.73.10.4', { headers: { 'X-User': `user-${i}` } })));
    expect(new Set(users.map(({ body }) => body)).size).toBe(3);
    const together = await Promise.all(Array.from({ length: 2 }, () => call('127.73.10.5')));
    expect(together.map(({ body }) => body).sort()).toEqual(['1', 'busy']);
  });
});
