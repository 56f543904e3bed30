import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Worker } from 'node:worker_threads';
import { describe, expect, onTestFinished, test } from 'vitest';
import { buildDnsAccess } from '../../src/dns/access.ts';
import type { Zone } from '../../src/dns/zone.ts';
import { openDnsServer, type DnsServer, type DnsServerOptions } from '../../src/dns/io/open-dns-server.ts';
import type { ListenAddress } from '../../src/dns/io/worker-protocol.ts';
import { eventually, framed, TcpTestClient, UdpClient } from '../support/dns-client.ts';
import { query } from '../support/dns-query.ts';
import { dnsRoute, dnsZone, LOOPBACK_POOL, manyDnsRoutes } from '../support/dns-zone.ts';

/** The server's own life: sockets, threads, hand-over, clients that behave badly. Real sockets throughout. */
const run = promisify(execFile);
const NAME = 'svc1.ns1.route.internal';

async function openServer(over: Partial<DnsServerOptions> = {}): Promise<{ server: DnsServer; at: ListenAddress }> {
  const server = await openDnsServer({
    listen: [{ address: '127.71.1.1', port: 0 }],
    zone: dnsZone(manyDnsRoutes(200)),
    access: buildDnsAccess(LOOPBACK_POOL),
    onFault: (cause) => expect.unreachable(cause.message),
    ...over,
  });
  onTestFinished(() => server.close());
  const [at] = server.addresses();
  if (at === undefined) throw new Error('nothing is bound');
  return { server, at };
}

function udpClient(at: ListenAddress): UdpClient {
  const client = new UdpClient(at);
  onTestFinished(() => client.close());
  return client;
}

/** The server has ended or cut the connection. */
const isCut = (client: TcpTestClient | undefined): boolean => client?.closed === true || client?.socket.readableEnded === true;

async function tcpClient(at: ListenAddress): Promise<TcpTestClient> {
  const client = await TcpTestClient.open(at);
  onTestFinished(() => void client.socket.destroy());
  return client;
}

describe('binding', () => {
  test('port 0 gives UDP and TCP the same port', async () => {
    const { at } = await openServer();
    expect(at.port).toBeGreaterThan(0);
    expect((await udpClient(at).ask(NAME, 'A'))?.answers).toHaveLength(1);
    const client = await tcpClient(at);
    client.socket.write(framed(query(NAME, 'A')));
    expect(await eventually(() => client.messages().length === 1)).toBe(true);
  });

  test('not before the zone to begin with is there, and with that one', async () => {
    const begin = Promise.withResolvers<Zone>();
    const { port } = (await openServer()).at;
    const at = { address: '127.71.1.6', port };
    const opening = openServer({ listen: [at], zone: dnsZone(manyDnsRoutes(1)), begin: begin.promise });
    await delay(300);
    expect(await udpClient(at).ask('svc0.ns0.route.internal', 'A', {}, 200)).toBeUndefined();
    begin.resolve(dnsZone(manyDnsRoutes(200)));
    await opening;
    expect((await udpClient(at).ask(NAME, 'A'))?.answers).toHaveLength(1);
  });

  test('never, when nobody wants it any more', async () => {
    const begin = Promise.withResolvers<Zone>();
    const opening = openServer({ begin: begin.promise });
    begin.reject(new Error('closed'));
    await expect(opening).rejects.toThrow('closed');
  });

  test('a UDP port taken by a program that does not share it', async () => {
    const other = createSocket('udp4').bind(7160, '127.71.1.2');
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    const opening = openServer({ listen: [{ address: '127.71.1.2', port: 7160 }] });
    await expect(opening).rejects.toMatchObject({ code: 'EADDRINUSE', message: expect.stringMatching(/udp 127\.71\.1\.2:7160.*--dns-listen/) as string });
  });

  test('a TCP port taken, also by a wildcard listener', async () => {
    const other = createServer().listen(7161, '0.0.0.0');
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    const opening = openServer({ listen: [{ address: '127.71.1.2', port: 7161 }] });
    await expect(opening).rejects.toMatchObject({ code: 'EADDRINUSE', message: expect.stringContaining('tcp 127.71.1.2:7161') as string });
  });

  test('an address that is not of this machine, and nothing of the others stays bound', async () => {
    const listen = [{ address: '127.71.1.3', port: 7162 }, { address: '192.0.2.1', port: 7162 }];
    await expect(openServer({ listen })).rejects.toMatchObject({ code: 'EADDRNOTAVAIL', message: expect.stringContaining('ip route replace local') as string });
    const free = createSocket('udp4').bind(7162, '127.71.1.3');
    await once(free, 'listening');
    free.close();
  });
});

describe('updates', () => {
  test('are in effect when they resolve; the newest of several wins', async () => {
    const { server, at } = await openServer();
    const client = udpClient(at);
    await server.update(dnsZone([...manyDnsRoutes(200), dnsRoute({ namespace: 'new', name: 'x', vip: '127.77.40.1' })]));
    expect((await client.ask('x.new.route.internal', 'A'))?.answers).toMatchObject([{ data: '127.77.40.1' }]);
    await Promise.all([1, 2, 3].map((i) => server.update(dnsZone([dnsRoute({ namespace: 'new', name: 'x', vip: `127.77.40.${i}` })]))));
    expect((await client.ask('x.new.route.internal', 'A'))?.answers).toMatchObject([{ data: '127.77.40.3' }]);
    expect((await client.ask(NAME, 'A'))?.rcode).toBe('NXDOMAIN');
  });

  test('a thread that dies comes back on the same port with the newest zone', async () => {
    const workers: Worker[] = [];
    const remember = (worker: Worker): void => void workers.push(worker);
    process.on('worker', remember);
    onTestFinished(() => void process.off('worker', remember));
    const faults: string[] = [];
    const { server, at } = await openServer({ onFault: (cause) => faults.push(cause.message) });
    const client = udpClient(at);
    await workers[0]?.terminate();
    await server.update(dnsZone([dnsRoute({ namespace: 'new', name: 'x', vip: '127.77.40.1' })]));
    expect((await client.ask('x.new.route.internal', 'A'))?.answers).toMatchObject([{ data: '127.77.40.1' }]);
    expect(server.addresses()).toEqual([at]);
    expect(faults).toEqual([expect.stringContaining('is restarted')]);
    expect(workers).toHaveLength(2);
  });
});

describe('hand-over', () => {
  test('no query is lost while one server after another takes the port', async () => {
    const listen = [{ address: '127.71.1.4', port: 7163 }];
    let { server } = await openServer({ listen });
    const clients = Array.from({ length: 16 }, () => udpClient({ address: '127.71.1.4', port: 7163 }));
    let sent = 0;
    const sending = setInterval(() => {
      for (const client of clients.slice(0, 4)) client.send(query(NAME, 'A', { id: sent++ & 0xffff }));
      clients.push(...clients.splice(0, 4));
    }, 2);
    for (let generation = 0; generation < 4; generation++) {
      await delay(150);
      const next = await openServer({ listen });
      await server.close();
      ({ server } = next);
    }
    clearInterval(sending);
    expect(sent).toBeGreaterThan(500);
    const answered = (): number => clients.reduce((sum, client) => sum + client.answers.length, 0);
    expect(await eventually(() => answered() === sent)).toBe(true);
  });

  test('close answers what TCP clients have asked, then lets go of the port', async () => {
    const { server, at } = await openServer();
    const client = await tcpClient(at);
    client.socket.write(Buffer.concat(Array.from({ length: 500 }, (_, id) => framed(query(NAME, 'A', { id })))));
    expect(await eventually(() => client.messages().length > 0)).toBe(true);
    await server.close();
    expect(await eventually(() => client.messages().length === 500)).toBe(true);
    const free = createServer().listen(at.port, at.address);
    await once(free, 'listening');
    free.close();
  });
});

describe('TCP clients', () => {
  test('a pipeline of many queries is answered in order, however it is cut', async () => {
    const { at } = await openServer();
    const client = await tcpClient(at);
    const names = Array.from({ length: 1000 }, (_, i) => `svc${i % 200}.ns${(i % 200) % 10}.route.internal`);
    const bytes = Buffer.concat(names.map((name, id) => framed(query(name, 'A', { id }))));
    for (let at = 0; at < bytes.length; at += 997) {
      client.socket.write(bytes.subarray(at, at + 997));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await eventually(() => client.messages().length === 1000)).toBe(true);
    expect(client.messages().map((answer) => [answer.id, answer.questions?.[0]?.name])).toEqual(names.map((name, id) => [id, name]));
  });

  test('a client that says no more still gets every answer, then the end', async () => {
    const { at } = await openServer();
    const client = await tcpClient(at);
    client.socket.end(Buffer.concat(Array.from({ length: 300 }, (_, id) => framed(query(NAME, 'TXT', { id })))));
    expect(await eventually(() => client.messages().length === 300 && client.closed)).toBe(true);
  });

  test('a message above 4 KB is refused from its header alone', async () => {
    const { at } = await openServer();
    const client = await tcpClient(at);
    client.socket.write(Buffer.concat([Buffer.from([0xff, 0xff]), query(NAME, 'A', { id: 77 })]));
    expect(await eventually(() => isCut(client))).toBe(true);
    expect(client.messages()).toMatchObject([{ id: 77, rcode: 'FORMERR' }]);
  });

  test('a 64 KB message of pointers costs nothing', async () => {
    const { at } = await openServer();
    const client = await tcpClient(at);
    const header = query(NAME, 'A').subarray(0, 12);
    client.socket.write(framed(Buffer.concat([header, Buffer.alloc(65_000, Buffer.from([0xc0, 12]))])));
    expect(await eventually(() => isCut(client))).toBe(true);
    expect((await udpClient(at).ask(NAME, 'A', {}, 1000))?.answers).toHaveLength(1);
  });

  test('an answer, or less than a header, ends the connection', async () => {
    const { at } = await openServer();
    const answer = query(NAME, 'A');
    answer[2] = 0x80;
    for (const bytes of [answer, Buffer.alloc(3), Buffer.alloc(0)]) {
      const client = await tcpClient(at);
      client.socket.write(framed(bytes));
      expect(await eventually(() => isCut(client))).toBe(true);
      expect(client.received).toHaveLength(0);
    }
  });

  test('a message that never ends is given up after five seconds, a silent client after ten', { timeout: 60_000 }, async () => {
    const { server, at } = await openServer();
    const [half, silent, busy] = [await tcpClient(at), await tcpClient(at), await tcpClient(at)];
    half.socket.write(Buffer.from([0, 50, 1]));
    const trickle = setInterval(() => half.socket.write('x'), 700);
    const asking = setInterval(() => busy.socket.write(framed(query(NAME, 'A'))), 500);
    expect(await eventually(() => isCut(half), 20_000)).toBe(true);
    clearInterval(trickle);
    expect(await eventually(() => isCut(silent), 20_000)).toBe(true);
    clearInterval(asking);
    expect(isCut(busy)).toBe(false);
    expect(await eventually(async () => (await server.counters()).tcpClients === 1)).toBe(true);
  });

  test('at the limit the longest idle client makes room', async () => {
    const { server, at } = await openServer({ maxTcpClients: 1000 });
    const clients: TcpTestClient[] = [];
    for (let i = 0; i < 1000; i++) clients.push(await tcpClient(at));
    const [first, second] = clients;
    first?.socket.write(framed(query(NAME, 'A')));
    expect(await eventually(() => first?.messages().length === 1)).toBe(true);
    for (let i = 0; i < 100; i++) clients.push(await tcpClient(at));
    const last = clients.at(-1);
    last?.socket.write(framed(query(NAME, 'A')));
    expect(await eventually(() => last?.messages().length === 1)).toBe(true);
    expect(await eventually(() => isCut(second))).toBe(true);
    expect(isCut(first)).toBe(false);
    expect((await server.counters()).tcpClients).toBe(1000);
  });

  test('a client that reads nothing is not read either, and the others do not notice', async () => {
    const { at } = await openServer();
    const deaf = await tcpClient(at);
    deaf.socket.pause();
    // More than the kernel's buffers of both ends hold (some 10 MB): the rest stays with the client.
    deaf.socket.write(Buffer.concat(Array.from({ length: 500_000 }, () => framed(query(NAME, 'A')))));
    expect(await eventually(() => deaf.socket.writableLength === 0, 6000)).toBe(false);
    expect((await udpClient(at).ask(NAME, 'A'))?.answers).toHaveLength(1);
  });

  test('nor one that reads no zone transfer', async () => {
    const { at } = await openServer({ zone: dnsZone(manyDnsRoutes(2000)) });
    const deaf = await tcpClient(at);
    deaf.socket.pause();
    deaf.socket.write(Buffer.concat(Array.from({ length: 500 }, () => framed(query('route.internal', 'AXFR')))));
    await delay(500);
    expect((await udpClient(at).ask(NAME, 'A'))?.answers).toHaveLength(1);
    deaf.socket.resume();
    expect(await eventually(() => deaf.received.length > 4 * 1024 * 1024)).toBe(true);
  });
});

test.skipIf(process.getuid?.() !== 0)('a packet from source port 0 gets no answer and does no harm', async () => {
  const { server, at } = await openServer();
  const payload = query(NAME, 'A').toString('hex');
  const script = `import socket,struct
p=bytes.fromhex('${payload}')
s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_UDP)
s.sendto(struct.pack('!HHHH',0,${at.port},8+len(p),0)+p,('${at.address}',0))`;
  await run('python3', ['-c', script]);
  expect(await eventually(async () => (await server.counters()).dropped === 1)).toBe(true);
  expect((await udpClient(at).ask(NAME, 'A'))?.answers).toHaveLength(1);
});
