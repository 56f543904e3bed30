import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { AgentFolders, AgentProcess, call, openNamedServer, killAll, processesWith, simpleObjects, simpleRoute, type RoutesView } from '../support/agent-process.ts';
import { SteadyCallers } from '../support/steady-callers.ts';

/** `--proxy auto` with HAProxy gone and not coming back, and back again. */
const NET = '127.93';
const SERVER = '127.88.93.2';
const CALLER = '127.88.93.1';
const STRANGER = '127.88.93.77';
const CLIENTS = { keepAlive: 6, perCall: 3 };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

function newFolders(): AgentFolders {
  const folders = new AgentFolders();
  cleanups.push(() => folders.remove());
  return folders;
}

function startAgent(folders: AgentFolders, flags: readonly string[]): AgentProcess {
  const agent = new AgentProcess(folders, NET, flags);
  cleanups.push(async () => {
    await agent.stop();
    killAll(processesWith(folders.run));
  });
  return agent;
}

const until = (check: () => unknown, timeout = 60_000): Promise<unknown> => vi.waitFor(check, { timeout, interval: 50 });
const vipOf = (view: RoutesView, name: string): string => view.routes.find((route) => route.name === name)?.vip ?? '';
const callAt = (host: string, from = CALLER) => call({ host, port: 8080, from });
const admin = async ({ adminAddress }: AgentProcess, path: string) => call({ host: adminAddress, port: 9810, path });

async function metric(agent: AgentProcess, name: string): Promise<number> {
  const { body } = await admin(agent, '/metrics');
  const line = body.split('\n').find((one) => one.startsWith(`${name} `));
  return Number(line?.split(' ')[1] ?? 'NaN');
}

const counted = (agent: AgentProcess, what: string): Promise<number> => metric(agent, `onehop_proxy{what="${what}"}`);

/** One that echoes, and never ends. */
async function openEcho(address: string, port: number): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).pipe(socket);
  });
  server.listen(port, address);
  await once(server, 'listening');
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return server;
}

async function openServers(): Promise<void> {
  const server = await openNamedServer('cart-1', SERVER);
  server.keepAliveTimeout = 120_000;
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  await openEcho(SERVER, 8090);
}

const TCP = `
apiVersion: v1
kind: Service
metadata: { name: line-v1, namespace: shop }
spec: { ports: [{ port: 8080, targetPort: 8090, appProtocol: line }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: line-v1-x, namespace: shop, labels: { kubernetes.io/service-name: line-v1 } }
addressType: IPv4
ports: [{ port: 8090 }]
endpoints: [{ addresses: [${SERVER}], nodeName: n1 }]
---
${simpleRoute('line')}`;

/** A connection through the tcp route, on which each word comes back. */
async function openLine(vip: string) {
  const socket = connect({ host: vip, port: 8080, localAddress: CALLER });
  cleanups.push(() => socket.destroy());
  let said = '';
  socket.setEncoding('utf8').on('data', (text: string) => (said += text));
  socket.on('error', () => undefined);
  const echoes = async (word: string): Promise<void> => {
    socket.write(word);
    await until(() => expect(said).toContain(word));
  };
  await once(socket, 'connect');
  await echoes('hello');
  return { socket, echoes };
}

/** A kept HTTP connection that has made one call, and makes another when asked. */
async function openQuiet(vip: string) {
  const socket = connect({ host: vip, port: 8080, localAddress: CALLER });
  cleanups.push(() => socket.destroy());
  let said = '';
  socket.setEncoding('utf8').on('data', (text: string) => (said += text));
  socket.on('error', () => undefined);
  const asks = async (): Promise<string> => {
    said = '';
    socket.write('GET / HTTP/1.1\r\nhost: cart\r\n\r\n');
    await until(() => expect(said).toContain('cart-1'));
    return said;
  };
  await once(socket, 'connect');
  await asks();
  return { socket, asks };
}

/** A HAProxy that neither starts nor judges a configuration while the file `broken` is there: as one that lacks a library. */
function breakable(folders: AgentFolders) {
  const binary = join(folders.root, 'haproxy');
  const broken = join(folders.root, 'broken');
  writeFileSync(binary, `#!/bin/sh\nif [ -e ${broken} ] && [ "$1" != -vv ]; then exit 127; fi\nexec haproxy "$@"\n`);
  chmodSync(binary, 0o755);
  return { binary, break: () => writeFileSync(broken, ''), mend: () => rmSync(broken) };
}

/** One of the node's commands, in a process of its own. */
function command(name: 'doctor' | 'explain', { run }: AgentFolders, last: string): Promise<{ readonly code: number; readonly out: string }> {
  const flags = name === 'explain' ? [last] : [`--vip-pool=${NET}.0.0/16`, `--dns-listen=${NET}.0.10:5353`, `--admin-listen=${NET}.0.11:9810`, '--http-port=8080', `--haproxy-bin=${last}`];
  return new Promise((resolve) => {
    execFile(process.execPath, ['src/onehop.mjs', name, ...flags, `--run-dir=${run}`], (error, out) => resolve({ code: error === null ? 0 : Number(error.code), out }));
  });
}

const killHaproxy = (folders: AgentFolders): void => {
  killAll(processesWith(`${folders.run}/master.sock,`));
};

async function serveRoutes(folders: AgentFolders, flags: readonly string[]) {
  folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER));
  folders.write('tcp.yaml', TCP);
  await openServers();
  const agent = startAgent(folders, flags);
  const view = await agent.until('the routes', ({ routes }) => routes.length === 2, 90_000);
  return { agent, cart: vipOf(view, 'cart'), line: vipOf(view, 'line') };
}

function callers(host: string): SteadyCallers {
  const steady = new SteadyCallers({ host, port: 8080, from: CALLER }, CLIENTS);
  cleanups.push(() => steady.stop());
  return steady;
}

/** Of the calls that failed while HAProxy was gone and nothing stood in: those that were refused, and those that it had in hand. */
function gapOf(steady: SteadyCallers, phase: string) {
  const { ECONNREFUSED: refused = 0, ...others } = steady.tally(phase).failed;
  return { refused, inFlight: Object.values(others).reduce((sum, count) => sum + count, 0) };
}

describe('a HAProxy that does not start any more', () => {
  it('is stood in for, and given back what it had without a failed call', { timeout: 400_000 }, async () => {
    const folders = newFolders();
    const haproxy = breakable(folders);
    const { agent, cart, line } = await serveRoutes(folders, [`--haproxy-bin=${haproxy.binary}`]);
    const steady = callers(cart);
    await steady.answered('start', 100);
    expect(steady.tally('start').failed).toEqual({});
    const answeredBefore = await metric(agent, 'onehop_answered_calls_total{tier="node"}');
    expect(answeredBefore).toBeGreaterThan(50);

    steady.phase('gone');
    haproxy.break();
    const begun = Date.now();
    killHaproxy(folders);
    await agent.until('the stand-in', ({ proxy }) => proxy === 'embedded', 60_000);
    await steady.answered('gone', 20);
    // The aim is 4 s; the bound leaves room for a loaded machine.
    expect(Date.now() - begun).toBeLessThan(30_000);
    const { refused, inFlight } = gapOf(steady, 'gone');
    expect(refused).toBeGreaterThan(0);
    // Each client had at most one call in it.
    expect(inFlight).toBeLessThanOrEqual(CLIENTS.keepAlive + CLIENTS.perCall);

    steady.phase('standing');
    expect(await admin(agent, '/readyz')).toMatchObject({ status: 200, body: expect.stringMatching(/^ready\nproxy: the embedded proxy stands in for HAProxy/) });
    expect([await counted(agent, 'standing_in'), await counted(agent, 'stand_ins')]).toEqual([1, 1]);
    expect(agent.log).toContain('HAProxy is gone and not coming back: the embedded proxy stands in');
    expect(await command('doctor', folders, haproxy.binary)).toMatchObject({ code: 1, out: expect.stringMatching(/FAIL haproxy .*the embedded proxy stands in for HAProxy/) });
    expect(await command('explain', folders, 'http://cart.shop:8080/')).toMatchObject({ code: 0, out: expect.stringMatching(/^proxy .*the embedded proxy stands in for HAProxy/m) });
    expect((await agent.routes()).problems).toMatchObject([{ code: 'standing-in', object: { kind: 'Node' } }]);
    expect(await callAt(cart, STRANGER)).toMatchObject({ status: 403, reason: 'caller-unknown' });
    folders.write('more.yaml', simpleRoute('more', '{ rule: { type: "" }, to: [{ kind: Service, name: cart-v1 }] }'));
    const more = vipOf(await agent.until('a new route', ({ routes }) => routes.length === 3, 90_000), 'more');
    await until(async () => expect(await callAt(more)).toMatchObject({ status: 200, body: 'cart-1' }));
    const long = await openLine(line);
    const quiet = await openQuiet(cart);

    haproxy.mend();
    await agent.until('HAProxy', ({ proxy }) => proxy === 'haproxy', 90_000);
    steady.phase('after');
    await steady.answered('after', 200);
    await until(async () => expect(await counted(agent, 'stand_ins_living')).toBe(1));
    expect(agent.log).toContain('HAProxy serves again');
    await long.echoes('still here');
    // Nobody ended the connection under its feet.
    expect(await quiet.asks()).toMatch(/^HTTP\/1.1 200[^]*connection: close/i);
    await until(() => expect(quiet.socket.closed).toBe(true));
    expect(await callAt(more)).toMatchObject({ status: 200 });
    expect(await admin(agent, '/readyz')).toMatchObject({ status: 200, body: 'ready\n' });
    await agent.until('no problem', ({ problems }) => problems.length === 0, 90_000);
    // Both are in the sum, which is that of HAProxy's new worker and of the calls that were stood in for.
    expect(await metric(agent, 'onehop_answered_calls_total{tier="node"}')).toBeGreaterThanOrEqual(steady.tally('standing').ok);
    long.socket.destroy();
    // Its thread and memory are given back, too.
    await until(async () => expect([await counted(agent, 'standing_in'), await counted(agent, 'stand_ins_living')]).toEqual([0, 0]));
    await steady.stop();
    const failed = [steady.tally('standing').failed, steady.tally('after').failed];
    expect(failed.every((each) => Object.keys(each).length === 0) ? [] : [agent.log, failed]).toEqual([]);
    expect(steady.tally('standing').ok).toBeGreaterThan(100);
  });
});

const LAUNCHER = 'daemonset/onehop-haproxy';

/** The supervisor of an attached HAProxy, which is ended with it. */
function launch(runDir: string): { readonly end: () => Promise<void> } {
  const child: ChildProcess = spawn(LAUNCHER, [runDir], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  const end = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
    killAll(processesWith(`${runDir}/master.sock,`));
  };
  cleanups.push(end);
  return { end };
}

describe('a HAProxy of another supervisor', () => {
  it('that is gone is stood in for, and given back what it had without a failed call', { timeout: 400_000 }, async () => {
    const folders = newFolders();
    const first = launch(folders.run);
    const { agent, cart, line } = await serveRoutes(folders, ['--haproxy-attach']);
    const steady = callers(cart);
    await steady.answered('start', 100);
    // A call that is in HAProxy when that is killed counts for the phase in which it began.
    expect(steady.tally('start').failed).toEqual({});
    steady.phase('gone');
    await first.end();
    await agent.until('the stand-in', ({ proxy }) => proxy === 'embedded', 60_000);
    await steady.answered('gone', 20);
    expect(gapOf(steady, 'gone').inFlight).toBeLessThanOrEqual(CLIENTS.keepAlive + CLIENTS.perCall);
    steady.phase('standing');
    expect(await admin(agent, '/readyz')).toMatchObject({ status: 200 });
    const long = await openLine(line);
    // It finds on disk what changed meanwhile.
    folders.write('more.yaml', simpleRoute('more', '{ rule: { type: "" }, to: [{ kind: Service, name: cart-v1 }] }'));
    const more = vipOf(await agent.until('a new route', ({ routes }) => routes.length === 3, 90_000), 'more');

    launch(folders.run);
    await agent.until('HAProxy', ({ proxy }) => proxy === 'haproxy', 90_000);
    steady.phase('after');
    await steady.answered('after', 200);
    expect(await callAt(more)).toMatchObject({ status: 200 });
    await long.echoes('still here');
    await steady.stop();
    expect([steady.tally('standing').failed, steady.tally('after').failed]).toEqual([{}, {}]);
  });

  it('that an agent adopted while its source was away is stood in for with the stored snapshot', { timeout: 300_000 }, async () => {
    const folders = newFolders();
    const supervisor = launch(folders.run);
    const { agent, cart } = await serveRoutes(folders, ['--haproxy-attach']);
    const stored = join(folders.state, 'snapshot.jsonl');
    await until(() => expect(existsSync(stored)).toBe(true));
    copyFileSync(stored, `${stored}.older`);
    folders.write('more.yaml', simpleRoute('more', '{ rule: { type: "" }, to: [{ kind: Service, name: cart-v1 }] }'));
    const more = vipOf(await agent.until('a new route', ({ routes }) => routes.length === 3, 90_000), 'more');
    await until(async () => expect(await callAt(more)).toMatchObject({ status: 200 }));
    await agent.stop('SIGKILL');
    renameSync(`${stored}.older`, stored);
    renameSync(folders.objects, `${folders.objects}.away`);
    const second = startAgent(folders, ['--haproxy-attach']);
    await until(async () => expect(await admin(second, '/readyz')).toMatchObject({ status: 200, body: expect.stringMatching(/serving the snapshot/) }));
    expect(await callAt(cart)).toMatchObject({ status: 200 });

    await supervisor.end();
    await second.until('the stand-in', ({ proxy }) => proxy === 'embedded', 60_000);
    expect(await callAt(cart)).toMatchObject({ status: 200 });
    expect((await admin(second, '/readyz')).body).toMatch(/stands in/);

    // It comes back with what it had, which is newer than what was stored.
    launch(folders.run);
    await second.until('HAProxy', ({ proxy }) => proxy === 'haproxy', 90_000);
    for (const vip of [cart, more]) expect(await callAt(vip)).toMatchObject({ status: 200 });
  });

  it('is not stood in for with --proxy haproxy', { timeout: 300_000 }, async () => {
    const folders = newFolders();
    const first = launch(folders.run);
    const { agent, cart } = await serveRoutes(folders, ['--haproxy-attach', '--proxy=haproxy']);
    expect(await callAt(cart)).toMatchObject({ status: 200 });
    await first.end();
    await until(async () => expect(await admin(agent, '/readyz')).toMatchObject({ status: 503, body: expect.stringMatching(/^proxy: no HAProxy answers/) }));
    // Longer than it takes a stand-in to begin: the passes that follow each other every 5 s are waited for.
    await until(() => expect(agent.log.match(/haproxy-failed/g)?.length ?? 0).toBeGreaterThan(0));
    await expect(callAt(cart)).rejects.toThrow(/ECONNREFUSED/);
    expect((await agent.routes()).proxy).toBe('haproxy');
    expect(await metric(agent, 'onehop_proxy{what="standing_in"}')).toBeNaN();
  });
});

describe('two generations on one node', () => {
  const ONE = '11111111-1111-4111-8111-111111111111';
  const TWO = '22222222-2222-4222-8222-222222222222';
  const generation = (folders: AgentFolders, uid: string): AgentFolders => {
    const own = { root: folders.root, objects: folders.objects, run: join(folders.root, 'runs', uid), state: join(folders.root, uid), write: folders.write.bind(folders), remove: () => undefined };
    mkdirSync(own.run, { recursive: true, mode: 0o700 });
    return own;
  };
  const ask = ({ run }: AgentFolders, path: string): string => spawnSync('curl', ['-s', '--unix-socket', join(run, 'admin.sock'), `http://agent${path}`], { encoding: 'utf8' }).stdout;
  const proxyOf = (folders: AgentFolders): string => (JSON.parse(ask(folders, '/routes') || '{}') as { readonly proxy?: string }).proxy ?? '';

  it('stand in for no HAProxy while the other one serves; a new HAProxy takes over from the stand-in of the old generation', { timeout: 300_000 }, async () => {
    const folders = newFolders();
    const [one, two] = [generation(folders, ONE), generation(folders, TWO)];
    folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER));
    await openServers();
    const oldHaproxy = launch(one.run);
    const first = startAgent(one, ['--haproxy-attach']);
    const cart = vipOf(await first.until('the route', ({ routes }) => routes.length === 1, 90_000), 'cart');
    const steady = callers(cart);
    await steady.answered('start', 100);

    // A new generation whose HAProxy does not come up takes nothing, and is not ready: the update stops there.
    const second = startAgent(two, ['--haproxy-attach']);
    await until(() => expect(second.log).toContain('the HAProxy of another generation serves this node'));
    expect(ask(two, '/readyz')).toMatch(/^proxy: no HAProxy answers/m);
    expect(await second.stop()).toBe(0);
    expect(second.log).not.toContain('stands in (');

    // Now the old one has lost its HAProxy, and the new generation comes with one that works.
    expect(steady.tally('start').failed).toEqual({});
    steady.phase('gone');
    await oldHaproxy.end();
    await until(() => expect(proxyOf(one)).toBe('embedded'));
    await steady.answered('gone', 20);
    steady.phase('update');
    launch(two.run);
    const third = startAgent(two, ['--haproxy-attach']);
    await until(() => expect(ask(two, '/readyz')).toBe('ready\n'));
    expect(third.log).not.toContain('port-taken');
    expect(proxyOf(two)).toBe('haproxy');
    expect(await first.stop()).toBe(0);
    steady.phase('after');
    await steady.answered('after', 200);
    await steady.stop();
    expect([steady.tally('update').failed, steady.tally('after').failed]).toEqual([{}, {}]);
  });
});
