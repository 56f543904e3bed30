import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openApiAccess } from '../../../src/kube/io/open-api-access.ts';
import { openApiClient, type ApiClient } from '../../../src/kube/io/open-api-client.ts';
import { readClusterKeys } from '../../../src/kube/io/read-cluster-keys.ts';
import type { TokenVerdict } from '../../../src/model/token.ts';
import { openKeySource, type OpenKeySource } from '../../../src/tokens/io/open-key-source.ts';
import { TokenVerifier } from '../../../src/tokens/token-verifier.ts';
import { openCluster, type Cluster } from '../../support/cluster/cluster.ts';
import { ISSUER } from '../../support/cluster/control-plane.ts';
import { claimsOf, signedLike } from '../../support/cluster/signed-token.ts';
import { tokenKubeconfig } from '../../support/cluster/token-kubeconfig.ts';
import { eventually, must } from '../../support/lab/run.ts';

/** Tokens that a real API server issues, verified with the keys that it gives to the agent's account. */
const SYSTEM = 'onehop-system';
let cluster: Cluster;
let client: ApiClient;
let keys: OpenKeySource;
let verifier: TokenVerifier;
let events: string[];

beforeAll(async () => {
  cluster = await openCluster({ name: 'keys', nodes: 0 });
  await cluster.kubectl(['apply', '-k', 'daemonset/base']);
  await cluster.kubectl(['create', 'namespace', 'shop']);
  await cluster.kubectl(['-n', 'shop', 'create', 'serviceaccount', 'web']);
  // By certificate: a token of the agent's own would end with the key that signed it, and nobody renews it here.
  await openKeys(await cluster.userKubeconfig('onehop:node:n1', ['onehop:nodes']));
});
afterAll(async () => {
  await closeKeys();
  await cluster?.close();
});

async function openKeys(kubeconfig: string): Promise<void> {
  const access = await openApiAccess({ kubeconfig });
  client = openApiClient(access, { userAgent: 'test', timeoutMs: 5_000 });
  events = [];
  keys = openKeySource({ name: 'the cluster', read: readClusterKeys(client, access), periodMs: 3_600_000, minGapMs: 200, onEvent: ({ text }) => void events.push(text) });
  verifier = new TokenVerifier({ keys, now: Date.now });
}

async function closeKeys(): Promise<void> {
  await keys?.close();
  client?.close();
}

const issue = async (...flags: readonly string[]): Promise<string> => (await cluster.kubectl(['-n', 'shop', 'create', 'token', 'web', ...flags])).trim();
const refused = (why: string): TokenVerdict => ({ ok: false, why });
const WEB = { ok: true, identity: { namespace: 'shop', serviceAccount: 'web' } };
const nowSeconds = (): number => Math.floor(Date.now() / 1000);

describe("tokens of the cluster's own issuer", () => {
  test('name their account until they end, for the audience that pods have by default', async () => {
    const token = await issue();
    expect(await verifier.verify(token)).toMatchObject(WEB);
    expect(keys.keys).toMatchObject({ issuers: [ISSUER], audiences: [ISSUER] });
    const verdict = await verifier.verify(token);
    expect(verdict.ok && verdict.identity.expiresAtMs).toBe(Number(claimsOf(token)['exp']) * 1000);
  });

  test('are refused for another audience, though the API server signed them', async () => {
    expect(await verifier.verify(await issue('--audience=vault'))).toEqual(refused('it is for another audience'));
    expect(await verifier.verify(await issue('--audience=vault', `--audience=${ISSUER}`))).toMatchObject(WEB);
  });

  test('are refused when they have ended, or are of another issuer: the same key signs one that is good', async () => {
    const [token, key] = [await issue(), await readFile(cluster.serviceAccountKeys, 'utf8')];
    expect(await verifier.verify(signedLike(token, { exp: nowSeconds() + 60 }, key))).toMatchObject(WEB);
    expect(await verifier.verify(signedLike(token, { exp: nowSeconds() - 1 }, key))).toEqual(refused('it has expired'));
    expect(await verifier.verify(signedLike(token, { iss: 'https://elsewhere' }, key))).toEqual(refused('it is of another issuer'));
    expect(await verifier.verify(signedLike(token, { sub: 'system:serviceaccount:shop:api' }, key))).toEqual(refused('its claim kubernetes.io contradicts its subject'));
  });

  test('are verified while the API server is away; their keys may change without anything being restarted here', async () => {
    const [before, old] = [await issue(), await readFile(cluster.serviceAccountKeys, 'utf8')];
    expect(await verifier.verify(before)).toMatchObject(WEB);
    const fresh = await must(['openssl', 'genrsa', '2048']);
    await cluster.apiServer.stop();
    await keys.refresh();
    expect([keys.trouble, await verifier.verify(before)]).toMatchObject([expect.stringContaining('cannot be reached'), WEB]);

    await writeFile(cluster.serviceAccountKeys, fresh + old);
    await cluster.apiServer.start();
    const after = await issue();
    expect(after.split('.')[0]).not.toBe(before.split('.')[0]);
    // Its kid is unknown: the keys are read again, once.
    expect(await verifier.verify(after)).toMatchObject(WEB);
    expect([await verifier.verify(before), keys.keys?.keys.length]).toMatchObject([WEB, 2]);

    await cluster.apiServer.stop();
    await writeFile(cluster.serviceAccountKeys, fresh);
    await cluster.apiServer.start();
    await eventually('the old key is gone', async () => {
      await keys.refresh();
      return keys.keys?.keys.length === 1;
    });
    expect(await verifier.verify(before)).toEqual(refused('no key has its kid'));
    expect(await verifier.verify(after)).toMatchObject(WEB);
  });
});

describe('the right to read the keys', () => {
  const BINDING = 'system:service-account-issuer-discovery';

  test("is the agent's own, for pods and for nodes outside pods; without it the remedy is said", async () => {
    await closeKeys();
    // Kubernetes' own binding, which hardened clusters take away. The API server makes it anew when it starts.
    await cluster.kubectl(['delete', 'clusterrolebinding', BINDING]);
    const users = [await tokenKubeconfig(cluster, { namespace: SYSTEM, name: 'onehop-agent' }), await cluster.userKubeconfig('onehop:node:n1', ['onehop:nodes'])];
    for (const user of users) {
      await openKeys(user);
      expect(await verifier.verify(await issue())).toMatchObject(WEB);
      expect(keys.keys?.audiences).toEqual([ISSUER]);
      await closeKeys();
    }
    const shipped = await cluster.get<{ rules: readonly { nonResourceURLs?: readonly string[] }[] }>('clusterrole', 'onehop-agent');
    const rules = shipped.rules.filter(({ nonResourceURLs }) => nonResourceURLs === undefined);
    expect(rules).toHaveLength(shipped.rules.length - 1);
    await cluster.kubectl(['patch', 'clusterrole', 'onehop-agent', '--type=merge', '-p', JSON.stringify({ rules })]);
    const told = async (): Promise<string | undefined> => {
      await closeKeys();
      await openKeys(users[0] ?? '');
      await keys.refresh();
      return keys.trouble;
    };
    expect(await eventually('it is refused', told)).toMatch(/does not give \/(?:openid\/v1\/jwks|\.well-known\/openid-configuration): .*forbidden.*; allow get of .* in its ClusterRole$/);
    expect(await verifier.verify(await issue())).toEqual(refused('the keys that verify a JWT could not be read yet'));
  });
});
