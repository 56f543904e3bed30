import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { readFdLimits } from '../../src/node/io/fd-limits.ts';
import { checkListeners, whoListens } from '../../src/node/io/ports.ts';

const children: ChildProcess[] = [];

/** A program of its own that listens. */
async function listen(address: string, port: number, how: { v6Only?: boolean } = {}): Promise<number> {
  const program = `process.title = 'another-name';
    require('net').createServer().listen({ host: '${address}', port: ${port}, ipv6Only: ${how.v6Only ?? false} }, () => console.log('up'));`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout, 'data');
  return child.pid ?? 0;
}

afterEach(async () => {
  for (const child of children.splice(0)) {
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }
});

const check = (address: string, port: number, options: Parameters<typeof checkListeners>[1] = { ownListeners: new Set() }) =>
  checkListeners([{ address, port }], options);

test('a free port can be opened, again and again', async () => {
  for (let i = 0; i < 3; i++) expect(await check('127.74.1.1', 8974)).toEqual(new Map());
});

test('a port taken on the very address: who holds it', async () => {
  const pid = await listen('127.74.1.2', 8975);
  expect(await check('127.74.1.2', 8975)).toEqual(
    new Map([
      [
        '127.74.1.2:8975',
        {
          code: 'port-taken',
          detail: `port 8975 on 127.74.1.2 is taken by node (pid ${pid})`,
          remedy: 'stop that program or bind it to its own address, or choose another port in spec.port.listen',
          pid,
          program: 'node',
          uid: process.getuid?.(),
        },
      ],
    ]),
  );
  expect(await check('127.74.1.3', 8975)).toEqual(new Map());
});

test.each([
  ['0.0.0.0', false, true],
  ['::', false, true],
  ['::', true, false],
])('a listener on %s (IPv6 only: %s) is in the way: %s', async (address, v6Only, inTheWay) => {
  const pid = await listen(address, 8976, { v6Only });
  const failures = await check('127.74.1.4', 8976);
  expect([...failures.values()].map((failure) => failure.detail)).toEqual(
    inTheWay ? [`port 8976 on 127.74.1.4 is taken by node (pid ${pid}), which listens on all addresses`] : [],
  );
});

test('what our own proxy or a sibling holds passes; by uid where it is given', async () => {
  await listen('127.74.1.5', 8977);
  const key = new Set(['127.74.1.5:8977']);
  const uid = process.getuid?.() ?? 0;
  expect(await check('127.74.1.5', 8977, { ownListeners: key })).toEqual(new Map());
  expect(await check('127.74.1.5', 8977, { ownListeners: new Set(), siblings: key, haproxyUid: uid })).toEqual(new Map());
  expect((await check('127.74.1.5', 8977, { ownListeners: key, haproxyUid: uid + 1 })).get('127.74.1.5:8977')).toMatchObject({ code: 'port-taken' });
});

test('our own listener that is gone does not hide who took its place', async () => {
  await listen('0.0.0.0', 8978);
  expect((await check('127.74.1.6', 8978, { ownListeners: new Set(['127.74.1.6:8978']) })).get('127.74.1.6:8978')).toMatchObject({ code: 'port-taken' });
});

test('an address that this node does not have', async () => {
  expect((await check('192.0.2.1', 8979)).get('192.0.2.1:8979')).toMatchObject({ code: 'port-unavailable', detail: expect.stringContaining('192.0.2.1 is not an address of this node') });
  expect((await check('2001:db8::1', 8979)).get('[2001:db8::1]:8979')).toMatchObject({ code: 'port-unavailable' });
});

test('whoListens names every program on a port', async () => {
  const first = await listen('127.74.1.7', 8980);
  const second = await listen('127.74.1.8', 8980);
  const pids = async (address?: string) => (await whoListens(8980, address)).map((each) => each.owner?.pid);
  expect(new Set(await pids())).toEqual(new Set([first, second]));
  expect(await pids('127.74.1.8')).toEqual([second]);
});

test('2,000 listeners are checked in one batch, the one that is taken is found', async () => {
  await listen('127.74.23.7', 8981);
  const wanted = Array.from({ length: 2_000 }, (_, i) => ({ address: `127.74.${16 + Math.floor(i / 250)}.${(i % 250) + 1}`, port: 8981 }));
  const started = performance.now();
  const failures = await checkListeners(wanted, { ownListeners: new Set() });
  expect([...failures.keys()]).toEqual(['127.74.23.7:8981']);
  expect(performance.now() - started).toBeLessThan(3_000); // 0.1 s on a quiet machine
});

test('the limits of open files can be read', async () => {
  expect((await readFdLimits())?.soft).toBeGreaterThan(0);
});
