import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommand } from '../../../src/cli/main.ts';
import { answer, openFakeApiServer, type FakeApiServer } from '../../support/fake-api-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'onehop-release-'));
const servers: Record<string, FakeApiServer> = {};

/** A server that has a ledger, and a kubeconfig of its name that leads to it. */
beforeAll(async () => {
  for (const name of ['flag', 'variable', 'standard']) {
    const server = await openFakeApiServer((_, response) => answer(response, { metadata: { resourceVersion: '1' }, data: { '169.254.193.7': 'shop/cart' } }));
    servers[name] = server;
    const config = {
      clusters: [{ name, cluster: { server: server.access.server.href } }],
      contexts: [{ name, context: { cluster: name, user: name, namespace: 'of-its-user' } }],
      users: [{ name, user: {} }],
      'current-context': name,
    };
    writeFileSync(join(folder, name), JSON.stringify(config));
  }
});
afterAll(async () => {
  for (const server of Object.values(servers)) await server.close();
  rmSync(folder, { recursive: true });
});

/** What was asked of which server. */
async function release(argv: readonly string[], env: Readonly<Record<string, string>>): Promise<{ readonly code: number; readonly asked: readonly string[]; readonly said: string }> {
  const before = Object.fromEntries(Object.entries(servers).map(([name, { requests }]) => [name, requests.length]));
  let said = '';
  const write = (text: string): void => void (said += text);
  const code = await runCommand('release', ['cart', ...argv], { out: write, err: write, env, workingDirectory: folder, hostname: 'n1', version: '0' });
  const asked = Object.entries(servers).flatMap(([name, { requests }]) => requests.slice(before[name]).map((line) => `${name}: ${line}`));
  return { code, asked, said };
}

const ledger = (server: string, namespace: string): readonly string[] => [`${server}: GET /api/v1/namespaces/${namespace}/configmaps/onehop-vip-ledger`];
const KUBECONFIG = join(folder, 'standard');
const VARIABLES = { KUBECONFIG, ONEHOP_KUBECONFIG: join(folder, 'variable'), ONEHOP_SYSTEM_NAMESPACE: 'routing' };

test.each<[string, readonly string[], Readonly<Record<string, string>>, readonly string[]]>([
  ['a flag stands above its variable', ['--kubeconfig', 'flag', '--system-namespace=mesh'], VARIABLES, ledger('flag', 'mesh')],
  ['a variable stands above the default', [], VARIABLES, ledger('variable', 'routing')],
  ['an empty variable is absent', [], { KUBECONFIG, ONEHOP_KUBECONFIG: '', ONEHOP_SYSTEM_NAMESPACE: '' }, ledger('standard', 'onehop-system')],
])('%s', async (_, argv, env, asked) => {
  expect(await release(argv, env)).toMatchObject({ code: 1, asked, said: expect.stringContaining('nothing of cart rests') });
});

test('a variable that cannot be used is named', async () => {
  expect(await release([], { ...VARIABLES, ONEHOP_SYSTEM_NAMESPACE: 'No_Name' })).toEqual({ code: 2, asked: [], said: expect.stringContaining("ONEHOP_SYSTEM_NAMESPACE: 'No_Name' is not a namespace's name") });
});
