import type { Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { runCommand } from '../../src/cli/main.ts';
import { AgentFolders, AgentProcess, call, openNamedServer, simpleObjects, simpleRoute } from '../support/agent-process.ts';

/** `onehop breaker` on a real agent: pool 127.73.0.0/16, the route pinned to 127.73.61.1. */
const NET = '127.73';
const VIP = '127.73.61.1';
const [SERVER, CALLER] = ['127.88.61.1', '127.88.61.2'];
const guarded = `{ rule: { type: "" }, to: [{ kind: Service, name: cart-v1, breaker: { threshold: 5, connLimit: 7 } }], rateLimit: { requestsPerSecond: 1000 }, log: { mode: Errors } }`;
const objects = `${simpleObjects('cart', SERVER, CALLER).replace(simpleRoute('cart'), simpleRoute('cart', guarded))}status: { vip: ${VIP} }\n---\n${simpleRoute('plain').replace('plain-v1', 'cart-v1')}`;

let folders: AgentFolders;
let server: Server;
let agent: AgentProcess;

async function start(proxy: string): Promise<void> {
  folders = new AgentFolders();
  server = await openNamedServer('cart-v1', SERVER);
  folders.write('objects.yaml', objects);
  agent = new AgentProcess(folders, NET, [`--proxy=${proxy}`]);
  await agent.until('two routes', ({ routes }) => routes.length === 2, 30_000);
}
async function stop(): Promise<void> {
  await agent.stop();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  folders.remove();
}

async function onehop(name: string, ...argv: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  let [out, err] = ['', ''];
  const code = await runCommand(name, [...argv, `--run-dir=${folders.run}`], { out: (text) => (out += text), err: (text) => (err += text), env: {}, workingDirectory: folders.root, hostname: 'n1', version: '0' });
  return { code, out, err };
}
const outcome = async (): Promise<string> => {
  const { status, reason } = await call({ host: VIP, port: 8080, from: CALLER });
  return `${status}${reason === undefined ? '' : ` ${reason}`}`;
};
const viewed = async (): Promise<unknown> => {
  const { routes } = (await agent.routes()) as unknown as { readonly routes: readonly { readonly name: string; readonly versions: readonly { readonly breaker?: unknown }[] }[] };
  return routes.find(({ name }) => name === 'cart')?.versions[0]?.breaker;
};
const metric = async (name: string): Promise<string | undefined> => {
  const { body } = await call({ host: agent.adminAddress, port: 9810, path: '/metrics' });
  return body.split('\n').find((line) => line.startsWith(`${name}{`));
};

const settings = { threshold: 5, window: 10, breakTime: 30, connLimit: 7 };

describe.each(['embedded', 'haproxy'])('onehop breaker with %s', (proxy) => {
  beforeAll(() => start(proxy), 60_000);
  afterAll(stop, 60_000);

  it('holds a version open, then closed, then leaves it; log, routes, explain and metrics say so', async () => {
    expect(await onehop('breaker')).toEqual({ code: 0, err: '', out: expect.stringMatching(/^ROUTE +VERSION +STATE +MODE\nshop\/cart +cart-v1 +closed +auto +closed, 0 of 5 errors in 10 s\n$/) });
    expect(await viewed()).toEqual({ ...settings, state: 'closed', mode: 'auto', errors: 0 });
    expect(await outcome()).toBe('200');

    expect(await onehop('breaker', 'open', 'shop/cart', 'cart-v1')).toEqual({ code: 0, err: '', out: 'shop/cart cart-v1: held open on node n1\n' });
    expect(await outcome()).toBe('503 breaker-open');
    expect(await viewed()).toEqual({ ...settings, state: 'open', mode: 'open', errors: 0 });
    expect((await onehop('breaker', 'list')).out).toMatch(/open +open +held open by hand$/m);
    expect((await onehop('routes')).out).toMatch(/1000\/s per caller, logs errors +cart-v1 \(any: 1 node \+ 0\) \[breaker held open by hand; at most 7 calls\]$/m);
    const explained = await onehop('explain', 'cart.shop', '--from=host');
    expect(explained.code).toBe(1);
    expect(explained.out).toMatch(/^rateLimit passed: at most 1000 a second from each caller, 1000 at once\n.*\nbreaker {3}refused: the breaker of cart-v1 is open\nbreaker {3}cart-v1: held open by hand\nlog {7}calls that fail\nanswer {4}503 breaker-open/m);
    expect(await metric('onehop_breaker_open')).toBe('onehop_breaker_open{namespace="shop",route="cart",version="cart-v1"} 1');
    expect(await metric('onehop_breaker_held')).toMatch(/ 1$/);
    await vi.waitUntil(() => agent.log.includes('a breaker is held open by hand'), { timeout: 10_000 });

    expect((await onehop('breaker', 'close', 'cart.shop', 'cart-v1')).code).toBe(0);
    expect(await outcome()).toBe('200');
    expect(await viewed()).toEqual({ ...settings, state: 'closed', mode: 'close', errors: 0 });

    expect((await onehop('breaker', 'auto', VIP, 'cart-v1')).out).toBe('shop/cart cart-v1: left to its errors\n');
    expect(await viewed()).toEqual({ ...settings, state: 'closed', mode: 'auto', errors: 0 });
    expect(await metric('onehop_breaker_held')).toMatch(/ 0$/);
    expect((await onehop('explain', 'cart.shop', '--from=host')).out).toMatch(/^connLimit passed: at most 7 at once with cart-v1$/m);
  });

  it.each<[string, readonly string[], number, RegExp]>([
    ['a route that is not there', ['open', 'shop/none', 'cart-v1'], 1, /'shop\/none' is no route's name/],
    ['a version that is not there', ['open', 'shop/cart', 'v9'], 1, /route shop\/cart has no version v9; it has cart-v1$/],
    ['a version without breaker', ['open', 'shop/plain', 'cart-v1'], 1, /version cart-v1 of shop\/plain has no breaker; set its breaker\.threshold/],
    ['no version', ['open', 'shop/cart'], 2, /open takes ROUTE and VERSION/],
    ['too much', ['open', 'shop/cart', 'cart-v1', 'x'], 2, /open takes ROUTE and VERSION/],
    ['a list of one', ['list', 'shop/cart'], 2, /list takes no route/],
    ['another word', ['shut', 'shop/cart', 'cart-v1'], 2, /'shut' is none of list, open, close, auto/],
    ['an unknown flag', ['list', '--force=1'], 2, /--force is not a flag of this command/],
    ['a folder without agent', ['list', '--run-dir=/nonexistent'], 3, /no agent runs there/],
  ])('says what is wrong with %s', async (_what, argv, code, said) => {
    const [first = '', ...rest] = argv;
    const answer = argv.some((each) => each.startsWith('--run-dir')) ? await withoutAgent() : await onehop('breaker', first, ...rest);
    expect(answer).toMatchObject({ code, err: expect.stringMatching(new RegExp(said.source, 'm')) });
  });

  async function withoutAgent(): Promise<{ readonly code: number; readonly err: string }> {
    let err = '';
    const code = await runCommand('breaker', ['list', '--run-dir=/nonexistent'], { out: () => {}, err: (text) => (err += text), env: {}, workingDirectory: folders.root, hostname: 'n1', version: '0' });
    return { code, err };
  }

  it('is not for callers over TCP', async () => {
    expect(await call({ host: agent.adminAddress, port: 9810, path: '/breaker' })).toMatchObject({ status: 403, body: expect.stringContaining('only over admin.sock') });
  });
});
