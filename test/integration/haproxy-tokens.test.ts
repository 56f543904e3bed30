import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import type http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { askCli } from '../../src/haproxy/io/cli-socket.ts';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { Access, CallerTable, Route, RouteTable } from '../../src/model/route-table.ts';
import { tokenDigest, type TokenVerdict } from '../../src/model/token.ts';
import { AT_ONCE, call, closeServer, nameOf, openServer, type Answer } from '../support/haproxy-world.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

const SERVERS = '127.88.80.100';
const VIP = '127.72.60.1';
const GLOBAL_VIP = '127.72.60.2';
const BROKEN_VIP = '127.72.60.3';
const WEB = '127.88.80.1';
const OTHER = '127.88.80.2';
const STRANGER = '127.88.80.9';
const HOST = '127.0.0.1';
/** HAProxy reads the clock once in a round of its loop. */
const CLOCK_MS = 50;

const good = (namespace: string, serviceAccount: string, expiresAtMs?: number): TokenVerdict => ({ ok: true, identity: { namespace, serviceAccount, ...(expiresAtMs === undefined ? {} : { expiresAtMs }) } });

/** Stands for the verifier: tokens by their text, every question counted. */
class Verifier {
  readonly verdicts = new Map<string, TokenVerdict>();
  readonly asked: string[] = [];
  delayMs = 0;
  forget: () => void = () => undefined;

  readonly verify = async (token: string): Promise<TokenVerdict> => {
    this.asked.push(token);
    if (this.delayMs > 0) await sleep(this.delayMs);
    return this.verdicts.get(token) ?? { ok: false, why: 'unknown' };
  };
}

describe('tokens on a real HAProxy', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  let server: http.Server;
  const verifier = new Verifier();
  const version = aVersion('cart-a', [anEndpoint(SERVERS, 9110)]);
  const pods = [aCaller(WEB, { serviceAccount: 'web' }), aCaller(OTHER, { namespace: 'other', serviceAccount: 'other' })];
  const cart = (access: Partial<Access> = {}): Route =>
    aRoute('cart', { vip: VIP, globalVip: GLOBAL_VIP, listen: 8080, versions: [version], access: { namespace: 'shop', defaultAllow: true, exceptions: [], accounts: [], hasEntries: true, ...access } });
  const broken = aRoute('broken', { vip: BROKEN_VIP, listen: 8080, versions: [], invalid: true });
  const tableOf = (access: Partial<Access> = {}, callers: Partial<CallerTable> = {}): RouteTable => {
    const table = aTable([cart(access), broken], pods);
    return { ...table, callers: { ...table.callers, trusted: [{ namespace: 'ops' }, { namespace: 'mon', serviceAccount: 'prometheus' }], ...callers } };
  };
  const withToken = (from: string, token: string | readonly string[], to = VIP): Promise<Answer> => call(from, to, { headers: { 'X-Onehop-Token': token as string | string[] } });
  const map = (): Promise<string> => readFile(join(runDir, 'tokens.map'), 'utf8');
  /** Digests that the running worker knows. */
  const known = async (): Promise<readonly string[]> => (await askCli(join(runDir, 'haproxy.sock'), 'show map tokens.map')).split('\n').flatMap((line) => line.split(' ')[1] ?? []);
  const isKnown = async (...tokens: readonly string[]): Promise<void> => {
    await expect.poll(known, { timeout: 5_000 }).toEqual(tokens.map(tokenDigest));
  };

  beforeAll(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'onehop-tokens-'));
    server = await openServer('a', 9110, SERVERS);
    proxy = await openHaproxy({
      binary: 'haproxy',
      runDir,
      attach: false,
      drainTimeoutSeconds: 5,
      threads: 2,
      verifyToken: verifier.verify,
      onTokensChanged: (forget) => (verifier.forget = forget),
    });
  });
  beforeEach(async () => {
    verifier.verdicts.clear();
    verifier.delayMs = 0;
    verifier.forget();
    for (const [token, namespace, account] of [['t-web', 'shop', 'web'], ['t-batch', 'shop', 'batch'], ['t-other', 'other', 'other'], ['t-ops', 'ops', 'any'], ['t-prometheus', 'mon', 'prometheus'], ['t-mon', 'mon', 'x']] as const) {
      verifier.verdicts.set(token, good(namespace, account, Date.now() + 3_600_000));
    }
    verifier.asked.length = 0;
    await proxy.apply(tableOf());
    await isKnown();
  });
  afterAll(async () => {
    await proxy.close({ drainMs: 200, leaveRunning: false });
    await closeServer(server);
    await rm(runDir, { recursive: true, force: true });
  });

  it('asks once about a token; it is the identity of an unknown source, which is not held, and of a host source', async () => {
    const begun = performance.now();
    expect(nameOf(await withToken(STRANGER, 't-web'))).toBe('a');
    await isKnown('t-web');
    for (let i = 0; i < 5; i++) expect(nameOf(await withToken(STRANGER, 't-web'))).toBe('a');
    expect(performance.now() - begun).toBeLessThan(1_900);
    expect(nameOf(await withToken(HOST, 't-web'))).toBe('a');
    expect(verifier.asked).toEqual(['t-web']);
    expect(await withToken(STRANGER, 't-other')).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    expect(nameOf(await withToken(STRANGER, 't-other', GLOBAL_VIP))).toBe('a');
    // A process of the node that shows a token is that ServiceAccount, and no longer the node.
    expect(await withToken(HOST, 't-other')).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    expect(nameOf(await call(HOST, VIP))).toBe('a');
  });

  it('keeps identities of calls on one connection apart', async () => {
    const answers = await talk(HOST, VIP, ['GET / HTTP/1.1\r\nHost: x\r\nX-Onehop-Token: t-other\r\n\r\n', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'GET / HTTP/1.1\r\nHost: x\r\nX-Onehop-Token: nonsense\r\n\r\n', 'GET / HTTP/1.1\r\nHost: x\r\nX-Onehop-Token: t-web\r\nConnection: close\r\n\r\n']);
    expect(answers).toEqual(['403 namespace-isolated', '200', '401 bad-token', '200']);
  });

  it('refuses what does not verify, also from pods and on the global address', async () => {
    for (const from of [WEB, OTHER, STRANGER, HOST]) {
      for (const to of [VIP, GLOBAL_VIP]) expect(await withToken(from, 'nonsense', to)).toMatchObject({ status: 401, reason: 'bad-token', body: 'the token of the caller is not accepted\n' });
    }
    expect(await withToken(WEB, 'nonsense', BROKEN_VIP)).toMatchObject({ status: 503, reason: 'route-invalid' });
    expect((await proxy.calls()).refused['bad-token']).toBeGreaterThanOrEqual(8);
  });

  it('a token must agree with the pod that shows it', async () => {
    expect(nameOf(await withToken(WEB, 't-web'))).toBe('a');
    for (const [from, token] of [[WEB, 't-batch'], [WEB, 't-other'], [OTHER, 't-web'], [OTHER, 't-ops']] as const) {
      for (const to of [VIP, GLOBAL_VIP]) expect(await withToken(from, token, to)).toMatchObject({ status: 403, reason: 'bad-token', body: 'the token of the caller is not accepted\n' });
    }
    // A good token does not open what its pod may not do.
    expect(await withToken(OTHER, 't-other')).toMatchObject({ status: 403, reason: 'namespace-isolated' });
  });

  it('exactly one line, not empty, of at most 8 KB; 1 MB is too large for any request', async () => {
    for (const token of [['t-web', 't-web'], ['nonsense', 't-web'], ['t-web', 'nonsense'], '', ' ', 't-web,t-web', 't-web, nonsense', 't-web\tx', 't web', 't-web\u00e9', 'x'.repeat(8_193)]) {
      const { status, reason } = await withToken(WEB, token);
      expect([token, status, reason]).toEqual([token, 401, 'bad-token']);
    }
    expect(verifier.asked).not.toContain('t-web\u00e9');
    // The reset after the answer may overtake it. 3.2 says 431.
    await expect.poll(() => withToken(WEB, 'x'.repeat(1_048_576)).then(({ status }) => status, () => 'reset'), { timeout: 10_000 }).toSatisfy((status) => status === 400 || status === 431);
  });

  it('isolation and ACL hold as for the ServiceAccount; trusted ones cross namespaces', async () => {
    for (const from of [STRANGER, HOST]) {
      expect(nameOf(await withToken(from, 't-ops'))).toBe('a');
      expect(nameOf(await withToken(from, 't-prometheus'))).toBe('a');
      expect(await withToken(from, 't-mon')).toMatchObject({ status: 403, reason: 'namespace-isolated' });
    }
    await proxy.apply(tableOf({ defaultAllow: true, accounts: ['ops/any', 'shop/batch'] }));
    const { reloads } = proxy.status();
    for (const from of [STRANGER, HOST]) {
      expect(nameOf(await withToken(from, 't-web'))).toBe('a');
      expect(await withToken(from, 't-batch')).toMatchObject({ status: 403, reason: 'acl-denied' });
      expect(await withToken(from, 't-ops')).toMatchObject({ status: 403, reason: 'acl-denied' });
    }
    expect(nameOf(await call(HOST, VIP))).toBe('a');
    await proxy.apply(tableOf({ defaultAllow: true, accounts: ['shop/web'] }));
    expect(await withToken(STRANGER, 't-web')).toMatchObject({ status: 403, reason: 'acl-denied' });
    expect(nameOf(await withToken(STRANGER, 't-batch'))).toBe('a');
    expect(proxy.status().reloads).toBe(reloads);
    await proxy.apply(tableOf({ defaultAllow: false, exceptions: [WEB], accounts: ['shop/web', 'other/other'] }));
    for (const from of [STRANGER, HOST]) {
      expect(nameOf(await withToken(from, 't-web'))).toBe('a');
      expect(await withToken(from, 't-batch')).toMatchObject({ status: 403, reason: 'acl-denied' });
      expect(nameOf(await withToken(from, 't-other', GLOBAL_VIP))).toBe('a');
    }
    expect(nameOf(await withToken(WEB, 't-web'))).toBe('a');
    expect(await call(HOST, VIP)).toMatchObject({ status: 403, reason: 'acl-denied' });
  });

  it('the header never reaches a server, and is not there in clear in any file', async () => {
    const answer = await call(STRANGER, VIP, { headers: { 'x-ONEHOP-token': 't-web', 'x-onehop-caller': 'root' } });
    const { headers } = JSON.parse(answer.body) as { headers: Record<string, string> };
    expect(Object.keys(headers).filter((name) => name.startsWith('x-onehop-'))).toEqual([]);
    await expect.poll(map, { timeout: 5_000 }).toMatch(new RegExp(`^${tokenDigest('t-web')} shop/web@\\d+\n$`));
    expect(JSON.stringify(headers)).not.toContain('t-web');
    expect((await stat(join(runDir, 'tokens.map'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(runDir, 'tokens.sock'))).mode & 0o777).toBe(0o600);
  });

  it('an expired token is refused at its time without any reload, and leaves the map', async () => {
    const expiresAtMs = Date.now() + 1_500;
    verifier.verdicts.set('t-short', good('shop', 'web', expiresAtMs));
    expect(nameOf(await withToken(STRANGER, 't-short'))).toBe('a');
    verifier.verdicts.set('t-short', { ok: false, why: 'expired' });
    const { reloads } = proxy.status();
    const answers = new Map<number, string>();
    while (Date.now() < expiresAtMs + 300) answers.set(Date.now(), String((await withToken(STRANGER, 't-short')).status));
    expect([...answers].filter(([at, status]) => at >= expiresAtMs + CLOCK_MS && status !== '401')).toEqual([]);
    expect([...answers.values()]).toContain('200');
    expect(proxy.status().reloads).toBe(reloads);
    await expect.poll(known, { timeout: 15_000 }).toEqual([]);
  }, 30_000);

  it('a code that is taken back stops within a second, also where it was used before', async () => {
    verifier.verdicts.set('code', good('shop', 'web'));
    expect(nameOf(await withToken(STRANGER, 'code'))).toBe('a');
    await isKnown('code');
    expect(nameOf(await withToken(STRANGER, 'code'))).toBe('a');
    expect(verifier.asked).toEqual(['code']);
    verifier.verdicts.delete('code');
    verifier.forget();
    const begun = Date.now();
    await expect.poll(async () => (await withToken(STRANGER, 'code')).status, { interval: 5, timeout: 1_000 }).toBe(401);
    expect(Date.now() - begun).toBeLessThan(1_000);
    expect(await map()).toBe('');
  });

  it('a code that was taken back before a pass is out of use when the pass is over', async () => {
    for (let round = 0; round < 20; round++) {
      const code = `code-${round}`;
      verifier.verdicts.set(code, good('shop', 'web'));
      expect(nameOf(await withToken(STRANGER, code))).toBe('a');
      await isKnown(code);
      verifier.verdicts.delete(code);
      verifier.forget();
      await proxy.apply(tableOf());
      expect(await known()).toEqual([]);
    }
  });

  it('what was verified while keys changed is verified again, and the older verdict is not kept', async () => {
    verifier.verdicts.set('code', good('shop', 'web'));
    verifier.delayMs = 300;
    const held = withToken(STRANGER, 'code');
    await expect.poll(() => verifier.asked.length).toBe(1);
    verifier.verdicts.delete('code');
    verifier.forget();
    expect(await held).toMatchObject({ status: 401 });
    expect(await withToken(STRANGER, 'code')).toMatchObject({ status: 401 });
  });

  it('two calls with one new token at once are both served, and it stands in the map once', async () => {
    verifier.delayMs = 200;
    const answers = await Promise.all(Array.from({ length: 8 }, () => withToken(STRANGER, 't-web')));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 200));
    await isKnown('t-web');
  });

  it('verified tokens outlive a reload and a restart of HAProxy', async () => {
    expect(nameOf(await withToken(STRANGER, 't-web'))).toBe('a');
    await expect.poll(map, { timeout: 5_000 }).toContain(tokenDigest('t-web'));
    const { reloads, restarts } = proxy.status();
    await proxy.apply({ ...tableOf(), routes: [cart(), { ...broken, listen: 8081 }] });
    expect(proxy.status().reloads).toBe(reloads + 1);
    expect(nameOf(await withToken(STRANGER, 't-web'))).toBe('a');
    process.kill(proxy.status().workerPid ?? Number.NaN, 'SIGKILL');
    await expect.poll(() => proxy.status().restarts, { timeout: 20_000 }).toBe(restarts + 1);
    await expect.poll(async () => (await withToken(STRANGER, 't-web').catch(() => undefined))?.status, { timeout: 20_000 }).toBe(200);
    expect(verifier.asked).toEqual(['t-web']);
  }, 60_000);

  it('an agent that is slow costs at most the bounded wait, and other calls go on meanwhile', async () => {
    verifier.delayMs = 10_000;
    const begun = performance.now();
    const slow = withToken(STRANGER, 't-web');
    expect(nameOf(await call(WEB, VIP))).toBe('a');
    expect(performance.now() - begun).toBeLessThan(1_500);
    expect(await slow).toMatchObject({ status: 401, reason: 'bad-token' });
    expect(performance.now() - begun).toBeGreaterThan(1_800);
    expect(performance.now() - begun).toBeLessThan(6_000);
  }, 30_000);

  it('the socket survives garbage, silence and floods', async () => {
    const say = (text: string): Promise<string> =>
      new Promise((resolve) => {
        const socket = net.connect(join(runDir, 'tokens.sock'));
        let heard = '';
        socket.setEncoding('latin1').on('data', (chunk: string) => (heard += chunk));
        socket.on('error', () => undefined).on('close', () => resolve(heard));
        socket.write(text, 'latin1');
      });
    expect(await say('x'.repeat(1_000_000))).toBe('');
    expect(await say('\n')).toBe('no\n');
    expect(await say('\u0000\u00ff\n')).toBe('no\n');
    expect(await say('GET / HTTP/1.1\r\n\r\n')).toBe('no\n');
    expect(await say('t-web\nt-other\n')).toMatch(/^shop\/web@\d+\n$/);
    expect(await say('never ends')).toBe('');
    await Promise.all(Array.from({ length: 300 }, () => say('nonsense\n')));
    expect(nameOf(await withToken(STRANGER, 't-web'))).toBe('a');
  }, 30_000);

  it('a flood of new tokens from one source is not asked about any more, and keeps no other from being known', async () => {
    const answers = await Promise.all(Array.from({ length: 400 }, (_, i) => withToken(STRANGER, `flood-${i}`).then(({ status }) => status)));
    expect(new Set(answers)).toEqual(new Set([401]));
    expect(verifier.asked.length).toBeLessThan(400);
    expect(nameOf(await withToken(HOST, 't-web'))).toBe('a');
  }, 60_000);
});

describe('tokens with the agent away, and under another header', () => {
  const left: (() => Promise<unknown>)[] = [];
  // Also after a failure: a HAProxy that stays would share the port of the next run.
  afterEach(async () => {
    for (const end of left.reverse()) await end();
  });

  it('known tokens go on, new ones are refused at once; the header has the name that was set', async () => {
    const runDir = await mkdtemp(join(tmpdir(), 'onehop-tokens-'));
    const server = await openServer('a', 9111, SERVERS);
    const verdict = good('shop', 'web', Date.now() + 3_600_000);
    const open = (): Promise<HaproxyProxy> => openHaproxy({ binary: 'haproxy', runDir, attach: false, pace: AT_ONCE, drainTimeoutSeconds: 5, threads: 2, tokenHeader: 'Authorization', verifyToken: async () => verdict });
    const table = aTable([aRoute('cart', { vip: '127.72.60.11', listen: 8080, versions: [aVersion('cart-a', [anEndpoint(SERVERS, 9111)])] })]);
    const ask = (token: string): Promise<Answer> => call('127.88.80.19', '127.72.60.11', { headers: { authorization: token, 'x-onehop-token': 'not read' } });
    let proxy = await open();
    left.push(
      () => rm(runDir, { recursive: true, force: true }),
      () => closeServer(server),
      async () => {
        await proxy.close({ drainMs: 0, leaveRunning: true });
        await (await open()).close({ drainMs: 200, leaveRunning: false });
      },
    );
    await proxy.apply(table);
    const { headers } = JSON.parse((await ask('known')).body) as { headers: Record<string, string> };
    expect(headers).not.toHaveProperty('authorization');
    expect(headers).not.toHaveProperty('x-onehop-token');
    await proxy.close({ drainMs: 0, leaveRunning: true });
    expect((await ask('known')).status).toBe(200);
    const begun = performance.now();
    expect(await ask('new')).toMatchObject({ status: 401, reason: 'bad-token' });
    expect(performance.now() - begun).toBeLessThan(1_500);
    // The next agent finds the map of the one before.
    proxy = await open();
    expect(await proxy.apply(table)).toEqual([]);
    expect(proxy.status()).toMatchObject({ reloads: 0, restarts: 0 });
    expect((await ask('new')).status).toBe(200);
    expect((await readFile(join(runDir, 'tokens.map'), 'utf8')).split('\n').length).toBeGreaterThanOrEqual(2);
  }, 60_000);
});

/** Requests one after another on one connection; status and reason of each. */
async function talk(from: string, to: string, requests: readonly string[]): Promise<readonly string[]> {
  const socket = net.connect({ host: to, port: 8080, localAddress: from });
  const answers: string[] = [];
  let text = '';
  socket.setEncoding('latin1');
  for (const request of requests) {
    socket.write(request);
    text = '';
    while (!/\r\n\r\n/.test(text) || !isWhole(text)) {
      const chunk = await new Promise<string>((resolve, reject) => {
        socket.once('data', (data) => resolve(String(data)));
        socket.once('error', reject);
      });
      text += chunk;
    }
    const reason = /x-onehop-reason: (\S+)/i.exec(text)?.[1];
    answers.push(`${text.slice(9, 12)}${reason === undefined ? '' : ` ${reason}`}`);
  }
  socket.destroy();
  return answers;
}

function isWhole(text: string): boolean {
  const [head = '', body = ''] = text.split('\r\n\r\n', 2);
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  return length === undefined ? body.endsWith('0\r\n') || text.endsWith('0\r\n\r\n') : body.length >= Number(length);
}
