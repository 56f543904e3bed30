import http from 'node:http';
import http2 from 'node:http2';
import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { openEmbeddedProxy } from '../../src/embedded/io/open-embedded-proxy.ts';
import { ANSWER_MS } from '../../src/embedded/io/token-desk.ts';
import type { TokenVerdict } from '../../src/model/token.ts';
import { route, startHttp, table, version } from '../support/embedded-world.ts';

const VIP = '127.73.74.1';
const UNKNOWN = '127.88.70.33';
const good: TokenVerdict = { ok: true, identity: { namespace: 'b', serviceAccount: 'web' } };
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A proxy whose verifier is the test's; `asked` are the tokens that it was asked about, `change` voids what it said. */
async function serving(verify: (token: string) => Promise<TokenVerdict>) {
  const server = await startHttp((_, response) => response.end('served'), '127.88.70.34');
  closers.push(() => server.close());
  const asked: string[] = [];
  let change = (): void => {};
  const proxy = await openEmbeddedProxy({
    verifyToken: (token) => {
      asked.push(token);
      return verify(token);
    },
    onTokensChanged: (forget) => {
      change = forget;
    },
  });
  closers.push(() => proxy.close({ drainMs: 0, leaveRunning: false }));
  expect(await proxy.apply(table([route('svc', VIP, [version('v', [server.at])])]))).toEqual([]);
  return { asked, change: () => change() };
}

async function call(token: string): Promise<number | undefined> {
  const request = http.get({ host: VIP, port: 8080, localAddress: UNKNOWN, agent: false, headers: { 'x-onehop-token': token } });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  response.resume();
  await once(response, 'end');
  return response.statusCode;
}

it('a good token is asked about once, until keys or codes change; a bad one each time', async () => {
  const { asked, change } = await serving(async (token) => (token === 'good' ? good : { ok: false, why: 'unknown' }));
  for (let i = 0; i < 5; i++) expect(await call('good')).toBe(200);
  for (let i = 0; i < 2; i++) expect(await call('bad')).toBe(401);
  expect(asked).toEqual(['good', 'bad', 'bad']);
  change();
  expect(await call('good')).toBe(200);
  expect(asked.slice(3)).toEqual(['good']);
});

it('one that ends is refused from that moment on', async () => {
  let expiresAtMs = Infinity;
  const { asked } = await serving(async () => (Date.now() < expiresAtMs ? { ok: true, identity: { namespace: 'b', serviceAccount: 'web', expiresAtMs } } : { ok: false, why: 'it has expired' }));
  expect(await call('other')).toBe(200);
  expiresAtMs = Date.now() + 5_000;
  expect(await call('good')).toBe(200);
  await new Promise((resolve) => setTimeout(resolve, expiresAtMs - Date.now() + 1));
  expect(await call('good')).toBe(401);
  expect(asked).toEqual(['other', 'good', 'good']);
});

it('what was asked before a change is not remembered after it', async () => {
  let answer: (verdict: TokenVerdict) => void = () => {};
  const { asked, change } = await serving(() => new Promise((resolve) => (answer = resolve)));
  const first = call('good');
  await expect.poll(() => asked.length, { timeout: 10_000 }).toBe(1);
  change();
  answer(good);
  expect(await first).toBe(200);
  const second = call('good');
  await expect.poll(() => asked.length, { timeout: 10_000 }).toBe(2);
  answer({ ok: false, why: 'no longer' });
  expect(await second).toBe(401);
});

it('an agent that does not say whom it names is not waited for', async () => {
  await serving(() => new Promise(() => {}));
  const begun = performance.now();
  expect(await call('good')).toBe(401);
  expect(performance.now() - begun).toBeGreaterThan(ANSWER_MS - 50);
});

it('over HTTP/2 as well: a token, and two of them', async () => {
  await serving(async () => good);
  const session = http2.connect(`http://${VIP}:8080`, { localAddress: UNKNOWN } as http2.ClientSessionOptions);
  closers.push(async () => session.destroy());
  for (const [token, status] of [['good', 200], [['good', 'good'], 401], ['', 401]] as const) {
    const stream = session.request({ ':path': '/', 'x-onehop-token': token as string });
    const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
    stream.resume();
    await once(stream, 'close');
    expect(headers[':status']).toBe(status);
  }
});
