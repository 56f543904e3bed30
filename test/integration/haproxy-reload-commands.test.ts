import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import process from 'node:process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { askCli } from '../../src/haproxy/io/cli-socket.ts';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import { AT_ONCE } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';
import { TURN_MS } from '../support/scenes/describe-scenes.ts';
import { takeTurn } from '../support/scenes/take-turns.ts';
import { until } from '../support/wire.ts';

const BREAKER = { threshold: 3, windowSeconds: 60, breakTimeSeconds: 60, connLimit: 0 };

let runDir: string;
let proxy: HaproxyProxy;
let giveBack = async (): Promise<void> => {};

const serve = (protocol: 'http' | 'tcp') =>
  proxy.apply(aTable([aRoute('cart', { vip: '127.72.41.1', listen: 8080, protocol, versions: [aVersion('cart-a', [anEndpoint('127.88.41.100', 9101)], { breaker: BREAKER })] })], [aCaller('127.88.41.1')]));

beforeAll(async () => {
  giveBack = await takeTurn('127.88.41.255');
  runDir = await mkdtemp(join(tmpdir(), 'onehop-reload-commands-'));
  proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5, threads: 2 });
  await serve('http');
}, TURN_MS);
afterAll(async () => {
  await proxy.close({ drainMs: 200, leaveRunning: false });
  await rm(runDir, { recursive: true, force: true });
  await giveBack();
});

it('no command follows a reload before the old worker has closed the socket that it shares with the new one', async () => {
  await proxy.setBreaker({ namespace: 'shop', route: 'cart', version: 0 }, 'open');
  const { pid: master, workerPid: old = 0 } = proxy.status();
  const workers = (): number => readFileSync(`/proc/${master}/task/${master}/children`, 'latin1').split(' ').filter((pid) => pid !== '').length;
  // It lives on while somebody talks to it.
  const talk = connect(join(runDir, 'haproxy.sock'));
  talk.write('prompt\n');
  await once(talk, 'data');
  let isOver = false;
  const before = workers();
  const reload = serve('tcp').finally(() => (isOver = true));
  // Held as soon as it has handed its sockets over: whether it has heard of its end or not, nobody can know it yet.
  for (const deadline = Date.now() + 20_000; workers() <= before && Date.now() < deadline; ) await nextTurn();
  process.kill(old, 'SIGSTOP');
  const heldInTime = !isOver;
  await sleep(400);
  const waited = !isOver;
  process.kill(old, 'SIGCONT');
  expect(await reload).toEqual([]);
  expect({ heldInTime, waited }).toEqual({ heldInTime: true, waited: true });
  talk.destroy();
  await until(async () => (await askCli(join(runDir, 'master.sock'), '@1 onehop breakers').catch(() => '')).startsWith('restored\nshop.cart.cart-a open '));
}, 60_000);
