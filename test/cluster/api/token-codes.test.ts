import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openApiAccess } from '../../../src/kube/io/open-api-access.ts';
import { openApiClient } from '../../../src/kube/io/open-api-client.ts';
import { openKubernetesSource } from '../../../src/kube/io/open-kubernetes-source.ts';
import type { TokenCode } from '../../../src/model/token.ts';
import { ControllerBench } from '../../support/cluster/controller-bench.ts';
import { tokenKubeconfig } from '../../support/cluster/token-kubeconfig.ts';
import { eventually, type RunResult } from '../../support/lab/run.ts';

/** Codes of callers on a real API server: from a tenant's Secret, by the controller with its shipped rights, to what an agent reads. */
const SYSTEM = 'onehop-system';
const NAME = 'onehop-token-codes';
const SECONDS_15 = 15_000;
let bench: ControllerBench;

beforeAll(async () => {
  bench = await ControllerBench.open('codes', ['shop', 'bank', 'closed']);
  // A pod of the agent's account, for a token like that of the DaemonSet.
  await bench.cluster.kubectl(['-n', SYSTEM, 'wait', '--for=create', 'serviceaccount/onehop-agent', '--timeout=60s']);
});
afterEach(async ({ task }) => {
  const failed = task.result?.state === 'fail';
  await bench.endAll(failed);
});
afterAll(() => bench.close());

const digestOf = (code: string): string => createHash('sha256').update(code).digest('hex');
const code = (namespace: string, serviceAccount: string, text: string): TokenCode => ({ digest: digestOf(text), namespace, serviceAccount });
const apply = (object: object, kubeconfig?: string): Promise<RunResult> =>
  bench.cluster.tryKubectl(['apply', '--server-side', '--force-conflicts', '--field-manager=test', '-f', '-'], { input: JSON.stringify(object), ...(kubeconfig === undefined ? {} : { kubeconfig }) });
const put = (namespace: string, name: string, serviceAccount: string, text: string): Promise<RunResult> =>
  apply({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name, labels: { 'onehop.paas.io/token': serviceAccount } }, data: { token: Buffer.from(text).toString('base64') } });
const remove = (namespace: string, name: string): Promise<string> => bench.cluster.kubectl(['-n', namespace, 'delete', 'secret', name]);

/** As docs/install.md has it. */
async function grant(namespace: string): Promise<void> {
  await bench.cluster.kubectl(['-n', namespace, 'create', 'role', 'onehop-token-codes', '--verb=list,watch', '--resource=secrets']);
  await bench.cluster.kubectl(['-n', namespace, 'create', 'rolebinding', 'onehop-token-codes', '--role=onehop-token-codes', `--serviceaccount=${SYSTEM}:onehop-controller`]);
}
const withdraw = (namespace: string): Promise<string> => bench.cluster.kubectl(['-n', namespace, 'delete', 'rolebinding/onehop-token-codes', 'role/onehop-token-codes']);

interface Published {
  readonly metadata: { readonly resourceVersion: string; readonly managedFields: readonly { readonly manager: string; readonly operation: string }[] };
  readonly data?: Readonly<Record<string, string>>;
}
const published = (): Promise<Published | undefined> => bench.client.request<Published>('GET', `/api/v1/namespaces/${SYSTEM}/secrets/${NAME}`).catch(() => undefined);
/** `namespace: digest serviceAccount` of everything. */
const lines = async (): Promise<readonly string[]> =>
  Object.entries((await published())?.data ?? {}).flatMap(([namespace, text]) => Buffer.from(text, 'base64').toString().split('\n').filter((line) => line !== '').map((line) => `${namespace}: ${line}`)).sort();
const untilLines = (what: string, ...wanted: readonly TokenCode[]): Promise<unknown> => {
  const expected = wanted.map(({ digest, namespace, serviceAccount }) => `${namespace}: ${digest} ${serviceAccount}`).sort().join('\n');
  return eventually(what, async () => (await lines()).join('\n') === expected, SECONDS_15);
};
const events = async (namespace: string): Promise<readonly string[]> => {
  const { items } = await bench.client.request<{ items: readonly { reason: string; note: string; regarding: { kind: string; name: string } }[] }>('GET', `/apis/events.k8s.io/v1/namespaces/${namespace}/events`);
  return items.filter(({ regarding }) => regarding.kind === 'Secret').map(({ reason, regarding }) => `${regarding.name} ${reason}`).sort();
};

describe('the controller', () => {
  test('publishes the codes of namespaces that grant it, changes and deletions within seconds, by one write each', async () => {
    await put('shop', 'web-code', 'web', 'code-of-web-in-shop\n');
    await put('closed', 'web-code', 'web', 'code-of-web-in-closed');
    await grant('shop');
    const one = await bench.start('a');
    await untilLines('the code of shop', code('shop', 'web', 'code-of-web-in-shop'));
    expect((await published())?.metadata.managedFields.map(({ manager, operation }) => `${manager} ${operation}`)).toEqual(['onehop-controller Apply']);

    await grant('bank');
    await put('bank', 'teller-code', 'teller', 'code-of-teller-in-bank');
    await eventually('the code of bank, whose grant is new', async () => (await lines()).length === 2, 60_000);
    await put('shop', 'web-code', 'web', 'second-code-of-web-in-shop');
    await untilLines('the changed code', code('shop', 'web', 'second-code-of-web-in-shop'), code('bank', 'teller', 'code-of-teller-in-bank'));
    const before = (await published())?.metadata.resourceVersion;
    // A Secret of another kind is nobody's code, and leads to no write.
    await apply({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: 'shop', name: 'plain' }, data: { token: 'aGlkZGVuLWhpZGRlbi1oaWRkZW4=' } });
    await put('shop', 'same-again', 'web', 'second-code-of-web-in-shop');
    await put('closed', 'web-code', 'web', 'another-code-of-closed');
    await put('shop', 'api-code', 'api', 'code-of-api-in-shop');
    await untilLines('one more', code('shop', 'api', 'code-of-api-in-shop'), code('shop', 'web', 'second-code-of-web-in-shop'), code('bank', 'teller', 'code-of-teller-in-bank'));
    const writes = one.proxy.writes().filter(({ path }) => path.includes(NAME));
    expect([writes.length, before !== (await published())?.metadata.resourceVersion]).toEqual([4, true]);

    await remove('shop', 'api-code');
    await untilLines('without the deleted one', code('shop', 'web', 'second-code-of-web-in-shop'), code('bank', 'teller', 'code-of-teller-in-bank'));
    await withdraw('bank');
    await untilLines('without those of bank, which took its grant back', code('shop', 'web', 'second-code-of-web-in-shop'));
    await remove('bank', 'teller-code');
    await remove('shop', 'same-again');
    await remove('shop', 'web-code');
    await untilLines('none');
    expect(await one.stop()).toBe(0);
  });

  test('takes a code of two accounts from both, and says so beside each', async () => {
    await grant('bank');
    await put('shop', 'mine', 'web', 'a-code-that-two-have');
    await bench.start('a');
    await untilLines('the one', code('shop', 'web', 'a-code-that-two-have'));
    await put('bank', 'thief', 'web', 'a-code-that-two-have');
    await put('bank', 'short', 'web', 'short');
    await untilLines('none');
    await eventually('Events', async () => (await events('shop')).length > 0 && (await events('bank')).length > 1, SECONDS_15);
    expect([await events('shop'), await events('bank')]).toEqual([['mine TokenCodeShared'], ['short TokenCodeInvalid', 'thief TokenCodeShared']]);
    await remove('bank', 'thief');
    await untilLines('the one again', code('shop', 'web', 'a-code-that-two-have'));
  });

  test('that follows another one takes over what is published, puts right what somebody wrote, and finds what went meanwhile', async () => {
    await put('shop', 'mine', 'web', 'a-code-that-stays-here');
    await put('bank', 'theirs', 'teller', 'a-code-of-bank-that-goes');
    const both = [code('shop', 'web', 'a-code-that-stays-here'), code('bank', 'teller', 'a-code-of-bank-that-goes')];
    await bench.start('a');
    await untilLines('both', ...both);
    await bench.endAll(false);
    const version = (await published())?.metadata.resourceVersion;
    await bench.start('b');
    await bench.untilLeads('b');
    await eventually('it has read them', async () => (await lines()).length === 2 && (await metric('onehop_controller_token_namespaces')) === 2, SECONDS_15);
    expect((await published())?.metadata.resourceVersion).toBe(version);
    await bench.endAll(false);
    await withdraw('bank');
    const forged = Buffer.from(`${digestOf('evil-evil-evil-evil')} vault`).toString('base64');
    expect(await apply({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: SYSTEM, name: NAME }, data: { vault: forged, shop: forged } })).toMatchObject({ code: 0 });
    expect(await lines()).toHaveLength(3);
    await bench.start('c');
    await untilLines('only what is granted', code('shop', 'web', 'a-code-that-stays-here'));
  });

  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(`${bench.last.adminUrl}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? -1);
  };
});

describe('the published Secret', () => {
  test('reaches agents by its name, change by change; no other Secret does', async () => {
    await bench.cluster.apply(
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } },
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'agent-n1', namespace: SYSTEM }, spec: { nodeName: 'n1', serviceAccountName: 'onehop-agent', containers: [{ name: 'c', image: 'c' }] } },
    );
    const kubeconfig = await tokenKubeconfig(bench.cluster, { namespace: SYSTEM, name: 'onehop-agent', pod: 'agent-n1' });
    const client = openApiClient(await openApiAccess({ kubeconfig }), { userAgent: 'test' });
    let codes: readonly TokenCode[] | undefined;
    const errors: string[] = [];
    const source = await openKubernetesSource({ client, nodeName: 'n1', globalNamespace: 'global', systemNamespace: SYSTEM, onSnapshot: ({ tokenCodes }) => void (codes = tokenCodes), onError: ({ message }) => void errors.push(message) });
    try {
      await bench.start('a');
      await eventually('the codes', async () => codes?.length === 1, SECONDS_15);
      expect(codes).toEqual([code('shop', 'web', 'a-code-that-stays-here')]);
      await put('shop', 'more', 'api', 'one-more-code-of-shop');
      await eventually('another one', async () => codes?.length === 2, SECONDS_15);
      await remove('shop', 'more');
      await eventually('it is gone', async () => codes?.length === 1, SECONDS_15);
      expect(errors).toEqual([]);
      for (const path of [`/api/v1/namespaces/${SYSTEM}/secrets`, '/api/v1/secrets', '/api/v1/namespaces/shop/secrets/mine']) await expect(client.request('GET', path)).rejects.toMatchObject({ status: 403 });
    } finally {
      await source.close();
      client.close();
    }
  });

  test('is written by the controller alone, also where others may write Secrets; who may write policies may', async () => {
    const editor = await bench.cluster.userKubeconfig('system-editor');
    await bench.cluster.kubectl(['-n', SYSTEM, 'create', 'rolebinding', 'system-editor', '--clusterrole=edit', '--user=system-editor']);
    const secret = (name: string): object => ({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: SYSTEM, name }, data: { shop: '' } });
    await eventually('the editor may write Secrets', async () => (await apply(secret('other'), editor)).code === 0, 30_000);
    const refused = { code: 1, stderr: expect.stringContaining('only the controller of Onehop may write the Secret onehop-token-codes') };
    expect(await apply(secret(NAME), editor)).toMatchObject(refused);
    expect(await bench.cluster.tryKubectl(['-n', SYSTEM, 'delete', 'secret', NAME], { kubeconfig: editor })).toMatchObject(refused);
    expect(await bench.cluster.tryKubectl(['-n', SYSTEM, 'delete', 'secrets', '--all'], { kubeconfig: editor })).toMatchObject(refused);
    expect(await published()).toBeDefined();
    await bench.cluster.kubectl(['-n', SYSTEM, 'delete', 'secret', NAME]);
    expect(await apply(secret(NAME), editor)).toMatchObject(refused);
    expect(await bench.cluster.tryKubectl(['-n', SYSTEM, 'create', 'secret', 'generic', NAME], { kubeconfig: editor })).toMatchObject(refused);
    const controller = await tokenKubeconfig(bench.cluster, { namespace: SYSTEM, name: 'onehop-controller' });
    expect(await apply(secret('other'), controller)).toMatchObject({ code: 1, stderr: expect.stringContaining('cannot patch resource "secrets"') });
    await bench.start('a');
    await untilLines('it is there again', code('shop', 'web', 'a-code-that-stays-here'));
  });

  test('is not read by tenants', async () => {
    const tenant = await bench.cluster.userKubeconfig('shop-admin');
    await bench.cluster.kubectl(['-n', 'shop', 'create', 'rolebinding', 'shop-admin', '--clusterrole=admin', '--user=shop-admin']);
    await eventually('he reads his own', async () => (await bench.cluster.tryKubectl(['-n', 'shop', 'get', 'secret', 'mine'], { kubeconfig: tenant })).code === 0, 30_000);
    expect(await bench.cluster.tryKubectl(['-n', SYSTEM, 'get', 'secret', NAME], { kubeconfig: tenant })).toMatchObject({ code: 1, stderr: expect.stringContaining('forbidden') });
  });
});
