import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AgentProcess } from '../support/scenes/agent-process.ts';
import { changeWorld, EMPTY_WORLD, expandWorld, listPods } from '../support/scenes/expand-world.ts';
import { makeCall } from '../support/scenes/scene-client.ts';
import { SceneServers } from '../support/scenes/scene-servers.ts';
import { forgedTokens, makeKeys } from '../support/token-attacks.ts';
import { AUDIENCE, ISSUER, jwksOf, serviceAccountClaims, signToken } from '../support/tokens.ts';
import { speak, speakUntilAnswered } from '../support/wire.ts';

const CODE = 'an-opaque-code-0123456789abcdef';
const STRANGER = '127.88.81.9';
const SERVER = '127.88.81.100';
const ADDRESSES: Readonly<Record<string, string>> = { 'shop/web': '127.88.81.1', 'shop/batch': '127.88.81.2', 'other/client': '127.88.81.3', 'shop/cart-1': SERVER };

/** On a real agent, at its most talkative. */
describe.each([
  { proxy: 'haproxy' as const, pool: '127.72.64.0/22', files: ['run/haproxy.cfg', 'run/tokens.map', 'run/tokens.lua'] },
  { proxy: 'embedded' as const, pool: '127.72.64.0/22', files: [] },
])('tokens that are attacks, on $proxy', ({ proxy, pool, files }) => {
  const keys = makeKeys();
  const servers = new SceneServers();
  /** Whatever was sent as a token: none of it may be found anywhere. */
  const sent = new Set<string>();
  let agent: AgentProcess;
  let vip: string;

  const good = (over: Readonly<Record<string, unknown>> = {}): string => signToken(keys.ec, serviceAccountClaims('shop', 'web', over));
  /** Status and reason of one raw request; `lines` stand in its head. */
  const raw = async (lines: readonly string[], { from = STRANGER, body = '', say = speak } = {}): Promise<string> => {
    for (const line of lines) for (const word of line.split(/[\s,]+/)) sent.add(word);
    const answer = await say(vip, 8080, `GET /path?query=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`, from);
    const reason = /^x-onehop-reason: (\S+)\r$/im.exec(answer)?.[1];
    return `${/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 'closed'}${reason === undefined ? '' : ` ${reason}`}`;
  };
  const withToken = (token: string, from = STRANGER, say = speak): Promise<string> => raw([`X-Onehop-Token: ${token}`], { from, say });

  beforeAll(async () => {
    agent = await AgentProcess.prepare(proxy, pool);
    const jwks = join(agent.folder, 'jwks.json');
    await writeFile(jwks, jwksOf(keys.rsa, keys.ec));
    await agent.start(`--token-jwks=${jwks}`, `--token-issuer=${ISSUER}`, `--token-audience=${AUDIENCE}`, '--log-level=trace');
    const world = changeWorld(EMPTY_WORLD, {
      pods: { 'shop/web': { serviceAccount: 'web' }, 'shop/batch': { serviceAccount: 'batch' }, 'other/client': { serviceAccount: 'client' } },
      services: { 'shop/cart': {} },
      routes: [{ apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { namespace: 'shop', name: 'cart' }, spec: { rule: { type: '' }, to: [{ kind: 'Service', name: 'cart' }] } }],
      objects: [{ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: 'shop', name: 'code', labels: { 'onehop.paas.io/token': 'web' } }, stringData: { token: CODE } }],
    });
    const pods = listPods(world, (key) => ADDRESSES[key] ?? '127.88.81.101');
    await servers.open([...pods.values()].filter(({ ports }) => ports.length > 0));
    const view = await agent.bring(expandWorld(world, pods), '127.88.81.254', 'ready');
    vip = view.routes.find(({ name }) => name === 'cart')?.vip ?? '';
  }, 60_000);
  afterAll(async () => {
    await agent.end();
    servers.close();
    await agent.remove();
  });

  it('good ones serve: JWTs of both keys and a code', async () => {
    expect(await withToken(good())).toBe('200');
    expect(await withToken(signToken(keys.rsa, serviceAccountClaims('shop', 'web')))).toBe('200');
    expect(await withToken(CODE)).toBe('200');
    expect(await raw([`x-oneHOP-TOKEN:${CODE}`])).toBe('200');
    expect(await withToken(good(), ADDRESSES['shop/web'])).toBe('200');
    expect(servers.reached('shop/cart-1')).toBe(5);
  });

  it('forged ones are refused, from anywhere, and nothing reaches the server', async () => {
    const before = servers.reached('shop/cart-1');
    for (const [what, token] of Object.entries(forgedTokens(keys, Date.now()))) {
      for (const from of [STRANGER, '127.0.0.1', ADDRESSES['shop/web']]) expect(`${what}: ${await withToken(token, from)}`).toBe(`${what}: 401 bad-token`);
    }
    expect(servers.reached('shop/cart-1')).toBe(before);
    // They were looked at: none was refused for their number.
    expect(await withToken(good({ jti: 'after all of them' }))).toBe('200');
  }, 120_000);

  it('clocks may differ a little, at the begin alone', async () => {
    const now = Math.floor(Date.now() / 1000);
    expect(await withToken(good({ nbf: now + 20, iat: now + 20 }))).toBe('200');
    expect(await withToken(good({ nbf: now + 60 }))).toBe('401 bad-token');
    expect(await withToken(good({ iat: now + 60 }))).toBe('401 bad-token');
    expect(await withToken(good({ exp: now }))).toBe('401 bad-token');
    const soon = good({ exp: Math.floor(Date.now() / 1000) + 3 });
    expect(await withToken(soon)).toBe('200');
    await expect.poll(() => withToken(soon), { timeout: 10_000 }).toBe('401 bad-token');
  }, 30_000);

  it('one line, one token: no second line, list, fold or other character', async () => {
    const before = servers.reached('shop/cart-1');
    const token = good();
    const half = token.length / 2;
    const bad = signToken(keys.ec, serviceAccountClaims('other', 'client'), { kid: 'x' });
    for (const lines of [
      [`X-Onehop-Token: ${token}`, `X-Onehop-Token: ${bad}`],
      [`X-Onehop-Token: ${bad}`, `x-onehop-token: ${token}`],
      [`X-Onehop-Token: ${token}`, `X-Onehop-Token: ${token}`],
      [`X-Onehop-Token: ${token}`, 'X-Onehop-Token:'],
      [`X-Onehop-Token: ${token},${bad}`],
      [`X-Onehop-Token: ${bad}, ${token}`],
      [`X-Onehop-Token: ${token},`],
      [`X-Onehop-Token: ${token} ${token}`],
      [`X-Onehop-Token: ${token};x=1`],
      ['X-Onehop-Token:'],
      ['X-Onehop-Token:   '],
    ]) {
      expect([lines, await raw(lines)]).toEqual([lines, '401 bad-token']);
    }
    // Folded lines (RFC 9112 section 5.2), control characters and blanks around the name: refused in whatever way.
    for (const lines of [[`X-Onehop-Token: ${token.slice(0, half)}`, ` ${token.slice(half)}`], [`X-Onehop-Token: ${token}`, '\tx'], [`X-Onehop-Token: ${token}\u0000`], [`X-Onehop-Token: ${token}\rX: y`], [`X-Onehop-Token : ${token}`]]) {
      expect(await raw(lines)).toMatch(/^(?:400|401 bad-token)$/);
    }
    expect(servers.reached('shop/cart-1')).toBe(before);
  }, 60_000);

  it('HTTP/2 callers have the same rules', async () => {
    const call = (headers: readonly (readonly [string, string])[]) => makeCall({ via: 'h2c', from: STRANGER, address: vip, port: 8080, method: 'GET', headers });
    const token = good();
    sent.add(token);
    expect(await call([['x-onehop-token', token]])).toMatchObject({ status: 200 });
    for (const forged of [`${token}x`, `${token},${token}`, '', 'a'.repeat(8_193)]) {
      expect(await call([['x-onehop-token', forged]])).toMatchObject({ status: 401, headers: { 'x-onehop-reason': 'bad-token' } });
    }
  }, 30_000);

  it('a token that stands anywhere else is none: trailers, query, cookie, another header, the body', async () => {
    const before = servers.reached('shop/cart-1');
    const token = good();
    const answers = await Promise.all([
      raw(['Transfer-Encoding: chunked', 'Trailer: X-Onehop-Token'], { body: `1\r\nx\r\n0\r\nX-Onehop-Token: ${token}\r\n\r\n` }),
      raw([`Authorization: Bearer ${token}`]),
      raw([`Cookie: X-Onehop-Token=${token}`]),
      raw([`X-Onehop-Token2: ${token}`]),
      raw([`X_Onehop_Token: ${token}`]),
    ]);
    expect(answers).toEqual(answers.map(() => '403 caller-unknown'));
    expect(servers.reached('shop/cart-1')).toBe(before);
  }, 30_000);

  it('a good token of another contradicts the pod', async () => {
    expect(await withToken(good(), ADDRESSES['shop/batch'])).toBe('403 bad-token');
    expect(await withToken(CODE, ADDRESSES['other/client'])).toBe('403 bad-token');
  });

  it('1 MB is too large for any request', async () => {
    const token = 'a'.repeat(1_048_576);
    const before = servers.reached('shop/cart-1');
    // HAProxy 3.2 says 431.
    expect(['400', '431']).toContain(await withToken(token, STRANGER, speakUntilAnswered));
    // All at once: the proxy closes with most of it unread, and the reset that follows may overtake its answer.
    expect(['400', '431', 'closed']).toContain(await withToken(token));
    expect(servers.reached('shop/cart-1')).toBe(before);
    expect(await withToken(good())).toBe('200');
  }, 30_000);

  it('nothing of any token stands in clear in the log, in a file, or on a page', async () => {
    const places = new Map<string, string>([['log', agent.log]]);
    for (const page of ['/routes', '/table', '/metrics']) places.set(page, await agent.get(page));
    for (const folder of ['run', 'state']) {
      for (const entry of await readdir(join(agent.folder, folder), { recursive: true, withFileTypes: true })) {
        // One that is just being replaced may be gone.
        if (entry.isFile()) places.set(`${folder}/${entry.name}`, await readFile(join(entry.parentPath, entry.name), 'latin1').catch(() => ''));
      }
    }
    expect(places.get('log')).toContain('token');
    expect([...places.keys()]).toEqual(expect.arrayContaining(files));
    // Whole tokens and their parts; heads of honest tokens are alike and no secret.
    const secrets = [CODE, ...[...sent].flatMap((token) => [token, ...token.split('.').slice(1)])].filter((text) => text.length >= 24);
    expect(secrets.length).toBeGreaterThan(100);
    const found = [...places].flatMap(([place, text]) => secrets.filter((secret) => text.includes(secret)).map((secret) => `${place}: ${secret.slice(0, 60)}`));
    expect(found).toEqual([]);
  }, 60_000);
});
