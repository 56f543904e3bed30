import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createTcpServer } from 'node:net';
import { spawn, spawnSync } from 'node:child_process';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { AgentFolders, AgentProcess, call, openNamedServer, killAll, processesWith, simpleObjects, simpleRoute, type RoutesView } from '../support/agent-process.ts';

/** Life and death of a whole agent with a real HAProxy: what must stay, what must go, what must come back. */
const NET = '127.70';
const SERVER = '127.88.70.2';
const CALLER = '127.88.70.1';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

function newFolders(): AgentFolders {
  const folders = new AgentFolders();
  cleanups.push(() => folders.remove());
  return folders;
}

function startAgent(folders: AgentFolders, flags: readonly string[] = ['--proxy=haproxy'], net = NET): AgentProcess {
  const agent = new AgentProcess(folders, net, flags);
  cleanups.push(async () => {
    await agent.stop();
    killAll(processesWith(folders.run));
  });
  return agent;
}

async function openServer(name = 'cart-1', address = SERVER): Promise<Server> {
  const server = await openNamedServer(name, address);
  cleanups.push(() => new Promise((resolve) => {
    server.closeAllConnections();
    server.close(resolve);
  }));
  return server;
}

const vipOf = (view: RoutesView, name = 'cart'): string => view.routes.find((route) => route.name === name)?.vip ?? '';
const codes = (view: RoutesView) => view.problems.map((one) => `${one.object.name} ${one.code}`);
const callCart = (vip: string) => call({ host: vip, port: 8080, from: CALLER });

/** Milliseconds until the route answers 200 again. */
async function untilServed(vip: string, limitMs = 5_000): Promise<number> {
  const start = performance.now();
  while (performance.now() - start < limitMs) {
    const { status } = await callCart(vip).catch(() => ({ status: 0 }));
    if (status === 200) return performance.now() - start;
    await delay(10);
  }
  throw new Error(`not served again within ${limitMs} ms`);
}

async function startServing(flags?: readonly string[]) {
  const folders = newFolders();
  folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER));
  await openServer();
  const agent = startAgent(folders, flags);
  const vip = vipOf(await agent.until('the route', (view) => view.routes.length === 1));
  expect(await callCart(vip)).toMatchObject({ status: 200, body: 'cart-1' });
  return { folders, agent, vip };
}

async function waitFor(condition: () => boolean, limitMs = 60_000): Promise<void> {
  for (const end = Date.now() + limitMs; !condition(); await delay(50)) if (Date.now() > end) throw new Error(`not within ${limitMs} ms`);
}

const masterPid = (folders: AgentFolders): number => Number(readFileSync(join(folders.run, 'haproxy.pid'), 'utf8').trim());

describe('an agent that is asked to stop', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('by %s ends with 0 and leaves no process and no socket', async (signal) => {
    const { folders, agent, vip } = await startServing();
    expect(await agent.stop(signal)).toBe(0);
    expect(processesWith(folders.run)).toEqual([]);
    for (const socket of ['admin.sock', 'haproxy.sock', 'master.sock']) expect(existsSync(join(folders.run, socket))).toBe(false);
    await expect(callCart(vip)).rejects.toThrow(/ECONNREFUSED/);
  });

  it('lets a call in flight finish', async () => {
    const folders = newFolders();
    folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER));
    const server = await openServer();
    server.removeAllListeners('request');
    server.on('request', (_, response) => setTimeout(() => response.end('slow'), 1_500));
    const agent = startAgent(folders);
    const vip = vipOf(await agent.until('the route', (view) => view.routes.length === 1));
    const slow = callCart(vip);
    await delay(300);
    const code = agent.stop();
    expect(await slow).toMatchObject({ status: 200, body: 'slow' });
    expect(await code).toBe(0);
  });
});

describe('an agent under npx', () => {
  it('ends with the npx that is asked to stop, though npm passes no signal on', async () => {
    const folders = newFolders();
    folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER));
    const npx = spawn('npx', ['onehop', 'agent', `--source=dir:${folders.objects}`, '--node-name=n1', `--vip-pool=${NET}.0.0/16`, '--http-port=8080', `--dns-listen=${NET}.0.10:5353`, `--admin-listen=${NET}.0.11:9810`, `--run-dir=${folders.run}`, `--state-dir=${folders.state}`], { stdio: 'ignore' });
    cleanups.push(() => {
      killAll(processesWith(folders.run));
    });
    await waitFor(() => existsSync(join(folders.run, 'haproxy.sock')));
    npx.kill('SIGTERM');
    await waitFor(() => processesWith(folders.run).length === 0);
    expect(existsSync(join(folders.run, 'master.sock'))).toBe(false);
  });
});

describe('HAProxy that is killed', () => {
  const killed = (folders: AgentFolders, which: 'master' | 'worker'): number => {
    const master = masterPid(folders);
    const [worker = ''] = spawnSync('pgrep', ['-P', String(master)], { encoding: 'utf8' }).stdout.trim().split('\n');
    process.kill(which === 'master' ? master : Number(worker), 'SIGKILL');
    return master;
  };

  it.each(['master', 'worker'] as const)('(-9, the %s) is started again at once', async (which) => {
    const { folders, vip } = await startServing();
    const master = killed(folders, which);
    await delay(20);
    // The aim is one second; the bound leaves room for a loaded machine.
    expect(await untilServed(vip)).toBeLessThan(2_500);
    expect(masterPid(folders)).not.toBe(master);
  });

  it('again and again is started again at once each time: only one that cannot stay up is waited for', async () => {
    const { folders, vip } = await startServing();
    for (let times = 0; times < 6; times++) {
      await delay(2_300);
      killed(folders, 'worker');
      await delay(20);
      expect(await untilServed(vip, 15_000), `kill ${times + 1}`).toBeLessThan(2_500);
    }
  }, 60_000);
});

describe('an agent that is killed', () => {
  it('leaves HAProxy serving, and the next one adopts it', async () => {
    const { folders, agent, vip } = await startServing();
    const master = masterPid(folders);
    await agent.stop('SIGKILL');
    expect(await callCart(vip)).toMatchObject({ status: 200 });

    const next = startAgent(folders);
    await next.until('the route', (view) => view.routes.length === 1);
    expect(masterPid(folders)).toBe(master);
    expect(await callCart(vip)).toMatchObject({ status: 200 });
    folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER) + '---' + simpleRoute('cart2', '{ rule: { type: "" }, to: [{ kind: Service, name: cart-v1 }] }'));
    const view = await next.until('a second route', ({ routes }) => routes.length === 2);
    expect(await callCart(vipOf(view, 'cart2'))).toMatchObject({ status: 200 });
    expect(await next.stop()).toBe(0);
    expect(processesWith(folders.run)).toEqual([]);
  });

  it('keeps the addresses of routes over a restart', async () => {
    const { folders, agent, vip } = await startServing();
    await agent.stop();
    folders.write('a.yaml', Array.from({ length: 30 }, (_, i) => simpleRoute(`r${i}`)).join('---'));
    const next = startAgent(folders);
    expect(vipOf(await next.until('31 routes', (view) => view.routes.length === 31))).toBe(vip);
  });
});

describe('an agent with --haproxy-attach', () => {
  it('never ends the HAProxy that another supervisor runs', async () => {
    const { folders, agent, vip } = await startServing();
    await agent.stop('SIGKILL');
    const attached = startAgent(folders, ['--haproxy-attach']);
    await attached.until('the route', (view) => view.routes.length === 1);
    expect(await attached.stop()).toBe(0);
    expect(await callCart(vip)).toMatchObject({ status: 200 });
  });
});

describe('metrics', () => {
  it.each(['haproxy', 'embedded'])('count calls by what became of them (%s)', async (proxy) => {
    const { agent, vip } = await startServing([`--proxy=${proxy}`]);
    await callCart(vip);
    expect(await call({ host: vip, port: 8080, from: '127.88.70.77' })).toMatchObject({ status: 403, reason: 'caller-unknown' });
    const { body } = await call({ host: agent.adminAddress, port: 9810, path: '/metrics' });
    expect(body).toContain('onehop_answered_calls_total{tier="node"} 2');
    expect(body).toContain('onehop_refused_calls_total{reason="caller-unknown"} 1');
    expect(body.includes('onehop_route_calls_total{namespace="shop",route="cart"} 3')).toBe(proxy === 'haproxy');
  });
});

describe('what cannot be served', () => {
  it.each(['haproxy', 'embedded'])('a port taken by a wildcard listener at a cold start is a Problem, other routes go on (%s)', async (proxy) => {
    const folders = newFolders();
    const taken = createTcpServer();
    await new Promise<void>((resolve) => taken.listen(8765, '0.0.0.0', resolve));
    cleanups.push(() => new Promise((resolve) => taken.close(resolve)));
    folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER));
    folders.write('taken.yaml', simpleRoute('taken', '{ rule: { type: "" }, port: { listen: 8765 }, to: [{ kind: Service, name: cart-v1 }] }'));
    await openServer();
    const agent = startAgent(folders, [`--proxy=${proxy}`]);
    const view = await agent.until('both routes', ({ routes }) => routes.length === 2);
    expect(codes(view)).toEqual(['taken port-taken']);
    expect(view.problems[0]?.message).toContain(`pid ${process.pid}`);
    expect(await callCart(vipOf(view))).toMatchObject({ status: 200 });
    expect(agent.log).toContain('port-taken');
    const { body } = await call({ host: agent.adminAddress, port: 9810, path: '/metrics' });
    expect(body).toContain('onehop_route_problems{namespace="shop",route="taken",code="port-taken"} 1');

    await new Promise((resolve) => taken.close(resolve));
    const freed = await agent.until('the port is free', ({ problems }) => problems.length === 0, 25_000);
    expect(await call({ host: vipOf(freed, 'taken'), port: 8765, from: CALLER })).toMatchObject({ status: 200 });
  });

  it.each([
    ['a broken ServiceRoute', simpleRoute('bad', '{ rule: { type: Sometimes }, to: [] }'), 'field-invalid'],
    ['a regex that does not compile', simpleRoute('bad', '{ rule: { type: Header, header: x }, to: [{ kind: Service, name: cart-v1, balance: { rule: "(" } }] }'), 'regex-invalid'],
    ['a name that breaks out of a line', `apiVersion: paas.io/v1\nkind: ServiceRoute\nmetadata: { name: "x\\n  bind :1", namespace: shop }\nspec: { rule: { type: "" }, to: [{ name: a }] }\n`, 'name-invalid'],
    ['a file that is not YAML', 'a: [b\n', 'file-unreadable'],
  ])('%s is one Problem while other routes go on changing', async (_what, text, code) => {
    const { folders, agent, vip } = await startServing();
    folders.write('bad.yaml', text);
    const view = await agent.until('the Problem', ({ problems }) => problems.some((one) => one.code === code));
    for (const one of view.problems) expect(one.remedy).not.toBe('');
    folders.write('more.yaml', simpleRoute('more', '{ rule: { type: "" }, to: [{ kind: Service, name: cart-v1 }] }'));
    const grown = await agent.until('another route', ({ routes }) => routes.some((route) => route.name === 'more'));
    expect(await callCart(vipOf(grown, 'more'))).toMatchObject({ status: 200 });
    expect(await callCart(vip)).toMatchObject({ status: 200 });
    expect(agent.log).toContain(code);
  });
});

describe('exit codes', () => {
  const run = (...argv: string[]) => spawnSync(process.execPath, [join(import.meta.dirname, '../../src/onehop.mjs'), ...argv], { encoding: 'utf8', timeout: 20_000 });

  it('are 2 for wrong usage, with every error and a hint', () => {
    const { status, stderr } = run('agent', '--source', 'dir:/nowhere', '--http-port', 'eighty', '--zome', 'x');
    expect(status).toBe(2);
    expect(stderr).toContain('--http-port');
    expect(stderr).toContain('did you mean --zone');
  });

  it("are 2 where servers could not see callers' addresses", () => {
    expect(run('agent', '--source', 'dir:/tmp', '--client-ip', 'preserve', '--vip-pool=127.70.0.0/16')).toMatchObject({ status: 2, stderr: expect.stringContaining('another --vip-pool') });
    expect(run('agent', '--source', 'dir:/tmp', '--client-ip', 'preserve', '--proxy', 'embedded')).toMatchObject({ status: 2, stderr: expect.stringContaining('needs HAProxy') });
  });

  it('are 3 when HAProxy is wanted and missing', () => {
    const folders = newFolders();
    const { status, stderr } = run('agent', `--source=dir:${folders.objects}`, '--proxy=haproxy', '--haproxy-bin=/nowhere/haproxy', `--run-dir=${folders.run}`, `--state-dir=${folders.state}`, '--vip-pool=127.70.0.0/16', '--dns-listen=127.70.0.10:5353', '--admin-listen=127.70.0.11:9810');
    expect([status, stderr]).toEqual([3, expect.stringContaining('--haproxy-bin')]);
  });

  it('are 3 when the DNS port is taken, and nothing is left behind', async () => {
    const folders = newFolders();
    const taken = createTcpServer();
    await new Promise<void>((resolve) => taken.listen(5353, '127.70.0.10', resolve));
    cleanups.push(() => new Promise((resolve) => taken.close(resolve)));
    folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER));
    const agent = startAgent(folders);
    expect(await agent.exit()).toBe(3);
    expect(agent.log).toContain('--dns-listen');
    expect(processesWith(folders.run)).toEqual([]);
  });

  it('are 3 when another agent has the run folder', async () => {
    const { folders } = await startServing();
    const second = startAgent(folders, ['--proxy=haproxy'], '127.69');
    expect(await second.exit()).toBe(3);
    expect(second.log).toMatch(/run.dir/i);
  });

  it('a torn ledger is put aside and said', async () => {
    const { folders, agent } = await startServing();
    await agent.stop();
    writeFileSync(join(folders.state, 'vips.json'), '{"format":1,"led');
    const next = startAgent(folders);
    await next.until('the route', (view) => view.routes.length === 1);
    expect(next.log).toContain('vips.json.refused');
  });
});
