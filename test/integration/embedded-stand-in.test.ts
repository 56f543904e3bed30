import { once } from 'node:events';
import net from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { openEmbeddedProxy, type EmbeddedProxy } from '../../src/embedded/io/open-embedded-proxy.ts';
import { POD_B, STRANGER, call, route, startHttp, startTcp, table, version, type Running } from '../support/embedded-world.ts';

/** What the embedded proxy does as a stand-in, without any HAProxy. */
const VIP = '127.93.20.1';
const LINE = '127.93.20.2';
const running: Running[] = [];
const proxies: EmbeddedProxy[] = [];
const sockets: net.Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const proxy of proxies.splice(0)) await proxy.close({ drainMs: 0 });
  for (const one of running.splice(0)) await one.close();
});

async function standIn(): Promise<EmbeddedProxy> {
  const web = await startHttp((request, response) => response.end(`for ${String(request.headers['x-forwarded-for'])}`));
  const line = await startTcp((socket) => void socket.pipe(socket));
  running.push(web, line);
  const proxy = await openEmbeddedProxy({ givesWay: true });
  proxies.push(proxy);
  expect(await proxy.apply(table([route('web', VIP, [version('a', [web.at])]), route('line', LINE, [version('a', [line.at])], { protocol: 'tcp' })]))).toEqual([]);
  return proxy;
}

/** A connection that has heard something. */
async function open(host: string, text: string) {
  const socket = net.connect({ host, port: 8080, localAddress: POD_B }).on('error', () => undefined);
  sockets.push(socket);
  let heard = '';
  socket.setEncoding('utf8').on('data', (more: string) => (heard += more));
  const say = async (): Promise<string> => {
    heard = '';
    socket.write(text);
    await vi.waitFor(() => expect(heard).not.toBe(''), { timeout: 10_000 });
    return heard;
  };
  await once(socket, 'connect');
  await say();
  return { socket, say };
}

it('callers are known by their IPv4 address, and listeners by theirs', async () => {
  const proxy = await standIn();
  expect([...proxy.listeners()].sort()).toEqual([`${VIP}:8080`, `${LINE}:8080`]);
  expect(await call(VIP, { from: POD_B })).toMatchObject({ status: 200, body: `for ${POD_B}` });
  expect(await call(VIP, { from: STRANGER })).toMatchObject({ status: 403 });
});

it('another listener on the same address gets all new connections, until it ends', async () => {
  await standIn();
  const other = net.createServer((socket) => {
    socket.on('error', () => undefined).on('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nother'));
  });
  other.listen({ host: VIP, port: 8080, reusePort: true, exclusive: true });
  await once(other, 'listening');
  const bodies = new Set<string>();
  for (let i = 0; i < 40; i++) bodies.add((await call(VIP, { from: POD_B })).body);
  expect([...bodies]).toEqual(['other']);
  other.close();
  await once(other, 'close');
  expect(await call(VIP, { from: POD_B })).toMatchObject({ body: `for ${POD_B}` });
});

describe('close', () => {
  it('keeps connections without a call until the answer to their next one', async () => {
    const proxy = await standIn();
    const quiet = await open(VIP, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    const closed = proxy.close({ drainMs: 60_000, idle: 'keep' });
    await vi.waitFor(() => expect(call(VIP, { from: POD_B })).rejects.toThrow(/ECONNREFUSED/), { timeout: 10_000 });
    expect(await quiet.say()).toMatch(/^HTTP\/1.1 200 [^]*connection: close/i);
    await closed;
    expect(proxy.listeners()).toEqual(new Set());
  });

  it('asked again cuts what the first left', async () => {
    const proxy = await standIn();
    const line = await open(LINE, 'hello');
    const cut = once(line.socket, 'close');
    const first = proxy.close({ drainMs: 60_000, idle: 'keep' });
    await vi.waitFor(() => expect(call(VIP, { from: POD_B })).rejects.toThrow(/ECONNREFUSED/), { timeout: 10_000 });
    expect(await line.say()).toBe('hello');
    await proxy.close({ drainMs: 0 });
    await cut;
    await first;
  });
});
