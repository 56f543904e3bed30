import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openLab } from '../support/lab/lab.ts';
import type { Lab } from '../support/lab/lab.ts';
import { eventually, inside, must, start, stop } from '../support/lab/run.ts';

const SCRIPT = new URL('../support/lab/node-network.ts', import.meta.url).pathname;
const POOL = '169.254.192.0/19';
const DUAL = `${POOL},fd77::/64`;
const VIP = '169.254.193.1';

let lab: Lab;

beforeAll(async () => {
  lab = await openLab([
    {
      name: 'n1',
      pods: [
        { name: 'squatter', namespace: 'other', serves: true },
        { name: 'caller', namespace: 'shop' },
      ],
    },
    { name: 'n2', pods: [{ name: 'far', namespace: 'shop', serves: true }] },
  ]);
});
afterAll(() => lab.close());

/** The node room's answer inside the namespace of a node, behind `wrapper` where given. */
async function node(wrapper: readonly string[], ...args: readonly string[]): Promise<unknown> {
  return JSON.parse(await must(inside(lab.node('n1').netns, [...wrapper, process.execPath, SCRIPT, ...args])));
}
const kinds = (steps: unknown): unknown => (Array.isArray(steps) ? steps.map((step: { kind: string }) => step.kind) : steps);
const POD_SERVER = new URL('../support/lab/pod-server.ts', import.meta.url).pathname;

/** While `during` runs, a program listens on port 80 of all addresses of the node and answers `router`. */
async function withRouter(during: (pid: number | undefined) => Promise<void>): Promise<void> {
  const router = start(inside(lab.node('n1').netns, [process.execPath, POD_SERVER, 'router', '0.0.0.0', '80']), `${lab.folder}/router.log`);
  try {
    await eventually('the router listens', async () => (await inNode('ss', '-ltn')).includes(':80 '));
    await during(router.pid);
  } finally {
    await stop(router, 'SIGKILL');
  }
}

const inNode = (...argv: readonly string[]): Promise<string> => must(inside(lab.node('n1').netns, argv));

beforeEach(async () => {
  await node([], 'remove', DUAL, 'fd77::100,fd77::101');
});

test('pods reach pods of the other node over the fabric, and the wire is counted', async () => {
  const before = await lab.fabricPackets('n1');
  const { stdout } = await lab.exec(lab.pod('caller'), 'curl', '-s', '-m', '5', `http://${lab.pod('far').address}:8080/`);
  expect(stdout).toBe('far\n');
  expect(await lab.fabricPackets('n1')).toBeGreaterThan(before);
});

describe('the pool route and the claim', () => {
  test('are installed once, found again, repaired and removed', async () => {
    expect(kinds(await node([], 'ensure', POOL))).toEqual(['install-claim', 'add-pool-route']);
    expect(await node([], 'ensure', POOL)).toEqual([]);
    await inNode('nft', 'flush', 'chain', 'ip', 'onehop', 'output');
    await inNode('ip', 'route', 'del', 'local', POOL, 'dev', 'lo');
    expect(kinds(await node([], 'ensure', POOL))).toEqual(['install-claim', 'add-pool-route']);
    expect(kinds(await node([], 'remove', POOL))).toEqual(['remove-pool-route', 'remove-claim', 'set-nonlocal-bind6']);
    expect(await inNode('nft', 'list', 'tables')).not.toContain('onehop');
    expect(await inNode('ip', 'route', 'show', 'table', 'local')).not.toContain('169.254');
  });

  test('a claim for another pool is replaced', async () => {
    await node([], 'ensure', '10.99.0.0/16');
    expect(kinds(await node([], 'ensure', POOL))).toEqual(['install-claim', 'add-pool-route']);
    expect(await inNode('nft', 'list', 'table', 'ip', 'onehop')).not.toContain('10.99');
    await node([], 'remove', '10.99.0.0/16');
  });

  test('without NET_ADMIN the error names the remedy', async () => {
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];
    expect(await node(nobody, 'ensure', POOL)).toEqual({ failed: 'net-admin-missing', remedy: expect.stringContaining('--no-pool-route') });
  });

  test('make a VIP bindable; without them it is not an address of this node', async () => {
    expect(await node([], 'check', POOL, VIP)).toEqual([expect.objectContaining({ code: 'port-unavailable' })]);
    await node([], 'ensure', POOL);
    expect(await node([], 'check', POOL, VIP)).toEqual(['free']);
  });
});

describe('an IPv6 pool', () => {
  const VIPS6 = 'fd77::100,fd77::101';

  test('is bindable by the sysctl where it can be set', async () => {
    expect(kinds(await node([], 'ensure', DUAL, VIPS6))).toEqual(['install-claim', 'add-pool-route', 'install-claim', 'add-pool-route', 'set-nonlocal-bind6']);
    expect(await node([], 'ensure', DUAL, VIPS6)).toEqual([]);
    expect(await node([], 'check', DUAL, VIPS6)).toEqual(['free', 'free']);
    await node([], 'remove', DUAL, VIPS6);
    expect((await inNode('sysctl', '-n', 'net.ipv6.ip_nonlocal_bind')).trim()).toBe('0');
  });

  test('by an address per VIP where /proc/sys is read-only, as in a container', async () => {
    const readOnly = ['unshare', '-m', 'sh', '-c', 'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"', 'sh'];
    expect(kinds(await node(readOnly, 'ensure', DUAL, 'fd77::100'))).toEqual(['install-claim', 'add-pool-route', 'install-claim', 'add-pool-route', 'add-address6']);
    expect(await node(readOnly, 'ensure', DUAL, VIPS6)).toEqual([{ kind: 'add-address6', address: 'fd77::101' }]);
    expect(await node(readOnly, 'check', DUAL, VIPS6)).toEqual(['free', 'free']);
    expect(kinds(await node([], 'remove', DUAL, VIPS6))).toEqual(expect.arrayContaining(['remove-address6', 'remove-address6']));
    expect(await inNode('ip', '-6', 'addr', 'show', 'dev', 'lo')).not.toContain('fd77');
  });
});

describe('the commands of docs/install.md', () => {
  const docs = readFileSync(new URL('../../docs/install.md', import.meta.url), 'utf8');
  const runBlock = (name: string): Promise<string> => {
    const block = new RegExp(`^\`\`\`sh ${name}\\n([^]*?)^\`\`\`$`, 'm').exec(docs)?.[1] ?? '';
    return inNode('sh', '-ec', block);
  };

  test("do what the agent does for callers' addresses, and take it away again", async () => {
    await node([], 'ensure', POOL);
    await runBlock('install-client-ip');
    expect(await node([], 'ensure-divert', POOL)).toEqual([]);
    await runBlock('remove-client-ip');
    expect(kinds(await node([], 'ensure-divert', POOL))).toEqual(['add-divert-route', 'add-divert-rule', 'add-divert-rule', 'install-divert']);
    expect(await node([], 'ensure-divert', POOL)).toEqual([]);
    expect(kinds(await node([], 'ensure-divert', DUAL))).toEqual(expect.arrayContaining(['add-divert-route', 'install-divert']));
    expect(await node([], 'ensure-divert', DUAL)).toEqual([]);
    await node([], 'remove-divert', DUAL);
    expect(await inNode('nft', 'list', 'tables')).not.toContain('onehop');
    for (const family of ['-4', '-6']) expect(await inNode('ip', family, 'rule')).not.toContain('fwmark');
  });

  test('do what the agent does, and take it away again', async () => {
    await runBlock('install');
    expect(await node([], 'ensure', POOL)).toEqual([]);
    await runBlock('install6');
    expect(await node([], 'ensure', DUAL)).toEqual([]);
    await runBlock('remove');
    await runBlock('remove6');
    expect(await node([], 'read', DUAL)).toEqual({
      localRoutes: ['127.0.0.0/8'],
      claim: { ip: 'absent', ip6: 'absent' },
      nonlocalBind6: 'writable',
      loAddresses6: expect.not.arrayContaining([expect.stringContaining('fd77')]),
    });
  });
});

describe('with a pod that takes port 80 of every local address (hostPort)', () => {
  beforeAll(() => lab.takeHostPort('squatter'));
  afterAll(() => inNode('nft', 'delete', 'table', 'ip', 'hostport'));

  /** Who answers port 80 of an address, asked from a pod and from the node itself. */
  const answers = (address: string): Promise<string[]> =>
    Promise.all(
      [lab.pod('caller'), lab.node('n1')].map(async (where) => (await lab.exec(where, 'curl', '-s', '-m', '5', `http://${address}/`)).stdout.trim()),
    );

  test('the claim keeps the VIPs ours; without it the pod gets their traffic; the hostPort works in both cases', async () => {
    await withRouter(async () => {
      await node([], 'ensure', POOL);
      expect(await answers(VIP)).toEqual(['router', 'router']);
      expect(await answers(lab.node('n1').address)).toEqual(['squatter', 'squatter']);
      await inNode('nft', 'delete', 'table', 'ip', 'onehop');
      expect(await answers(VIP)).toEqual(['squatter', 'squatter']);
    });
  });
});

describe('ports', () => {
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];

  test('below the unprivileged range are denied to a user, with the number from which they are not', async () => {
    await inNode('sysctl', '-qw', 'net.ipv4.ip_unprivileged_port_start=1000');
    expect(await node(nobody, 'check', POOL, '127.0.0.1')).toEqual([
      { code: 'port-denied', detail: 'no permission to listen on 127.0.0.1:80', remedy: expect.stringContaining('to 1000 or above') },
    ]);
  });

  test("held by another user: the uid is known, and the program only to who may look", async () => {
    await withRouter(async (pid) => {
      await inNode('sysctl', '-qw', 'net.ipv4.ip_unprivileged_port_start=0');
      expect(await node([], 'check', POOL, '127.0.0.1')).toEqual([expect.objectContaining({ code: 'port-taken', uid: 0, pid })]);
      expect(await node(nobody, 'check', POOL, '127.0.0.1')).toEqual([
        expect.objectContaining({ code: 'port-taken', uid: 0, detail: 'port 80 on 127.0.0.1 is taken by a program of uid 0, which listens on all addresses' }),
      ]);
    });
  });
});
