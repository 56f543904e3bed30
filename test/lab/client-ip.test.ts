import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LabAgent } from '../support/lab/agent.ts';
import { call, get, load } from '../support/lab/calls.ts';
import { Generation, makeShared } from '../support/lab/generation.ts';
import { openLab } from '../support/lab/lab.ts';
import type { Lab, LabNode, LabPod, NodePlan } from '../support/lab/lab.ts';
import { ObjectFolder } from '../support/lab/object-folder.ts';
import { eventually, inside, must, run, start, stop } from '../support/lab/run.ts';

/** Served beside the callers, with a farther server behind it. */
const CART = '169.254.193.1';
/** Served on the other node. */
const FAR = '169.254.193.2';
/** Two servers on two nodes, used alike. */
const BOTH = '169.254.193.3';
const STREAM = '169.254.193.4:81';
const FLAGS = ['--client-ip', 'preserve'];
const MAIN = new URL('../../src/main.ts', import.meta.url).pathname;

const PLANS: readonly NodePlan[] = [
  {
    name: 'n1',
    pods: [
      { name: 'web1', namespace: 'shop', serviceAccount: 'web' },
      { name: 'job1', namespace: 'shop', serviceAccount: 'job' },
      { name: 'cart1', namespace: 'shop', app: 'cart', serves: true },
      { name: 'late1', namespace: 'shop', unlisted: true },
    ],
  },
  { name: 'n2', pods: [{ name: 'web2', namespace: 'shop' }, { name: 'cart2', namespace: 'shop', app: 'cart', serves: true }, { name: 'far2', namespace: 'shop', app: 'far', serves: true }] },
];

let lab: Lab;
let objects: ObjectFolder;
let agent: LabAgent;

beforeAll(async () => {
  lab = await openLab(PLANS);
  objects = new ObjectFolder(lab, [
    { namespace: 'shop', name: 'cart', vip: CART, versions: [{ name: 'cart' }] },
    { namespace: 'shop', name: 'far', vip: FAR, versions: [{ name: 'far' }] },
    { namespace: 'shop', name: 'both', vip: BOTH, versions: [{ name: 'cart' }], spec: { locality: 'Cluster' } },
    { namespace: 'shop', name: 'stream', vip: '169.254.193.4', versions: [{ name: 'far' }], spec: { protocol: 'tcp', port: { listen: 81 } } },
  ]);
  await objects.write();
  agent = new LabAgent(lab, 'n1', objects.path, FLAGS);
  await agent.start();
});
afterAll(() => lab.close());

interface Seen {
  readonly status: number;
  readonly pod: string;
  /** The address that the server sees, and what X-Forwarded-For says. */
  readonly peer: string;
  readonly forwardedFor: string;
  /** Connections that the server has had. */
  readonly connections: number;
}

/** Calls one after the other on a kept connection; what the server saw of each. */
async function calls(from: LabPod | LabNode, address: string, count = 1): Promise<readonly Seen[]> {
  const { stdout } = await lab.exec(from, 'curl', '-s', '-m', '20', '-w', '%{http_code} %header{x-peer} %header{x-connections}\\n', `http://${address}/who#[1-${count}]`);
  return [...stdout.matchAll(/^(\S+)(?: (\S+))?\n(\d{3}) (\S*) (\d*)$/gm)].map(([, pod = '', forwardedFor = '', status, peer = '', connections]) => ({
    status: Number(status),
    pod,
    peer,
    forwardedFor,
    connections: Number(connections),
  }));
}

async function one(from: LabPod | LabNode, address: string): Promise<Seen> {
  const [seen] = await calls(from, address);
  if (seen === undefined) throw new Error(`no answer from ${address}`);
  return seen;
}

const web = () => lab.pod('web1');
const job = () => lab.pod('job1');
const node = () => lab.node('n1');
const inNode = (...argv: readonly string[]): Promise<string> => must(inside(node().netns, argv));

describe('the address that a server sees', () => {
  test("is the caller pod's, on its own node and on another, and X-Forwarded-For says the same", async () => {
    for (const pod of [web(), job()]) {
      expect(await one(pod, CART)).toMatchObject({ pod: 'cart1', peer: pod.address, forwardedFor: pod.address });
      expect(await one(pod, FAR)).toMatchObject({ pod: 'far2', peer: pod.address, forwardedFor: pod.address });
    }
  });

  test("is the caller pod's on a tcp route", async () => {
    expect(await one(web(), STREAM)).toMatchObject({ pod: 'far2', peer: web().address });
    expect(await one(job(), STREAM)).toMatchObject({ pod: 'far2', peer: job().address });
  });

  test("is the node's own for its processes, whose source is the VIP, another address of the node or loopback", async () => {
    for (const address of [CART, FAR, STREAM]) expect(await one(node(), address)).toMatchObject({ status: 200, peer: node().address });
    expect(await one(node(), FAR)).toMatchObject({ forwardedFor: FAR });
    const from = async (source: string): Promise<string> => (await lab.exec(node(), 'curl', '-s', '-m', '10', '--interface', source, '-o', '/dev/null', '-w', '%{http_code} %header{x-peer}', `http://${FAR}/`)).stdout;
    for (const source of [node().address, '127.0.0.1', CART]) expect(await from(source)).toBe(`200 ${node().address}`);
  });

  test('is nobody else\'s while two callers take turns, and each keeps its connection', async () => {
    const before = (await one(web(), FAR)).connections;
    for (let round = 0; round < 10; round++) {
      for (const pod of [web(), job()]) {
        const seen = await calls(pod, FAR, 20);
        expect(seen).toHaveLength(20);
        expect(new Set(seen.map(({ peer }) => peer))).toEqual(new Set([pod.address]));
      }
    }
    // One for each caller and thread of HAProxy, at most; without reuse there would be 400.
    expect((await one(web(), FAR)).connections - before).toBeLessThanOrEqual(20);
  });

  test('is right under load from two callers at once', async () => {
    const before = (await one(web(), FAR)).connections;
    const [a, b] = await Promise.all([load(lab, web(), FAR, 3), load(lab, job(), FAR, 3)]);
    expect([a, b]).toMatchObject([{ refused: 0, broken: 0 }, { refused: 0, broken: 0 }]);
    const connections = (await one(web(), FAR)).connections - before;
    if (process.env['SHOW'] !== undefined) process.stdout.write(`${a.requests + b.requests} calls, ${connections} connections\n`);
    expect(connections).toBeLessThan((a.requests + b.requests) / 10);
  });

  test('is right from a server that came while HAProxy runs', async () => {
    const reloads = await metric('reloads');
    for (const ready of [false, true]) {
      objects.setReady('cart1', ready);
      await objects.write();
      const pod = ready ? 'cart1' : 'cart2';
      await eventually(`${pod} serves`, async () => (await one(web(), CART)).pod === pod);
      expect(await one(job(), CART)).toMatchObject({ pod, peer: job().address });
    }
    expect(await metric('reloads')).toBe(reloads);
  });

  test('is right where the kernel looks for the way back with the mark of a packet (WireGuard)', async () => {
    await inNode('sysctl', '-qw', 'net.ipv4.conf.all.src_valid_mark=1', 'net.ipv4.conf.all.rp_filter=1');
    for (const address of [CART, FAR, STREAM]) expect(await one(web(), address)).toMatchObject({ status: 200, peer: web().address });
    await inNode('sysctl', '-qw', 'net.ipv4.conf.all.src_valid_mark=0', 'net.ipv4.conf.all.rp_filter=0');
  });
});

async function metric(what: string): Promise<number> {
  return Number(new RegExp(`^onehop_proxy\\{what="${what}"\\} (\\d+)$`, 'm').exec(await agent.admin('/metrics'))?.[1]);
}

describe('a policy at a server that lets one caller in, and nobody else, not even the nodes', () => {
  const policy = (pod: string, on: boolean): Promise<string> =>
    must(inside(lab.pod(pod).netns, ['nft', '-f', '-']), on ? `table ip admit {\n chain in {\n type filter hook input priority 0; policy drop;\n ip saddr { 127.0.0.1, ${lab.pod(pod).address}, ${web().address} } accept\n }\n}\n` : 'delete table ip admit\n');

  test('holds', async () => {
    await policy('far2', true);
    const kept = Promise.all([1, 2, 3, 4].map(() => get(lab, job(), `http://${FAR}/`)));
    const served = await calls(web(), FAR, 200);
    const refused = await kept;
    await policy('far2', false);
    expect(served.filter(({ status, peer }) => status !== 200 || peer !== web().address)).toEqual([]);
    expect(served).toHaveLength(200);
    // On a connection that it had from before, the server's end of keep-alive is all that still comes through.
    for (const answer of refused) expect(answer).toMatchObject({ status: 502, reason: expect.stringMatching(/^(?:connect-failed|upstream-reset)$/) });
    expect(await one(job(), FAR)).toMatchObject({ peer: job().address });
  });

  test('of two servers takes one from the caller that is kept out, and none from the other', async () => {
    await policy('cart2', true);
    // Failed connects of one caller, and what would be checks from this node, long enough for both to have an effect.
    const kept: Readonly<Record<string, number>>[] = [];
    for (let round = 0; round < 12; round++) kept.push(await call(lab, job(), BOTH, 4));
    const tally = await call(lab, web(), BOTH, 100);
    await policy('cart2', false);
    expect(kept).toEqual(Array.from({ length: 12 }, () => ({ cart1: 4 })));
    expect(Object.keys(tally).sort()).toEqual(['cart1', 'cart2']);
  });
});

describe('a server that dies', () => {
  test.each([['the near one of two tiers', CART], ['one of two alike', BOTH]])('%s: no GET fails, and it takes calls again when it is back', async (_which, address) => {
    const loaded = load(lab, web(), address, 5);
    await new Promise((done) => setTimeout(done, 1_500));
    await lab.killPod('cart1');
    expect(await loaded).toMatchObject({ refused: 0, broken: 0 });
    expect(await call(lab, web(), address, 20)).toEqual({ cart2: 20 });
    await lab.startPod('cart1');
    await eventually('cart1 serves again', async () => ((await call(lab, web(), address, 4))['cart1'] ?? 0) > 0);
  });
});

/** What of the way back is there. */
async function wayBack(): Promise<{ rules: number; route: boolean; table: boolean }> {
  const rules = (await inNode('ip', 'rule')).split('\n').filter((line) => line.includes('fwmark 0x1000/0xffff'));
  const route = (await inNode('ip', 'route', 'show', 'table', 'all')).includes('local default dev lo table 9810');
  return { rules: rules.length, route, table: (await inNode('nft', 'list', 'tables')).includes('onehop_client_ip') };
}
const WHOLE = { rules: 2, route: true, table: true };

describe('what the agent installs on the node', () => {
  test('is installed again when somebody removes it', async () => {
    await inNode('ip', 'rule', 'del', 'priority', '90');
    await inNode('ip', 'route', 'flush', 'table', '9810');
    await inNode('nft', 'flush', 'chain', 'ip', 'onehop_client_ip', 'prerouting');
    await eventually('all is there', async () => JSON.stringify(await wayBack()) === JSON.stringify(WHOLE) && (await inNode('nft', 'list', 'table', 'ip', 'onehop_client_ip')).includes('socket transparent'));
    expect(await one(job(), STREAM)).toMatchObject({ status: 200, peer: job().address });
  });

  test('doctor sees what is missing, and when all is well', async () => {
    const doctor = async (): Promise<string> => (await run(inside(node().netns, [process.execPath, MAIN, 'doctor', '--source', `dir:${objects.path}`, '--run-dir', agent.runDir, ...FLAGS]))).stdout;
    await agent.stop('SIGKILL');
    await inNode('ip', 'rule', 'del', 'priority', '90');
    expect(await doctor()).toMatch(/FAIL client ip +missing: add-divert-rule/);
    await agent.start();
    const said = await doctor();
    for (const line of [/ok {3}client ip +servers' answers/, /ok {3}client ip +HAProxy may use/, /ok {3}client ip +no pods/, /note client ip +this node and its pods choose ports from one range/]) expect(said).toMatch(line);
  });

  test('stays with HAProxy when the agent is killed; the next one adopts both, and attached it leaves them', async () => {
    const pids = await agent.haproxyPids();
    await agent.stop('SIGKILL');
    expect(await one(job(), FAR)).toMatchObject({ peer: job().address });
    await agent.start('--haproxy-attach');
    expect(await agent.haproxyPids()).toContain(pids[0]);
    expect(await one(web(), FAR)).toMatchObject({ peer: web().address });
    expect(await agent.stop('SIGTERM')).toBe(0);
    expect(await wayBack()).toEqual(WHOLE);
    expect(await one(web(), CART)).toMatchObject({ peer: web().address });
    await agent.start();
  });

  test('goes with a standalone agent, which leaves nothing behind', async () => {
    expect(await agent.stop('SIGTERM')).toBe(0);
    expect(await wayBack()).toEqual({ rules: 0, route: false, table: false });
    expect(await inNode('nft', 'list', 'tables')).not.toContain('onehop');
    await agent.start();
  });
});

describe('where it cannot work', () => {
  test('HAProxy without the capability: it does not start, and says why', async () => {
    const nothing = ['setpriv', '--reuid', '65532', '--regid', '65532', '--clear-groups', '--inh-caps', '+net_bind_service', '--ambient-caps', '+net_bind_service', '--bounding-set', '-all,+net_bind_service'];
    const folder = `${lab.folder}/denied`;
    await must(['install', '-d', '-o', '65532', folder, `${folder}/state`]);
    await must(['chmod', '755', lab.folder]);
    const argv = [process.execPath, MAIN, 'agent', '--source', `dir:${objects.path}`, '--node-name', 'n2', '--run-dir', folder, '--state-dir', `${folder}/state`, '--no-pool-route', '--dns-listen', '127.92.0.10:5353', ...FLAGS];
    const { code, stderr } = await run(inside(lab.node('n2').netns, [...nothing, ...argv]));
    expect({ code, stderr }).toEqual({ code: 3, stderr: expect.stringMatching(/client-ip-denied.*CAP_NET_RAW/) });
    // One capability, and nothing else changed.
    const allowed = nothing.map((word) => word.replace('+net_bind_service', '+net_bind_service,+net_raw'));
    const started = start(inside(lab.node('n2').netns, [...allowed, ...argv]), `${folder}/allowed.log`);
    await eventually('it starts', async () => (await run(['curl', '-s', '-m', '5', '--unix-socket', `${folder}/admin.sock`, 'http://admin/healthz'])).stdout !== '', 30_000);
    expect(await stop(started, 'SIGTERM')).toBe(0);
  });

  test('no HAProxy at all: the embedded proxy does not take its place', async () => {
    const { code, stderr } = await run([...new LabAgent(lab, 'n2', objects.path, [...FLAGS, '--haproxy-bin', '/nowhere/haproxy']).argv].flatMap((word, i) => (i === 0 ? inside(lab.node('n2').netns, [word]) : [word])));
    expect({ code, stderr }).toEqual({ code: 3, stderr: expect.stringContaining('haproxy-missing') });
  });

  test('a bridge that pods share: found later, it is a Problem of the node; at the start the agent ends and says why', async () => {
    await inNode('ip', 'link', 'add', 'cni0', 'type', 'bridge');
    await inNode('ip', 'link', 'set', 'cni0', 'up');
    await inNode('ip', 'route', 'replace', `${lab.pod('late1').address}/32`, 'dev', 'cni0');
    objects.list('late1');
    await objects.write();
    await eventually('the Problem', async () => (await agent.admin('/routes')).includes('client-ip-bridge'), 30_000);
    await agent.stop('SIGTERM');
    await expect(agent.start()).rejects.toThrow(/ended with 3[^]*cni0[^]*client-ip-bridge/);
    expect(await wayBack()).toEqual({ rules: 0, route: false, table: false });
  });
});

describe("the DaemonSet's two containers", () => {
  const withHaproxy = (haproxyMay?: string) => new Generation(lab, 'n2', objects.path, { flags: FLAGS, ...(haproxyMay === undefined ? {} : { haproxyMay }) });

  test('without NET_RAW for HAProxy the agent ends before it has written a configuration', async () => {
    await makeShared(lab);
    const pod = withHaproxy();
    pod.startContainer('haproxy');
    pod.startContainer('agent');
    await eventually('the agent says why', async () => /client-ip-denied.*CAP_NET_RAW/.test(await pod.logOf('agent')), 90_000);
    expect((await run(['ls', pod.runDir])).stdout).not.toContain('haproxy.cfg');
    await pod.stopContainer('haproxy', 'SIGKILL');
  });

  test('with it they serve', async () => {
    const pod = withHaproxy('+net_raw');
    await pod.start();
    expect(await one(lab.pod('web2'), FAR)).toMatchObject({ pod: 'far2', peer: lab.pod('web2').address });
    expect(await pod.onehop('doctor', '--run-dir', `${lab.folder}/run`, ...FLAGS)).toMatch(/ok {3}client ip +HAProxy may use/);
    expect(await pod.stop()).toEqual([0, 0]);
  });
});
