import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LabAgent } from '../support/lab/agent.ts';
import { call, get, load, resolve } from '../support/lab/calls.ts';
import { openLab } from '../support/lab/lab.ts';
import type { Lab, NodePlan } from '../support/lab/lab.ts';
import { ObjectFolder } from '../support/lab/object-folder.ts';
import { eventually, run } from '../support/lab/run.ts';

const CART = '169.254.193.1';
const CART_GLOBAL = '169.254.193.2';
const GUARDED = '169.254.193.3';
const POOL = '169.254.192.0/19';

const PLANS: readonly NodePlan[] = [
  {
    name: 'n1',
    pods: [
      { name: 'web1', namespace: 'shop', serviceAccount: 'web' },
      { name: 'cart1', namespace: 'shop', app: 'cart', serves: true },
      { name: 'stranger1', namespace: 'other' },
      { name: 'ghost1', namespace: 'shop', unlisted: true },
      { name: 'hostport1', namespace: 'other', serves: true },
    ],
  },
  {
    name: 'n2',
    pods: [
      { name: 'web2', namespace: 'shop' },
      { name: 'cart2', namespace: 'shop', app: 'cart', serves: true },
      { name: 'hostport2', namespace: 'other', serves: true },
    ],
  },
  {
    name: 'n3',
    pods: [
      { name: 'web3', namespace: 'shop' },
      { name: 'hostport3', namespace: 'other', serves: true },
    ],
  },
];

const QUICK = { timeout: { connect: '250ms', request: '2s' } };

describe.each([
  ['haproxy', 'on plain nodes', false],
  ['haproxy', 'on nodes where a hostPort pod takes port 80 of every local address', true],
  ['embedded', 'on nodes where a hostPort pod takes port 80 of every local address', true],
])('%s %s', (proxy, _where, hostPort) => {
  let lab: Lab;
  let objects: ObjectFolder;
  let agents: readonly LabAgent[];

  beforeAll(async () => {
    lab = await openLab(PLANS);
    if (hostPort) for (const pod of ['hostport1', 'hostport2', 'hostport3']) await lab.takeHostPort(pod);
    objects = new ObjectFolder(lab, [
      { namespace: 'shop', name: 'cart', vip: CART, globalVip: CART_GLOBAL, versions: [{ name: 'cart' }], spec: QUICK },
      {
        namespace: 'shop',
        name: 'guarded',
        vip: GUARDED,
        versions: [{ name: 'cart' }],
        spec: { ...QUICK, acl: { defaultAllow: false, entries: [{ kind: 'ServiceAccount', name: 'web' }] } },
      },
    ]);
    await objects.write();
    agents = PLANS.map((plan) => new LabAgent(lab, plan.name, objects.path, ['--proxy', proxy]));
    await Promise.all(agents.map((agent) => agent.start()));
  });
  afterAll(() => lab.close());

  const agent = (name: string): LabAgent => {
    const found = agents.find((each) => each.node.name === name);
    if (found === undefined) throw new Error(`no agent ${name}`);
    return found;
  };

  /** Calls from a pod and says how many TCP packets left its node meanwhile. */
  async function callCounted(from: string, address: string, count: number) {
    const pod = lab.pod(from);
    const before = await lab.fabricPackets(pod.node);
    const tally = await call(lab, pod, address, count);
    return { tally, packets: (await lab.fabricPackets(pod.node)) - before };
  }

  /**
   * 200 calls are answered by `pod`, and not one TCP packet leaves the node meanwhile. Asked again for a while: a proxy's first checks
   * of far servers, and the end of connections that it kept to them, may fall into the same moment.
   */
  async function stays(from: string, address: string, pod: string): Promise<void> {
    await eventually(`no packet of ${from} leaves its node`, async () => {
      const { tally, packets } = await callCounted(from, address, 200);
      expect(tally).toEqual({ [pod]: 200 });
      return packets === 0;
    });
  }

  test('DNS answers the same on every node', async () => {
    for (const name of ['web1', 'web2', 'web3']) {
      const pod = lab.pod(name);
      expect(await resolve(lab, pod, 'cart.shop.route.internal', 'A')).toBe(CART);
      expect(await resolve(lab, pod, '+tcp', 'cart.global.route.internal', 'A')).toBe(CART_GLOBAL);
      expect(await resolve(lab, pod, '-x', CART)).toBe('cart.shop.route.internal.');
      expect((await lab.exec(pod, 'dig', '@169.254.192.10', 'none.shop.route.internal')).stdout).toContain('status: NXDOMAIN');
    }
  });

  test('calls stay on the node when a replica runs there: no TCP packet leaves it', async () => {
    await stays('web1', CART, 'cart1');
    await stays('web2', CART_GLOBAL, 'cart2');
    expect((await call(lab, lab.node('n1'), CART, 20))['cart1']).toBe(20);
  });

  test('calls leave the node when no replica runs there', async () => {
    const { tally, packets } = await callCounted('web3', CART, 200);
    expect(Object.keys(tally).every((answer) => answer === 'cart1' || answer === 'cart2')).toBe(true);
    expect(packets).toBeGreaterThanOrEqual(200);
  });

  test('they leave when the local replica stops being ready, and come back when it is', async () => {
    objects.setReady('cart1', false);
    await objects.write();
    await eventually('web1 is served by cart2', async () => (await call(lab, lab.pod('web1'), CART, 4))['cart2'] === 4);
    const away = await callCounted('web1', CART, 200);
    expect(away.tally).toEqual({ cart2: 200 });
    expect(away.packets).toBeGreaterThanOrEqual(200);

    objects.setReady('cart1', true);
    await objects.write();
    await eventually('web1 is served by cart1', async () => (await call(lab, lab.pod('web1'), CART, 4))['cart1'] === 4);
    await stays('web1', CART, 'cart1');
  });

  describe('under load', () => {
    test('a local replica that is killed costs no failed GET, and takes the calls again when it is back', async () => {
      const loaded = load(lab, lab.pod('web1'), CART, 6);
      await new Promise((done) => setTimeout(done, 2_000));
      await lab.killPod('cart1');
      expect(await loaded).toMatchObject({ refused: 0, broken: 0 });
      expect(await call(lab, lab.pod('web1'), CART, 20)).toEqual({ cart2: 20 });
      await lab.startPod('cart1');
      await eventually('web1 is served by cart1', async () => (await call(lab, lab.pod('web1'), CART, 4))['cart1'] === 4);
    });

    test('a local replica that is black-holed costs no failed GET', async () => {
      const loaded = load(lab, lab.pod('web1'), CART, 10);
      await new Promise((done) => setTimeout(done, 2_000));
      await lab.blackhole('cart1');
      expect(await loaded).toMatchObject({ refused: 0, broken: 0 });
      expect(await call(lab, lab.pod('web1'), CART, 20)).toEqual({ cart2: 20 });
      await lab.blackhole('cart1', false);
      await eventually('web1 is served by cart1', async () => (await call(lab, lab.pod('web1'), CART, 4))['cart1'] === 4);
    });
  });

  describe('callers are known by their address', () => {
    test('a pod of the namespace may call; a pod of another only by the global name', async () => {
      expect(await get(lab, lab.pod('web1'), `http://${CART}/who`)).toMatchObject({ status: 200, body: `cart1 ${lab.pod('web1').address}` });
      expect(await get(lab, lab.pod('stranger1'), `http://${CART}/`)).toMatchObject({ status: 403, reason: 'namespace-isolated' });
      expect(await get(lab, lab.pod('stranger1'), `http://${CART_GLOBAL}/`)).toMatchObject({ status: 200, body: 'cart1' });
    });

    test('the acl knows the ServiceAccount', async () => {
      expect(await get(lab, lab.pod('web1'), `http://${GUARDED}/`)).toMatchObject({ status: 200 });
      expect(await get(lab, lab.pod('web2'), `http://${GUARDED}/`)).toMatchObject({ status: 403, reason: 'acl-denied' });
    });

    test('an address that no pod object has is refused', async () => {
      expect(await get(lab, lab.pod('ghost1'), `http://${CART}/`)).toMatchObject({ status: 403, reason: 'caller-unknown' });
    });

    test('/routes answers the node, and no pod', async () => {
      expect(await get(lab, lab.node('n1'), 'http://169.254.192.11:9810/routes')).toMatchObject({ status: 200, body: expect.stringContaining(CART) });
      for (const address of ['169.254.192.11', lab.node('n1').address]) {
        expect((await get(lab, lab.pod('web1'), `http://${address}:9810/routes`)).status).toBe(403);
        expect((await get(lab, lab.pod('web1'), `http://${address}:9810/healthz`)).status).toBe(200);
      }
    });
  });

  describe('the end of an agent', () => {
    const inNetwork = async (node: string): Promise<{ route: boolean; table: boolean }> => ({
      route: (await lab.exec(lab.node(node), 'ip', 'route', 'show', 'table', 'local')).stdout.includes(`local ${POOL} dev lo`),
      table: (await lab.exec(lab.node(node), 'nft', 'list', 'tables')).stdout.includes('table ip onehop'),
    });

    test('Ctrl-C leaves nothing behind: no HAProxy, no pool route, no claim', async () => {
      expect(await inNetwork('n3')).toEqual({ route: true, table: true });
      expect(await agent('n3').stop('SIGINT')).toBe(0);
      expect(await agent('n3').haproxyPids()).toEqual([]);
      expect(await inNetwork('n3')).toEqual({ route: false, table: false });
      expect((await run(['ls', agent('n3').runDir])).stdout).not.toContain('.sock');
      await agent('n3').start();
    });

    if (proxy !== 'haproxy') return; // what follows is about a proxy that is a process of its own

    test('kill -9 leaves HAProxy serving; the next agent adopts it; attached, it leaves all of it in place', async () => {
      const pids = await agent('n2').haproxyPids();
      await agent('n2').stop('SIGKILL');
      expect((await call(lab, lab.pod('web2'), CART, 20))['cart2']).toBe(20);
      await agent('n2').start('--haproxy-attach');
      expect(await agent('n2').haproxyPids()).toContain(pids[0]);
      expect(await agent('n2').stop('SIGTERM')).toBe(0);
      expect(await inNetwork('n2')).toEqual({ route: true, table: true });
      expect((await call(lab, lab.pod('web2'), CART, 20))['cart2']).toBe(20);
      await agent('n2').start();
    });

    test('a killed HAProxy is replaced', async () => {
      const pids = await agent('n1').haproxyPids();
      await run(['kill', '-9', ...pids]);
      await eventually('HAProxy runs again', async () => (await agent('n1').haproxyPids()).some((pid) => !pids.includes(pid)), 5_000);
      await eventually('calls are answered again', async () => (await call(lab, lab.pod('web1'), CART, 2))['cart1'] === 2, 5_000);
      expect(await call(lab, lab.pod('web1'), CART, 20)).toEqual({ cart1: 20 });
    });
  });
});
