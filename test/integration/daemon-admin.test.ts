import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openAdminServer } from '../../src/daemon/io/admin-server.ts';
import type { AdminServer, AdminServerOptions } from '../../src/daemon/io/admin-server.ts';
import { Metrics } from '../../src/daemon/metrics.ts';
import { Readiness } from '../../src/daemon/readiness.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';

const run = promisify(execFile);
const HOST = ['--interface', '127.74.0.1'];
const POD = ['--interface', '127.88.74.1'];
const NODE = 'http://127.74.9.1:8974';

let folder = '';
let server: AdminServer;
let errors: string[];
const readiness = new Readiness({ proxy: 'HAProxy starts' });

/** What curl prints: body, then the status on a line of its own. */
async function curl(...args: readonly string[]): Promise<{ body: string; status: number }> {
  const { stdout } = await run('curl', ['-s', '-m', '10', '-w', '\n%{http_code}', ...args]);
  const split = stdout.lastIndexOf('\n');
  return { body: stdout.slice(0, split), status: Number(stdout.slice(split + 1)) };
}

function optionsIn(place: string): AdminServerOptions {
  return {
    listen: { address: '127.74.9.1', port: 8974 },
    pool: parseVipPool('127.74.0.0/20'),
    socketPath: join(place, 'admin.sock'),
    ownAddresses: () => [],
    readiness,
    metrics: new Metrics(),
    routes: {
      '/routes': { access: 'host', handler: () => ({ contentType: 'application/json', body: '{"routes":[]}\n' }) },
      '/explain': { access: 'host', handler: ({ query }) => ({ body: `url ${query.get('url')}\n` }) },
      '/version': { access: 'anyone', handler: () => ({ body: '1\n' }) },
      '/release': { access: 'host', method: 'POST', handler: ({ body }) => ({ status: 202, body: `${body.length}\n` }) },
      '/hold': { access: 'socket', method: 'POST', handler: ({ body }) => ({ body: `held ${body}\n` }) },
      '/broken': { access: 'host', handler: () => Promise.reject(new Error('secret')) },
    },
    onError: (path, error) => errors.push(`${path}: ${String(error)}`),
  };
}

beforeEach(async () => {
  errors = [];
  folder = await mkdtemp(join(tmpdir(), 'onehop-admin-'));
  server = await openAdminServer(optionsIn(folder));
});

afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

describe('access', () => {
  test('anyone gets health, readiness and metrics, on the node address and on .11', async () => {
    expect(server.listeners).toEqual(['127.74.9.1:8974', '127.74.0.11:8974']);
    for (const base of [NODE, 'http://127.74.0.11:8974']) {
      expect(await curl(...POD, `${base}/healthz`)).toEqual({ body: 'ok\n', status: 200 });
      expect(await curl(...POD, `${base}/readyz`)).toEqual({ body: 'proxy: HAProxy starts\n', status: 503 });
      expect((await curl(...POD, `${base}/metrics`)).body).toContain('# TYPE onehop_metrics_left_out gauge');
      expect((await curl(...POD, `${base}/version`)).status).toBe(200);
    }
  });

  test('everything else answers callers of this node only', async () => {
    expect(await curl(...HOST, `${NODE}/routes`)).toEqual({ body: '{"routes":[]}\n', status: 200 });
    expect(await curl(...HOST, `${NODE}/explain?url=http%3A%2F%2Fa%2F`)).toEqual({ body: 'url http://a/\n', status: 200 });
    for (const path of ['/routes', '/explain', '/release', '/nothing', '/']) {
      expect(await curl(...POD, `${NODE}${path}`)).toEqual({ body: `${path} answers only callers on this node outside any pod\n`, status: 403 });
    }
    expect((await curl(...HOST, `${NODE}/nothing`)).status).toBe(404);
    expect((await curl(...HOST, '--path-as-is', `${NODE}/__proto__`)).status).toBe(404);
  });

  test('what the socket alone may do is forbidden to every caller over TCP', async () => {
    expect(await curl(...POD, '-d', 'x', `${NODE}/hold`)).toEqual({ body: '/hold answers only callers on this node outside any pod\n', status: 403 });
    expect(await curl(...HOST, '-d', 'x', `${NODE}/hold`)).toEqual({ body: '/hold answers only over admin.sock in the run folder of the agent\n', status: 403 });
    expect(await curl('--unix-socket', join(folder, 'admin.sock'), '-d', 'x', 'http://admin/hold')).toEqual({ body: 'held x\n', status: 200 });
  });

  test('the socket belongs to its owner alone and answers as the host', async () => {
    const socket = join(folder, 'admin.sock');
    expect((await stat(socket)).mode & 0o777).toBe(0o600);
    expect(await curl('--unix-socket', socket, 'http://admin/routes')).toEqual({ body: '{"routes":[]}\n', status: 200 });
  });
});

describe('requests', () => {
  test('readiness follows its tasks', async () => {
    readiness.done('proxy');
    expect(await curl(...POD, `${NODE}/readyz`)).toEqual({ body: 'ready\n', status: 200 });
    readiness.pending('proxy', 'HAProxy starts');
  });

  test('HEAD has the headers of GET and no body; other methods are refused', async () => {
    const { stdout } = await run('curl', ['-sI', ...HOST, `${NODE}/routes`]);
    expect(stdout).toMatch(/^HTTP\/1.1 200 OK\r\ncontent-type: application\/json\r\ncontent-length: 14\r\n/);
    expect(await curl(...HOST, '-X', 'DELETE', `${NODE}/routes`)).toEqual({ body: 'use GET\n', status: 405 });
    expect(await curl(...HOST, `${NODE}/release`)).toEqual({ body: 'use POST\n', status: 405 });
  });

  test('a body is bounded', async () => {
    const [small, large] = [join(folder, 'small'), join(folder, 'large')];
    await writeFile(small, 'x'.repeat(65_536));
    await writeFile(large, 'x'.repeat(65_537));
    expect(await curl(...HOST, '--data-binary', `@${small}`, `${NODE}/release`)).toEqual({ body: '65536\n', status: 202 });
    expect((await curl(...HOST, '--data-binary', `@${large}`, `${NODE}/release`)).status).toBe(413);
  });

  test('an error in a handler is one 500 that does not tell, and is reported', async () => {
    expect(await curl(...HOST, `${NODE}/broken`)).toEqual({ body: 'internal error; see the log of the agent\n', status: 500 });
    expect(errors).toEqual(['/broken: Error: secret']);
  });

  test('a header that is too long is refused, and an odd target does no harm', async () => {
    expect((await curl(...HOST, '-H', `X: ${'x'.repeat(9_000)}`, `${NODE}/healthz`)).status).toBe(431);
    expect((await curl(...HOST, '--request-target', 'http://[::bad/x', `${NODE}/`)).status).toBe(404);
    expect((await curl(...HOST, `${NODE}/healthz`)).status).toBe(200);
  });
});

test('a client that never finishes its request is cut off, and others are served meanwhile', async () => {
  const slow = connect(8974, '127.74.9.1');
  slow.write('GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ');
  expect((await curl(...HOST, `${NODE}/healthz`)).status).toBe(200);
  const chunks: Buffer[] = [];
  for await (const chunk of slow as AsyncIterable<Buffer>) chunks.push(chunk);
  expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1.1 408 /);
});

describe('opening', () => {
  test('a second generation shares the ports and has its own socket', async () => {
    const other = await mkdtemp(join(tmpdir(), 'onehop-admin-'));
    const second = await openAdminServer(optionsIn(other));
    await second.close();
    await rm(other, { recursive: true });
    expect((await curl(...HOST, `${NODE}/healthz`)).status).toBe(200);
  });

  test('a run folder in use is refused and its owner goes on', async () => {
    await expect(openAdminServer({ ...optionsIn(folder), listen: { address: '127.74.9.2', port: 8974 } })).rejects.toMatchObject({ code: 'run-dir-in-use' });
    expect((await curl('--unix-socket', join(folder, 'admin.sock'), 'http://admin/healthz')).status).toBe(200);
  });

  test('the socket left by a killed agent is replaced', async () => {
    const other = await mkdtemp(join(tmpdir(), 'onehop-admin-'));
    await run(process.execPath, ['-e', `require('net').createServer().listen(${JSON.stringify(join(other, 'admin.sock'))}, () => process.kill(process.pid, 'SIGKILL'))`]).catch(() => {});
    const second = await openAdminServer({ ...optionsIn(other), listen: { address: '127.74.9.3', port: 8974 } });
    expect((await curl('--unix-socket', join(other, 'admin.sock'), 'http://admin/healthz')).status).toBe(200);
    await second.close();
    await rm(other, { recursive: true });
  });

  test('a port taken by another program names the remedy; an address that is not ours too', async () => {
    const other = await mkdtemp(join(tmpdir(), 'onehop-admin-'));
    const taken = createServer().listen(8975, '127.74.9.4');
    await new Promise((resolve) => taken.once('listening', resolve));
    const open = (address: string, port: number) => openAdminServer({ ...optionsIn(other), listen: { address, port } });
    await expect(open('127.74.9.4', 8975)).rejects.toMatchObject({ code: 'admin-port-taken', exitCode: 3, remedy: expect.stringContaining('--admin-listen') });
    await expect(open('192.0.2.1', 8975)).rejects.toMatchObject({ code: 'admin-address' });
    taken.close();
    await rm(other, { recursive: true });
  });

  test('a pool that is not local yet is a warning', async () => {
    const other = await mkdtemp(join(tmpdir(), 'onehop-admin-'));
    const second = await openAdminServer({ ...optionsIn(other), listen: { address: '127.74.9.5', port: 8974 }, pool: parseVipPool('192.0.0.0/22') });
    expect(second.warnings).toEqual([expect.stringMatching(/^admin server not on 192\.0\.0\.11:8974: /)]);
    await second.close();
    await rm(other, { recursive: true });
  });
});
