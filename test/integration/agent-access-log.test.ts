import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { AgentFolders, AgentProcess, call, killAll, processesWith, simpleObjects, simpleRoute } from '../support/agent-process.ts';
import { speak, until } from '../support/wire.ts';

/** The access log of a whole agent: what users see when they write `spec.log`. */
const NET = '127.58';
const SERVER = '127.88.53.100';
const CALLER = '127.88.53.1';
const FOREIGN = '127.88.53.2';
const STRANGER = '127.88.53.9';

const FOREIGN_POD = `
apiVersion: v1
kind: Pod
metadata: { name: foreign, namespace: other }
spec: { nodeName: n1, serviceAccountName: robot }
status: { phase: Running, podIP: ${FOREIGN} }
`;
const logged = (log: string): string => simpleRoute('cart', `{ rule: { type: "" }, to: [{ kind: Service, name: cart-v1 }], log: ${log} }`);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

interface Line {
  readonly level: string;
  readonly log?: string;
  readonly at?: string;
  readonly route?: string;
  readonly path?: string;
  readonly status?: number;
  readonly reason?: string;
  readonly caller?: { readonly address: string };
  readonly lines?: number;
  readonly routes?: readonly string[];
}
const linesOf = (agent: AgentProcess): readonly Line[] => agent.log.split('\n').flatMap((line) => (line.startsWith('{') && line.endsWith('}') ? [JSON.parse(line) as Line] : []));
const accessOf = (agent: AgentProcess): readonly Line[] => linesOf(agent).filter(({ log }) => log === 'access');

function startAgent(folders: AgentFolders, flags: readonly string[]): AgentProcess {
  const agent = new AgentProcess(folders, NET, ['--log-level=warn', ...flags]);
  cleanups.push(async () => {
    agent.child.kill('SIGCONT');
    await agent.stop();
    killAll(processesWith(folders.run));
  });
  return agent;
}

async function startWorld(proxy: string, log: string) {
  const folders = new AgentFolders();
  cleanups.push(() => folders.remove());
  const server: Server = createServer((request, response) => {
    response.statusCode = request.url?.startsWith('/500') === true ? 500 : 200;
    response.end('ok');
  });
  await new Promise<void>((resolve) => server.listen(8080, SERVER, resolve));
  cleanups.push(() => new Promise((resolve) => {
    server.closeAllConnections();
    server.close(resolve);
  }));
  folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER).replace(/---\s*apiVersion: paas[\s\S]*/, `---${logged(log)}`));
  folders.write('foreign.yaml', FOREIGN_POD);
  const agent = startAgent(folders, [`--proxy=${proxy}`]);
  const vip = (await agent.until('the route', (view) => view.routes.length === 1, 60_000)).routes[0]?.vip ?? '';
  const get = (path: string, from = CALLER, headers: Record<string, string> = {}) => call({ host: vip, port: 8080, from, path, headers });
  return { folders, agent, vip, get };
}

/** Calls until a line with this path has come: what was called before has been told by then. */
async function untilTold(agent: AgentProcess, get: (path: string) => Promise<unknown>, path: string): Promise<void> {
  await until(async () => {
    await get(path);
    return accessOf(agent).some((line) => line.path === path);
  }, () => agent.log.slice(-2000));
}

const reloads = async (agent: AgentProcess): Promise<number> => {
  const { body } = await call({ host: agent.adminAddress, port: 9810, path: '/metrics' });
  return Number(/^onehop_proxy\{what="reloads"\} (\d+)/m.exec(body)?.[1]);
};

describe.each(['haproxy', 'embedded'])('the access log with --proxy=%s', { timeout: 120_000 }, (proxy) => {
  it('Errors: one line for each call that was refused or failed, at any log level, without query and headers', async () => {
    const { agent, get } = await startWorld(proxy, '{ mode: Errors }');
    await untilTold(agent, get, '/500/first');
    await get('/fine');
    await get('/500?password=hidden', CALLER, { authorization: 'Bearer sesame', 'x-onehop-reason': 'sesame' });
    await get('/private', FOREIGN);
    expect(await get('/', STRANGER)).toMatchObject({ status: 403 });
    const others = (): readonly Line[] => accessOf(agent).filter(({ path }) => path !== '/500/first');
    await until(() => others().length >= 3, () => agent.log.slice(-2000));
    const lines = others();
    expect(lines).toMatchObject([
      { level: 'info', log: 'access', namespace: 'shop', route: 'cart', protocol: 'http', version: 'cart-v1', tier: 'node', method: 'GET', path: '/500', status: 500, caller: { address: CALLER, namespace: 'shop', pod: 'caller-cart', serviceAccount: 'default' }, server: { address: SERVER, port: 8080 } },
      { path: '/private', status: 403, reason: 'namespace-isolated', caller: { address: FOREIGN, namespace: 'other', serviceAccount: 'robot' } },
      { path: '/', status: 403, reason: 'caller-unknown', caller: { address: STRANGER } },
    ]);
    expect(Math.abs(Date.parse(lines[0]?.at ?? '') - Date.now())).toBeLessThan(60_000);
    expect(agent.log).not.toContain('hidden');
    expect(agent.log).not.toContain('sesame');
  });

  it('Sampled: all at 100, none at 0, and neither at Off; a change of it comes into force', async () => {
    const { agent, folders, get } = await startWorld(proxy, '{ mode: Sampled, percent: 100 }');
    await untilTold(agent, get, '/first');
    for (let i = 0; i < 10; i++) await get(`/n/${i}`);
    await until(() => accessOf(agent).filter(({ path }) => path?.startsWith('/n/') === true).length === 10, () => agent.log.slice(-2000));
    for (const log of ['{ mode: Sampled, percent: 0 }', '{ mode: "Off" }']) {
      const { generation } = await agent.routes();
      folders.write('route.yaml', logged(log));
      folders.write('objects.yaml', simpleObjects('cart', SERVER, CALLER).replace(/---\s*apiVersion: paas[\s\S]*/, ''));
      await agent.until('the change', (view) => view.generation > generation, 60_000);
      const seen = accessOf(agent).length;
      for (let i = 0; i < 5; i++) await get('/500/silent');
      expect(accessOf(agent).slice(seen)).toEqual([]);
    }
    folders.write('route.yaml', logged('{ mode: Errors }'));
    await untilTold(agent, get, '/500/again');
    expect(accessOf(agent).filter(({ path }) => path === '/500/silent')).toEqual([]);
  });

  it('a hostile path makes one line, bounded and printable', async () => {
    const { agent, vip, get } = await startWorld(proxy, '{ mode: Sampled, percent: 100 }');
    await untilTold(agent, get, '/first');
    const hostile = ['/%0d%0a{"level":"error"}', '/"},{"level":"fatal"', '/%00%1b[31m', `/${'y'.repeat(4000)}`];
    for (const path of hostile) await speak(vip, 8080, `GET ${path} HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n`, CALLER);
    await speak(vip, 8080, `GET /${'z'.repeat(65_536)} HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n`, CALLER);
    await untilTold(agent, get, '/last');
    const lines = accessOf(agent).filter(({ path }) => path !== '/first' && path !== '/last' && path !== undefined);
    expect(lines).toHaveLength(hostile.length);
    for (const { path = '' } of lines) expect(path).toMatch(/^\/[\x20-\x7e]{1,255}$/);
    expect(linesOf(agent).filter(({ level }) => !['info', 'warn'].includes(level))).toEqual([]);
  });

  it('a flood is cut to what a node writes, and that is said and counted', async () => {
    const { agent, get, vip } = await startWorld(proxy, '{ mode: Errors }');
    await untilTold(agent, get, '/500/first');
    const begun = Date.now();
    // Many on one connection: even a busy machine does more of them in a second than are written.
    const requests = `${'GET /500/flood HTTP/1.1\r\nHost: cart\r\n\r\n'.repeat(199)}GET /500/flood HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n`;
    await Promise.all(Array.from({ length: 4 }, () => speak(vip, 8080, requests, CALLER)));
    await until(() => linesOf(agent).some(({ lines }) => lines !== undefined), () => agent.log.slice(-500));
    const seconds = (Date.now() - begun) / 1000;
    const written = accessOf(agent).length;
    expect(written).toBeGreaterThanOrEqual(100);
    expect(written).toBeLessThanOrEqual(100 + 50 * seconds + 2);
    expect(linesOf(agent).find(({ lines }) => lines !== undefined)?.routes?.[0]).toMatch(/^shop\/cart: \d+$/);
    const { body } = await call({ host: agent.adminAddress, port: 9810, path: '/metrics' });
    expect(Number(/^onehop_access_log_lines_total\{what="left_out"\} (\d+)/m.exec(body)?.[1])).toBeGreaterThan(0);
    expect(Number(/^onehop_access_log_lines_total\{what="written"\} (\d+)/m.exec(body)?.[1])).toBe(accessOf(agent).length);
  });
});

describe('the access log over the life of the agent, with HAProxy', { timeout: 120_000 }, () => {
  it('comes again after the agent was killed, without a reload', async () => {
    const { agent, folders, get } = await startWorld('haproxy', '{ mode: Errors }');
    await untilTold(agent, get, '/500/first');
    await agent.stop('SIGKILL');
    await get('/500/unseen');
    const next = startAgent(folders, ['--proxy=haproxy']);
    await next.until('the route', (view) => view.routes.length === 1, 60_000);
    await untilTold(next, get, '/500/second');
    expect(await reloads(next)).toBe(0);
    expect(accessOf(next).filter(({ path }) => path === '/500/first')).toEqual([]);
  });

  it('an agent that stands still keeps nobody waiting, and hears what HAProxy has kept', async () => {
    const { agent, get } = await startWorld('haproxy', '{ mode: Errors }');
    await untilTold(agent, get, '/500/first');
    agent.child.kill('SIGSTOP');
    const begun = Date.now();
    const answers = await Promise.all(Array.from({ length: 300 }, () => get('/500/meanwhile')));
    expect(answers.every(({ status }) => status === 500)).toBe(true);
    expect(Date.now() - begun).toBeLessThan(10_000);
    agent.child.kill('SIGCONT');
    await until(() => accessOf(agent).some(({ path }) => path === '/500/meanwhile'), () => agent.log.slice(-500));
  });
});
