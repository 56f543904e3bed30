import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { LabAgent } from '../support/lab/agent.ts';
import { call, get, load, resolve } from '../support/lab/calls.ts';
import { openLab } from '../support/lab/lab.ts';
import type { Lab } from '../support/lab/lab.ts';
import { ObjectFolder } from '../support/lab/object-folder.ts';
import { eventually, inside, must, run, start, stop } from '../support/lab/run.ts';

const CART = '169.254.193.1';
const PAIR = '169.254.193.2';
const POOL = '169.254.192.0/19';
const SPEC = { timeout: { connect: '250ms', request: '5s' } };

let lab: Lab;
let objects: ObjectFolder;
let agent: LabAgent;

beforeAll(async () => {
  lab = await openLab([
    {
      name: 'n1',
      pods: [
        { name: 'web1', namespace: 'shop' },
        { name: 'late1', namespace: 'shop', unlisted: true },
        { name: 'cart1', namespace: 'shop', app: 'cart', serves: true },
        { name: 'pair1a', namespace: 'shop', app: 'pair', serves: true },
        { name: 'pair1b', namespace: 'shop', app: 'pair', serves: true },
      ],
    },
    { name: 'n2', pods: [{ name: 'cart2', namespace: 'shop', app: 'cart', serves: true }] },
  ]);
  objects = new ObjectFolder(lab, [
    { namespace: 'shop', name: 'cart', vip: CART, versions: [{ name: 'cart' }], spec: SPEC },
    { namespace: 'shop', name: 'pair', vip: PAIR, versions: [{ name: 'pair' }], spec: SPEC },
  ]);
  await objects.write();
  agent = new LabAgent(lab, 'n1', objects.path, ['--proxy', 'haproxy']);
  await agent.start();
});
afterAll(() => lab.close());

const web = () => lab.pod('web1');
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
const inNode = (...argv: readonly string[]): Promise<string> => must(inside(lab.node('n1').netns, argv));
const NONE_FAILED = { refused: 0, broken: 0 };

beforeEach(async () => {
  await eventually('cart1 serves', async () => (await call(lab, web(), CART, 4))['cart1'] === 4);
});

describe('under load, on connections that are kept and on one per call', () => {
  test.each(['Connection: keep-alive', 'Connection: close'])('one of two local replicas is killed (%s)', async (header) => {
    const loaded = load(lab, web(), PAIR, 5, header);
    await pause(1_500);
    await lab.killPod('pair1a');
    expect(await loaded).toMatchObject(NONE_FAILED);
    expect(await call(lab, web(), PAIR, 20)).toEqual({ pair1b: 20 });
    await lab.startPod('pair1a');
    await eventually('both serve again', async () => Object.keys(await call(lab, web(), PAIR, 20)).length === 2);
  });

  test('endpoints come and go: no call fails', async () => {
    const loaded = load(lab, web(), CART, 6, 'Connection: close');
    for (const ready of [false, true, false, true]) {
      await pause(1_000);
      objects.setReady('cart1', ready);
      await objects.write();
    }
    expect(await loaded).toMatchObject(NONE_FAILED);
  });

  test('the agent is killed and a new one adopts HAProxy: no call fails', async () => {
    const pids = await agent.haproxyPids();
    const loaded = load(lab, web(), CART, 8);
    await pause(1_000);
    await agent.stop('SIGKILL');
    await pause(1_000);
    await agent.start();
    expect(await loaded).toMatchObject(NONE_FAILED);
    expect(await agent.haproxyPids()).toContain(pids[0]);
    expect(await resolve(lab, web(), 'cart.shop.route.internal')).toBe(CART);
  });
});

test('the first call of a pod that the agent learns of a moment later is held, not refused', async () => {
  const called = get(lab, lab.pod('late1'), `http://${CART}/`);
  await pause(500);
  objects.list('late1');
  await objects.write();
  expect(await called).toMatchObject({ status: 200, body: 'cart1' });
});

test('a pool route and a claim that somebody removed come back', async () => {
  await inNode('nft', 'delete', 'table', 'ip', 'onehop');
  await inNode('ip', 'route', 'del', 'local', POOL, 'dev', 'lo');
  await eventually('the route is back', async () => (await inNode('ip', 'route', 'show', 'table', 'local')).includes(`local ${POOL} dev lo`), 30_000);
  await eventually('the claim is back', async () => (await inNode('nft', 'list', 'tables')).includes('table ip onehop'), 30_000);
  expect(await call(lab, web(), CART, 20)).toEqual({ cart1: 20 });
});

/** The agent's command line with other values of some flags. */
function withFlags(flags: Readonly<Record<string, string>>): readonly string[] {
  const kept = agent.argv.filter((text, i) => flags[text] === undefined && flags[agent.argv[i - 1] ?? ''] === undefined);
  return inside(lab.node('n1').netns, [...kept, ...Object.entries(flags).flat()]);
}

test.each([
  ['with the same flags', {}, /run-dir/],
  ['with folders and ports of its own', { '--run-dir': 'OTHER', '--state-dir': 'OTHER', '--admin-listen': '127.0.0.1:9811', '--dns-listen': '127.0.0.1:5454' }, /port-taken/],
])('a second agent on the node %s takes nothing away from the first when it ends', async (_what, flags, said) => {
  const own = Object.fromEntries(Object.entries(flags).map(([flag, value]) => [flag, value.replace('OTHER', `${lab.folder}/other`)]));
  const second = start(withFlags(own), `${agent.logFile}.second`);
  await eventually('the second one says what is wrong', async () => said.test(await readFile(`${agent.logFile}.second`, 'utf8')));
  await stop(second, 'SIGTERM', 30_000);
  expect(await inNode('ip', 'route', 'show', 'table', 'local')).toContain(POOL);
  expect(await inNode('nft', 'list', 'table', 'ip', 'onehop')).toContain('dnat');
  expect(await call(lab, web(), CART, 20)).toEqual({ cart1: 20 });
});

test("a pool around the node's own address is refused, and not made local", async () => {
  const [first = ''] = /(?<=inet )\d+/.exec(await inNode('ip', '-4', '-o', 'addr', 'show', 'scope', 'global')) ?? [];
  const wide = withFlags({ '--vip-pool': `${first}.0.0.0/8`, '--run-dir': `${lab.folder}/wide`, '--state-dir': `${lab.folder}/wide` });
  expect(await run(wide)).toMatchObject({ code: 3, stderr: expect.stringContaining('pool-overlap') });
  expect(await inNode('ip', 'route', 'show', 'table', 'local')).not.toContain(`local ${first}.0.0.0/8`);
});

test('with an IPv6 pool each route also has an address there', async () => {
  await agent.stop('SIGTERM');
  await agent.start('--vip-pool', `${POOL},fd77::/64`);
  const address = await resolve(lab, web(), 'cart.shop.route.internal', 'AAAA');
  expect(address).toBe('fd77::101'); // the offset of its IPv4 address in the pool
  expect(await get(lab, lab.node('n1'), `http://[${address}]/`)).toMatchObject({ status: 200, body: 'cart1' });
  expect(await agent.stop('SIGTERM')).toBe(0);
  expect(await inNode('ip', '-6', 'route', 'show', 'table', 'local')).not.toContain('fd77');
  expect(await inNode('nft', 'list', 'tables')).not.toContain('onehop');
  await agent.start();
});

describe('the end', () => {
  test('SIGTERM lets a call in flight finish', async () => {
    const called = get(lab, web(), `http://${CART}/slow`);
    await pause(500);
    expect(await agent.stop('SIGTERM')).toBe(0);
    expect(await called).toMatchObject({ status: 200, body: 'cart1' });
    expect(await agent.haproxyPids()).toEqual([]);
    await agent.start();
  });

  test('--no-pool-route neither makes nor removes them', async () => {
    await agent.stop('SIGTERM');
    expect(await inNode('ip', 'route', 'show', 'table', 'local')).not.toContain(POOL);
    await inNode('ip', 'route', 'add', 'local', POOL, 'dev', 'lo');
    await agent.start('--no-pool-route');
    expect(await call(lab, web(), CART, 4)).toEqual({ cart1: 4 });
    expect(await inNode('nft', 'list', 'tables')).not.toContain('onehop');
    expect(await agent.stop('SIGTERM')).toBe(0);
    expect(await inNode('ip', 'route', 'show', 'table', 'local')).toContain(`local ${POOL} dev lo`);
    await inNode('ip', 'route', 'del', 'local', POOL, 'dev', 'lo');
    await agent.start();
  });

  test('without the right to change the network it ends with 3 and the remedy', async () => {
    await agent.stop('SIGTERM');
    const wrapped = await lab.exec(lab.node('n1'), 'setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin', ...agent.argv);
    expect(wrapped).toMatchObject({ code: 3, stderr: expect.stringMatching(/onehop agent: no permission for '.*'.*\[net-admin-missing\]; give the process NET_ADMIN/) });
    await agent.start();
  });
});
