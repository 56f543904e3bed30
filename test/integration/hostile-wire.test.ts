import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HTTP2_ATTACKS, WIRE_ATTACKS } from '../support/hostile/wire-attacks.ts';
import { podObject, routeObject, serviceObject, sliceObject } from '../support/isolation/world.ts';
import { AgentProcess } from '../support/scenes/agent-process.ts';

/** A server that keeps every byte it gets, and answers each request head with its path, whatever stands in it. */
class RecordingServer {
  received = '';
  readonly #server = net.createServer((socket) => {
    socket.on('error', () => {});
    let waiting = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.received += text;
      waiting += text;
      for (let end = waiting.indexOf('\r\n\r\n'); end >= 0; end = waiting.indexOf('\r\n\r\n')) {
        const path = /^[A-Za-z]+ (\S+) HTTP\/1/.exec(waiting)?.[1];
        waiting = waiting.slice(end + 4);
        if (path === undefined) continue;
        const body = path.slice(0, 40);
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nX-Onehop-Reason: forged\r\n\r\n${body}`);
      }
    });
  });

  async open(address: string): Promise<void> {
    await once(this.#server.listen(8080, address), 'listening');
  }

  close(): void {
    this.#server.close();
  }
}

const QUIET_MS = 150;
const PATIENCE_MS = 5_000;

/** Sends the bytes and gives back all that came until the other side closes, or answered and is quiet. */
async function send(from: string, host: string, port: number, bytes: Buffer): Promise<string> {
  const socket = net.connect({ host, port, localAddress: from });
  let got = '';
  let last = performance.now();
  socket.on('error', () => {});
  socket.setEncoding('latin1').on('data', (text: string) => {
    got += text;
    last = performance.now();
  });
  socket.write(bytes);
  const begun = performance.now();
  const waiting = (): boolean => performance.now() - begun < PATIENCE_MS && (got === '' || performance.now() - last < QUIET_MS);
  while (!socket.closed && waiting()) await sleep(10);
  socket.destroy();
  return got;
}

/** What is wrong with the bytes that a server got from us. */
function findTricks(received: string, caller: string): readonly string[] {
  const tricks: string[] = [];
  if (/\r(?!\n)|(?<!\r)\n/.test(received)) tricks.push('a bare line break');
  for (const head of received.match(/(?:^|\r\n\r\n)[A-Za-z]+ \S+ HTTP\/1\.[01]\r\n(?:[^\r]+\r\n)*/g) ?? []) {
    const lines = head.trimStart().split('\r\n').slice(1, -1).map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()] as const);
    const values = (name: string): readonly string[] => lines.filter(([key]) => key === name).map(([, value]) => value);
    if (values('x-forwarded-for').join() !== caller) tricks.push(`x-forwarded-for: ${values('x-forwarded-for').join(' and ')}`);
    if (values('host').length > 1) tricks.push('two hosts');
    if (values('content-length').length + values('transfer-encoding').length > 1) tricks.push('two lengths');
    for (const [name, value] of lines) {
      if (/^x[-_]onehop[-_]/.test(name)) tricks.push(`${name} came through`);
      if (/[-_]forwarded[-_]for$/.test(name) && name !== 'x-forwarded-for') tricks.push(`${name} came through`);
      if (name === 'connection' && !/^(?:keep-alive|close|upgrade)$/i.test(value)) tricks.push(`connection: ${value}`);
      if (name === 'upgrade' && /h2c/i.test(value)) tricks.push('h2c came through');
      if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) tricks.push(`a name like ${JSON.stringify(name)}`);
    }
  }
  return tricks;
}

describe.each([
  ['haproxy' as const, '127.72.84.0/22', '127.88.94'],
  ['embedded' as const, '127.73.84.0/22', '127.88.95'],
])('hostile bytes from a caller, %s', (proxy, pool, pods) => {
  const attacker = `${pods}.5`;
  const neighbour = `${pods}.6`;
  const server = new RecordingServer();
  let agent: AgentProcess;
  let vip = '';

  beforeAll(async () => {
    await server.open(`${pods}.100`);
    agent = await AgentProcess.prepare(proxy, pool);
    const objects = [
      serviceObject('a', 'server', undefined),
      sliceObject('a', 'server', `${pods}.100`),
      routeObject({ namespace: 'a', name: 'shop', public: false, protocol: 'http', defaultAllow: true, entries: [] }),
      podObject({ namespace: 'a', name: 'attacker', serviceAccount: 's', address: attacker }),
      podObject({ namespace: 'a', name: 'neighbour', serviceAccount: 's', address: neighbour }),
    ];
    await agent.writeFile('world.yaml', objects.map((object) => JSON.stringify(object)).join('\n---\n'));
    await agent.start();
    vip = (await agent.routes()).routes[0]?.vip ?? '';
  }, 90_000);
  afterAll(async () => {
    await agent.end();
    await agent.remove();
    server.close();
  }, 60_000);

  const attacks: readonly (readonly [string, Buffer])[] = [
    ...Object.entries(WIRE_ATTACKS).map(([name, text]) => [name, Buffer.from(text, 'latin1')] as const),
    ...Object.entries(HTTP2_ATTACKS).map(([name, bytes]) => [`HTTP/2: ${name}`, bytes] as const),
  ];

  it.each(attacks)('%s: one meaning for all, and the next caller gets its own answer', async (_, bytes) => {
    server.received = '';
    const answer = await send(attacker, vip, 8080, bytes);
    const { received } = server;
    expect(findTricks(received, attacker)).toEqual([]);
    // A body may look like a request; the head of one never reaches the server as such.
    expect(received.replace(/content-length: \d+\r\n(?:[^\r]+\r\n)*\r\n[^]*/i, '')).not.toContain('/smuggled');
    expect(answer).not.toContain('forged');
    expect(answer.match(/HTTP\/1\.1 [2345]\d\d/g)?.length ?? 0).toBeLessThanOrEqual(1);
    // Whoever shares a server connection with the attack would get the answer to what was smuggled.
    for (const path of ['/one', '/two']) {
      const own = await send(neighbour, vip, 8080, Buffer.from(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`));
      expect(own.slice(own.indexOf('\r\n\r\n') + 4)).toBe(path);
    }
  });

  it('says nothing of an attack in its log that steers a terminal or forges a line', () => {
    expect(agent.log).not.toMatch(/[^\n\x20-\x7e]|owned|smuggled/);
  });
});
