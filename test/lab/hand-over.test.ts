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
/** More in a run by hand: `HAND_OVERS=10`. */
const HAND_OVERS = Number(process.env['HAND_OVERS'] ?? 2);
const NONE_FAILED = { refused: 0, broken: 0 };

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

/** Calls on kept connections, on one per call, over a tcp route on connections that nobody closes, and DNS queries. */
async function underLoad(seconds: number) {
  const [kept, single, stream, dns, dnsTcp] = await Promise.all([
    load(lab, web(), CART, seconds),
    load(lab, web(), CART, seconds, 'Connection: close'),
    load(lab, web(), `${STREAM}:81`, seconds),
    askDns('udp', seconds, 1_000),
    askDns('tcp', seconds, 100),
  ]);
  return { kept, single, stream, dns, dnsTcp };
}

async function askDns(transport: 'udp' | 'tcp', seconds: number, rate: number): Promise<{ sent: number; lost: number; wrong: number }> {
  const program = new URL('../support/lab/dns-load.ts', import.meta.url).pathname;
  const { stdout } = await lab.exec(web(), process.execPath, program, transport, '169.254.192.10', '53', 'cart.shop.route.internal', String(seconds), String(rate));
  return JSON.parse(stdout) as { sent: number; lost: number; wrong: number };
}

const ALL_WELL = { kept: NONE_FAILED, single: NONE_FAILED, stream: NONE_FAILED, dns: { lost: 0, wrong: 0 }, dnsTcp: { lost: 0, wrong: 0 } };

/** Starts the next generation, waits until it is ready, ends the one before as kubelet does. */
async function handOver(): Promise<readonly (number | null)[]> {
  const next = new Generation(lab, 'n1', objects.path);
  await next.start();
  const before = serving;
  serving = next;
  return before.stop();
}

test(`a new generation takes over, ${HAND_OVERS} times: no call fails, no query is lost, open connections live on`, { timeout: 60_000 * HAND_OVERS }, async () => {
  for (let i = 0; i < HAND_OVERS; i++) {
    const loaded = underLoad(9);
    await pause(1_000);
    const [result, exits] = await Promise.all([loaded, handOver()]);
    if (process.env['HAND_OVERS'] !== undefined) process.stdout.write(`${JSON.stringify({ ...result, exits })}\n`);
    expect(result).toMatchObject(ALL_WELL);
    expect(exits).toEqual([0, 0]);
    expect(await readlink(join(lab.folder, 'run', 'current'))).toBe(serving.uid);
  }
  expect(await serving.onehop('routes', '--run-dir', join(lab.folder, 'run'))).toContain(CART);
  expect(await resolve(lab, web(), 'cart.shop.route.internal')).toBe(CART);
});
