import { readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { call, load, resolve } from '../support/lab/calls.ts';
import { Generation, makeShared } from '../support/lab/generation.ts';
import { openLab } from '../support/lab/lab.ts';
import type { Lab } from '../support/lab/lab.ts';
import { ObjectFolder } from '../support/lab/object-folder.ts';
import { eventually } from '../support/lab/run.ts';

const CART = '169.254.193.1';
const STREAM = '169.254.193.2';
const LATE = '169.254.193.3';
/** More in a run by hand: `HAND_OVERS=10`. */
const HAND_OVERS = Number(process.env['HAND_OVERS'] ?? 2);
/** Of one program that makes load; it is started again until what is watched is over. */
const ROUND_SECONDS = 5;

let lab: Lab;
let objects: ObjectFolder;
let serving: Generation;

beforeAll(async () => {
  lab = await openLab([
    {
      name: 'n1',
      pods: [
        { name: 'web1', namespace: 'shop' },
        { name: 'cart1', namespace: 'shop', app: 'cart', serves: true },
      ],
    },
  ]);
  await makeShared(lab);
  objects = new ObjectFolder(lab, [
    { namespace: 'shop', name: 'cart', vip: CART, versions: [{ name: 'cart' }] },
    { namespace: 'shop', name: 'stream', vip: STREAM, versions: [{ name: 'cart' }], spec: { protocol: 'tcp', port: { listen: 81 } } },
  ]);
  await objects.write();
  serving = new Generation(lab, 'n1', objects.path);
  await serving.start();
});
afterAll(() => lab.close());

beforeEach(async () => {
  await eventually('calls are served', async () => (await call(lab, web(), CART, 4))['cart1'] === 4);
});

const web = () => lab.pod('web1');
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

interface Result {
  readonly calls: number;
  readonly refused: number;
  readonly broken: number;
  readonly queries: number;
  readonly lost: number;
  readonly wrong: number;
  /** Over TCP, on a second connection: the first one was closed without an answer. */
  readonly askedAgain: number;
  /** Queries that found the receive buffer of a starved machine full: not lost by a hand-over. */
  readonly overflowed?: number;
}
const NOTHING: Result = { calls: 0, refused: 0, broken: 0, queries: 0, lost: 0, wrong: 0, askedAgain: 0 };
/** The kernel resets a connection that comes while the listener closes: on a busy machine a few of a hundred a second. */
const ALL_WELL = { refused: 0, broken: 0, lost: 0, wrong: 0, askedAgain: expect.toSatisfy((count: number) => count <= 3) as number };

/**
 * Calls (on kept connections, on one per call, and on connections through a tcp route that nobody closes) and DNS queries over UDP and TCP,
 * from before `during` begins until after it ended, however long it takes.
 */
async function underLoad<T>(during: () => Promise<T>, extra: readonly string[] = []): Promise<{ readonly result: Result; readonly value: T }> {
  const over = new AbortController();
  const repeat = async (round: () => Promise<Partial<Result>>): Promise<Result> => {
    let sum = NOTHING;
    while (!over.signal.aborted) sum = add(sum, await round());
    return add(sum, await round());
  };
  const calls = async (address: string, header?: string): Promise<Partial<Result>> => {
    const { requests, ...failed } = await load(lab, web(), address, ROUND_SECONDS, header, '/soon');
    return { calls: requests, ...failed };
  };
  const overflowedBefore = await overflows();
  const running = Promise.all([
    repeat(() => calls(CART)),
    repeat(() => calls(CART, 'Connection: close')),
    repeat(() => calls(`${STREAM}:81`)),
    repeat(() => askDns('udp', 400)),
    repeat(() => askDns('tcp', 100)),
    ...extra.map((address) => repeat(() => calls(address, 'Connection: close'))),
  ]);
  await pause(1_000);
  const value = await during().finally(() => over.abort());
  const result = (await running).reduce(add);
  const overflowed = (await overflows()) - overflowedBefore;
  return { result: { ...result, lost: Math.max(0, result.lost - overflowed), overflowed }, value };
}

/** Datagrams that the node's sockets had no room for. */
async function overflows(): Promise<number> {
  const { stdout } = await lab.exec(lab.node('n1'), 'cat', '/proc/net/snmp');
  const [names = '', values = ''] = stdout.split('\n').filter((line) => line.startsWith('Udp: '));
  return Number(values.split(' ')[names.split(' ').indexOf('RcvbufErrors')]);
}

const add = (a: Result, b: Partial<Result>): Result => ({
  calls: a.calls + (b.calls ?? 0),
  refused: a.refused + (b.refused ?? 0),
  broken: a.broken + (b.broken ?? 0),
  queries: a.queries + (b.queries ?? 0),
  lost: a.lost + (b.lost ?? 0),
  wrong: a.wrong + (b.wrong ?? 0),
  askedAgain: a.askedAgain + (b.askedAgain ?? 0),
});

async function askDns(transport: 'udp' | 'tcp', rate: number): Promise<Partial<Result>> {
  const program = new URL('../support/lab/dns-load.ts', import.meta.url).pathname;
  // First in line: what it counts as lost must not be its own slowness.
  const { stdout } = await lab.exec(web(), 'nice', '-n', '-10', process.execPath, program, transport, '169.254.192.10', '53', 'cart.shop.route.internal', String(ROUND_SECONDS), String(rate));
  const { sent, lost, wrong, again } = JSON.parse(stdout) as { sent: number; lost: number; wrong: number; again: number };
  return { queries: sent, lost, wrong, askedAgain: again };
}

/** Starts the next generation, waits until it is ready, ends the one before as kubelet does. */
async function handOver(): Promise<readonly (number | null)[]> {
  const next = new Generation(lab, 'n1', objects.path);
  await next.start();
  const before = serving;
  serving = next;
  return before.stop();
}

test(`a new generation takes over, ${HAND_OVERS} times: no call fails, no query is lost, open connections live on`, { timeout: 120_000 * HAND_OVERS }, async () => {
  for (let i = 0; i < HAND_OVERS; i++) {
    const { result, value: exits } = await underLoad(handOver);
    if (process.env['HAND_OVERS'] !== undefined) process.stdout.write(`${JSON.stringify(result)}\n`);
    expect(result).toMatchObject(ALL_WELL);
    expect(exits).toEqual([0, 0]);
    expect(await readlink(join(lab.folder, 'run', 'current'))).toBe(serving.uid);
  }
  expect(await serving.onehop('routes', '--run-dir', join(lab.folder, 'run'))).toContain(CART);
  expect(await resolve(lab, web(), 'cart.shop.route.internal')).toBe(CART);
});

test('a generation that is told to stop before its successor runs goes on until that one serves: no call fails', async () => {
  const next = new Generation(lab, 'n1', objects.path);
  const { result, value: exits } = await underLoad(async () => {
    const before = serving;
    serving = next;
    const stopped = before.stop();
    for (const container of ['agent', 'haproxy'] as const) await eventually(`${container} waits`, async () => /no other generation (?:serves|is ready) yet/.test(await before.logOf(container)));
    await next.start();
    return stopped;
  });
  expect(result).toMatchObject(ALL_WELL);
  expect(exits).toEqual([0, 0]);
});

test('doctor on the node knows the agent in its container', async () => {
  const said = await serving.onehop('doctor', '--run-dir', join(lab.folder, 'run'));
  expect(said).toMatch(/ok {3}agent/);
  expect(said).toMatch(/ok {3}ports +DNS/);
  expect(said).not.toMatch(/FAIL (?:agent|ports|dns|pool)/);
});

test('a route that is added while both generations live is served through the hand-over', async () => {
  const next = new Generation(lab, 'n1', objects.path);
  await next.start();
  objects.add({ namespace: 'shop', name: 'late', vip: LATE, versions: [{ name: 'cart' }] });
  await objects.write();
  await eventually('both HAProxys listen for it', async () => (await listeners(LATE)) === 2);
  const before = serving;
  serving = next;
  const { result, value: exits } = await underLoad(() => before.stop(), [LATE]);
  expect(exits).toEqual([0, 0]);
  if (process.env['HAND_OVERS'] !== undefined) process.stdout.write(`late: ${JSON.stringify(result)}\n`);
  // Both have a socket of their own: what waits in the queue of the one that closes is lost, unless net.ipv4.tcp_migrate_req is set.
  expect(result).toMatchObject({ ...ALL_WELL, broken: expect.toSatisfy((broken: number) => broken <= 5) });
  expect(await listeners(LATE)).toBe(1);
});

/** Listening sockets of HAProxys on this address. */
async function listeners(address: string): Promise<number> {
  const { stdout } = await lab.exec(lab.node('n1'), 'ss', '-ltnH', 'src', address);
  return stdout.split('\n').filter((line) => line !== '').length;
}

test('an agent that is killed and started again, in both generations: no call fails', async () => {
  const next = new Generation(lab, 'n1', objects.path);
  const { result } = await underLoad(async () => {
    await next.start();
    for (const generation of [serving, next]) {
      await generation.stopContainer('agent', 'SIGKILL');
      generation.startContainer('agent');
      await generation.untilReady();
    }
    const before = serving;
    serving = next;
    await before.stop();
  });
  // A query that reached the killed agent is lost with it; everything else is answered.
  expect(result).toMatchObject({ refused: 0, broken: 0, wrong: 0 });
});

test('a HAProxy that is killed and started again takes the sockets of its sibling and is noticed', async () => {
  const next = new Generation(lab, 'n1', objects.path);
  await next.start();
  await next.stopContainer('haproxy', 'SIGKILL');
  await eventually('it is not ready', async () => /^proxy: no HAProxy answers/m.test(await next.readyz()));
  next.startContainer('haproxy');
  await next.untilReady();
  expect(await next.logOf('haproxy')).toMatch(new RegExp(`(taking the listening sockets over from ${serving.uid}[^]*){2}`));
  const { result, value: exits } = await underLoad(async () => {
    const before = serving;
    serving = next;
    return before.stop();
  });
  expect(result).toMatchObject(ALL_WELL);
  expect(exits).toEqual([0, 0]);
});

test('a new generation that never gets ready takes nothing away when it ends', async () => {
  const next = new Generation(lab, 'n1', objects.path);
  const { result } = await underLoad(async () => {
    next.startContainer('agent');
    await eventually('its agent waits for its HAProxy', async () => /^proxy: /m.test(await next.readyz()), 90_000);
    expect(await readlink(join(lab.folder, 'run', 'current'))).toBe(serving.uid);
    await next.stop();
  });
  expect(result).toMatchObject(ALL_WELL);
  expect(await call(lab, web(), CART, 20)).toEqual({ cart1: 20 });
});

test('a HAProxy that hangs is told and not touched; it goes on when it can', async () => {
  await serving.freeze('haproxy', true);
  await eventually('its agent says so', async () => /^proxy: .*hangs/m.test(await serving.readyz()), 60_000);
  await serving.freeze('haproxy', false);
  await serving.untilReady();
  expect(await call(lab, web(), CART, 20)).toEqual({ cart1: 20 });
});

test('two generations that are told to stop at once, as when a node is shut down, both end within their grace', async () => {
  const next = new Generation(lab, 'n1', objects.path);
  await next.start();
  expect(await Promise.all([serving.stop(), next.stop()])).toEqual([
    [0, 0],
    [0, 0],
  ]);
  // Nothing of theirs stands in the way of the next one.
  serving = new Generation(lab, 'n1', objects.path);
  await serving.start();
  expect(await call(lab, web(), CART, 20)).toEqual({ cart1: 20 });
});
