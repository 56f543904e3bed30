import { rename, rm, writeFile } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { runCommand } from '../../src/cli/main.ts';
import { AgentProcess } from '../support/scenes/agent-process.ts';
import { AUDIENCE, forgeWithPublicKey, ISSUER, jwksOf, makeKey, serviceAccountClaims, signToken, unsignedToken } from '../support/tokens.ts';

const HEADER = 'X-Onehop-Token';
const POD = '127.88.70.5';
const SERVER = '127.88.70.9';
const UNKNOWN = '127.88.71.77';
const PATIENCE = { timeout: 60_000, interval: 50 };
const CODE = 'opaque-code-of-the-crm-sync-4711-4711';
const one = makeKey('RS256', 'one');
const two = makeKey('ES256', 'two');
const claims = (account = 'crm-sync', over = {}) => serviceAccountClaims('shop', account, over);

const OBJECTS = `
apiVersion: v1
kind: Service
metadata: { name: svc-a, namespace: shop }
spec: { selector: { app: svc-a }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: svc-a-1, namespace: shop, labels: { kubernetes.io/service-name: svc-a } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints: [{ addresses: [${SERVER}], conditions: { ready: true }, nodeName: n1 }]
---
apiVersion: v1
kind: Pod
metadata: { name: web-1, namespace: shop }
spec: { nodeName: n1, serviceAccountName: web }
status: { phase: Running, podIP: ${POD} }
---
apiVersion: paas.io/v1
kind: ServiceRoute
metadata: { name: svc, namespace: shop }
spec: { rule: { type: '' }, to: [{ name: svc-a }] }
---
apiVersion: paas.io/v1
kind: ServiceRoute
metadata: { name: guarded, namespace: shop }
spec: { rule: { type: '' }, acl: { defaultAllow: false, entries: [{ kind: ServiceAccount, name: crm-sync }] }, to: [{ name: svc-a }] }
`;

const secret = (code: string): string => `apiVersion: v1\nkind: Secret\nmetadata: { name: crm, namespace: shop, labels: { onehop.paas.io/token: crm-sync } }\nstringData: { token: ${code} }\n`;

let agent: AgentProcess;
let server: Server;
let jwks: string;
const vips = new Map<string, string>();
const seen: string[][] = [];

beforeAll(async () => {
  process.env['SCENES_LOG_LEVEL'] = 'trace';
  server = createServer((incoming, response) => {
    seen.push(incoming.rawHeaders);
    response.end('served');
  });
  await new Promise<void>((resolve) => server.listen(8080, SERVER, resolve));
  agent = await AgentProcess.prepare('embedded', '127.73.72.0/22');
  jwks = join(agent.folder, 'jwks.json');
  await writeKeys(jwksOf(one));
  await agent.writeFile('world.yaml', OBJECTS);
  await agent.start('--token-jwks', jwks, '--token-issuer', ISSUER, '--token-audience', AUDIENCE);
  const { routes } = await agent.routes();
  for (const { name, vip } of routes) vips.set(name, vip);
}, 90_000);

afterAll(async () => {
  await agent.end();
  await agent.remove();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}, 60_000);

async function writeKeys(text: string): Promise<void> {
  await writeFile(`${jwks}.new`, text);
  await rename(`${jwks}.new`, jwks);
}

/** `200`, or status and reason of one call. */
function call(route: string, from: string, ...tokens: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { host: vips.get(route), port: 8080, localAddress: from, agent: false, headers: tokens.length === 0 ? {} : { [HEADER]: tokens.length === 1 ? (tokens[0] ?? '') : [...tokens] } },
      (response) => {
        response.resume();
        response.on('end', () => resolve(`${response.statusCode} ${String(response.headers['x-onehop-reason'] ?? '')}`.trim()));
      },
    );
    asked.on('error', reject);
    asked.end();
  });
}

/** The first line of what comes back for these very bytes. */
function raw(text: string, from: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: vips.get('svc') ?? '', port: 8080, localAddress: from });
    let answer = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (answer += chunk));
    socket.on('error', (error) => (answer === '' ? reject(error) : resolve(answer.split('\r\n')[0] ?? '')));
    socket.on('close', () => resolve(answer.split('\r\n')[0] ?? ''));
    socket.write(text);
  });
}

const eventually = (check: () => Promise<void>): Promise<void> => vi.waitFor(check, PATIENCE);

describe('callers with a token, on a running agent', () => {
  it('an unknown source and a process of the node become the ServiceAccount; the server never sees the token', async () => {
    const token = signToken(one, claims());
    const before = seen.length;
    for (const from of [UNKNOWN, '127.0.0.1']) expect(await call('guarded', from, token)).toBe('200');
    expect(await call('guarded', '127.0.0.1')).toBe('403 acl-denied');
    expect(await call('guarded', UNKNOWN, signToken(one, claims('other')))).toBe('403 acl-denied');
    expect(await call('svc', '127.0.0.1', signToken(one, serviceAccountClaims('bank', 'teller')))).toBe('403 namespace-isolated');
    expect(seen.slice(before)).toHaveLength(2);
    expect(seen.slice(before).flat().filter((text) => /onehop/i.test(text) || text === token)).toEqual([]);
  });

  it('a pod may show a token of its own account, and no other', async () => {
    expect(await call('svc', POD, signToken(one, claims('web')))).toBe('200');
    expect(await call('svc', POD, signToken(one, claims('crm-sync')))).toBe('403 bad-token');
    expect(await call('svc', POD, signToken(one, serviceAccountClaims('bank', 'web')))).toBe('403 bad-token');
    expect(await call('svc', POD)).toBe('200');
  });

  it.each([
    ['expired', () => [signToken(one, claims('crm-sync', { exp: Math.floor(Date.now() / 1000) - 1 }))]],
    ['for another audience', () => [signToken(one, claims('crm-sync', { aud: 'other' }))]],
    ['of another issuer', () => [signToken(one, claims('crm-sync', { iss: 'https://evil.example' }))]],
    ['by a key that is not ours', () => [signToken(makeKey('RS256', 'one'), claims())]],
    ['not signed', () => [unsignedToken(claims())]],
    ['forged with the public key', () => [forgeWithPublicKey(one, claims())]],
    ['twice', () => [signToken(one, claims()), signToken(one, claims())]],
    ['empty', () => ['']],
    ['nonsense', () => ['x']],
    ['of 8 KB', () => ['x'.repeat(8_000)]],
  ])('a token that is %s is 401, whoever sends it, and reaches no server', async (_, tokens) => {
    const before = seen.length;
    for (const from of [UNKNOWN, '127.0.0.1', POD]) expect(await call('svc', from, ...tokens())).toBe('401 bad-token');
    expect(seen.length).toBe(before);
  });

  it('one of 1 MB, and a folded one, are no requests', async () => {
    expect(await raw(`GET / HTTP/1.1\r\nHost: x\r\n${HEADER}: ${'x'.repeat(1 << 20)}\r\n\r\n`, POD)).toBe('HTTP/1.1 400 Bad Request');
    expect(await raw(`GET / HTTP/1.1\r\nHost: x\r\n${HEADER}: aaaa\r\n bbbb\r\n\r\n`, POD)).toBe('HTTP/1.1 400 Bad Request');
  });

  it('a bad token of an unknown source is not held', async () => {
    const started = performance.now();
    expect(await Promise.all(Array.from({ length: 5 }, () => call('svc', UNKNOWN, 'nonsense')))).toEqual(Array.from({ length: 5 }, () => '401 bad-token'));
    const refused = performance.now() - started;
    expect(await call('svc', UNKNOWN)).toBe('403 caller-unknown');
    expect(performance.now() - started - refused).toBeGreaterThan(refused);
  });
});

describe('what may change while it runs', () => {
  it('keys: a new one counts, one that is gone counts no more, a broken file changes nothing and is a Problem', async () => {
    const old = signToken(one, claims());
    const fresh = signToken(two, claims());
    expect([await call('guarded', UNKNOWN, old), await call('guarded', UNKNOWN, fresh)]).toEqual(['200', '401 bad-token']);
    await writeKeys(jwksOf(one, two));
    await eventually(async () => expect(await call('guarded', UNKNOWN, fresh)).toBe('200'));
    expect(await call('guarded', UNKNOWN, old)).toBe('200');
    await writeKeys(jwksOf(two));
    await eventually(async () => expect(await call('guarded', UNKNOWN, old)).toBe('401 bad-token'));
    expect(await call('guarded', UNKNOWN, fresh)).toBe('200');

    await writeKeys('{"keys": [');
    await eventually(async () => expect((await agent.routes()).problems.map(({ code, severity }) => `${code} ${severity}`)).toEqual(['token-keys-unread warning']));
    expect(await call('guarded', UNKNOWN, signToken(two, claims()))).toBe('200');
    expect(await agent.get('/metrics')).toMatch(/onehop_token_keys_unread 1\n/);
    await writeKeys(jwksOf(one, two));
    await eventually(async () => expect((await agent.routes()).problems).toEqual([]));
  }, 120_000);

  it('codes: they count from when their Secret is there until it is gone', async () => {
    expect(await call('guarded', UNKNOWN, CODE)).toBe('401 bad-token');
    await agent.writeFile('code.yaml', secret(CODE));
    await eventually(async () => expect(await call('guarded', UNKNOWN, CODE)).toBe('200'));
    expect(await call('svc', POD, CODE)).toBe('403 bad-token');
    await agent.writeFile('code.yaml', secret(`${CODE}-2`));
    await eventually(async () => expect(await call('guarded', UNKNOWN, CODE)).toBe('401 bad-token'));
    expect(await call('guarded', UNKNOWN, `${CODE}-2`)).toBe('200');
    await rm(join(agent.folder, 'objects', 'code.yaml'));
    await eventually(async () => expect(await call('guarded', UNKNOWN, `${CODE}-2`)).toBe('401 bad-token'));
  }, 120_000);
});

it('onehop explain says what becomes of a token, by the agent and from the folder', async () => {
  await writeKeys(jwksOf(two));
  const file = join(agent.folder, 'token');
  const explain = async (token: string, ...where: readonly string[]): Promise<string> => {
    await writeFile(file, `${token}\n`);
    let out = '';
    const terminal = { out: (text: string) => (out += text), err: (text: string) => (out += text), env: {}, workingDirectory: agent.folder, hostname: 'n1', version: '0' };
    const code = await runCommand('explain', ['guarded.shop', '--from', UNKNOWN, '--token', file, ...where], terminal);
    return `${code}\n${out}`;
  };
  const alone = [`--source=dir:${join(agent.folder, 'objects')}`, '--node-name=n1', '--vip-pool=127.73.72.0/22', '--http-port=8080', `--token-jwks=${jwks}`, `--token-issuer=${ISSUER}`, `--token-audience=${AUDIENCE}`];
  await eventually(async () => expect(await call('guarded', UNKNOWN, signToken(two, claims()))).toBe('200'));
  for (const where of [[`--run-dir=${join(agent.folder, 'run')}`], alone]) {
    const good = await explain(signToken(two, claims()), ...where);
    expect(good).toMatch(/^0\n/);
    expect(good).toContain('token     passed: it names ServiceAccount shop/crm-sync');
    const bad = await explain(signToken(two, claims('crm-sync', { aud: 'other' })), ...where);
    expect(bad).toMatch(/^1\n/);
    expect(bad).toContain('token     refused: it is for another audience');
    expect(bad).toContain('answer    401 bad-token: it is for another audience');
  }
}, 120_000);

it('nothing of a token stands in the log at its finest, in /routes, /table or /metrics', async () => {
  await agent.writeFile('code.yaml', secret(CODE));
  const token = signToken(two, claims());
  await eventually(async () => expect(await call('guarded', UNKNOWN, CODE)).toBe('200'));
  expect(await call('guarded', UNKNOWN, token)).toBe('200');
  const shown = [agent.log, ...(await Promise.all(['/routes', '/table', '/metrics'].map((page) => agent.get(page))))].join('\n');
  expect(agent.log).toContain("a caller's token was refused: ");
  for (const part of [CODE, ...token.split('.').map((text) => text.slice(0, 40)), Buffer.from(CODE).toString('base64').slice(0, 20)]) expect(shown).not.toContain(part);
  expect(await agent.get('/metrics')).toMatch(/onehop_tokens_total\{verdict="accepted"\} [1-9]/);
});
