import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Terminal } from '../../../src/cli/command.ts';
import { doctor } from '../../../src/cli/doctor.ts';
import { AgentFolders, AgentProcess, call } from '../../support/agent-process.ts';
import { ControllerBench } from '../../support/cluster/controller-bench.ts';
import { tokenKubeconfig } from '../../support/cluster/token-kubeconfig.ts';
import { eventually } from '../../support/lab/run.ts';

/**
 * The shipped rights are those that are used: in a run that does everything, the API server's audit log names each granted verb, and no
 * request that is not granted. (A right that is granted and unused could be taken away and nothing would break.) And what is said
 * while a right is missing.
 */
const SYSTEM = 'onehop-system';
const AGENT = `system:serviceaccount:${SYSTEM}:onehop-agent`;
const CONTROLLER = `system:serviceaccount:${SYSTEM}:onehop-controller`;
const NET = '127.68';
const TAINT = 'onehop.paas.io/not-ready';
const MERGE = 'application/merge-patch+json';
let bench: ControllerBench;
let folders: AgentFolders;
let agent: AgentProcess | undefined;
let agentConfig: string;

beforeAll(async () => {
  bench = await ControllerBench.open('rights-used', ['shop']);
  const { cluster, client } = bench;
  await cluster.kubectl(['apply', '-f', 'daemonset/components/startup-taint/rbac.yaml']);
  // A pod is refused until the controller manager has made its namespace's account.
  await cluster.kubectl(['-n', 'shop', 'wait', '--for=create', 'serviceaccount/default', '--timeout=60s']);
  // The agent's node, and another one that new pods must not come to yet.
  await cluster.apply(
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } },
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n2' } },
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'agent-n1', namespace: SYSTEM }, spec: { nodeName: 'n1', serviceAccountName: 'onehop-agent', containers: [{ name: 'c', image: 'c' }] } },
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'ingress', namespace: 'shop' }, spec: { nodeName: 'n2', hostNetwork: true, containers: [{ name: 'c', image: 'c' }] } },
  );
  await client.request('PATCH', '/api/v1/nodes/n2/status', { contentType: MERGE, body: { status: { addresses: [{ type: 'InternalIP', address: '10.0.0.2' }] } } });
  await client.request('PATCH', '/api/v1/namespaces/shop/pods/ingress/status', { contentType: MERGE, body: { status: { podIP: '10.0.0.2', podIPs: [{ ip: '10.0.0.2' }] } } });
  agentConfig = await tokenKubeconfig(cluster, { namespace: SYSTEM, name: 'onehop-agent', pod: 'agent-n1' });
});
afterEach(async ({ task }) => {
  const failed = task.result?.state === 'fail';
  await agent?.stop();
  if (failed) process.stderr.write(agent?.log ?? '');
  agent = undefined;
  folders.remove();
  await bench.endAll(failed);
});
afterAll(() => bench.close());

/** The agent of n1. */
function startAgent(): AgentProcess {
  folders = new AgentFolders();
  agent = new AgentProcess(folders, NET, [`--kubeconfig=${agentConfig}`, `--system-namespace=${SYSTEM}`, '--proxy=embedded'], 'kubernetes');
  return agent;
}

const readyz = (): ReturnType<typeof call> => call({ host: `${NET}.0.11`, port: 9810, path: '/readyz' });
const untilReady = (): Promise<boolean> => eventually('the agent is ready', async () => (await readyz().catch(() => undefined))?.status === 200, 60_000);

interface Role {
  readonly rules: readonly Rule[];
}

interface Rule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly verbs: readonly string[];
}

/** `serviceroutes.paas.io/status`, or the path of what is no resource. */
const subjectsOf = ({ apiGroups = [], resources = [], nonResourceURLs = [] }: Rule): readonly string[] => [...apiGroups.flatMap((group) => resources.map((resource) => qualify(resource, group))), ...nonResourceURLs];

/** `verb resource.group/subresource` for everything that roles of these names allow. */
async function grantedBy(...roles: readonly (readonly [kind: string, name: string])[]): Promise<ReadonlySet<string>> {
  const found = await Promise.all(roles.map(([kind, name]) => bench.cluster.get<Role>('-n', SYSTEM, kind, name)));
  return new Set(
    found
      .flatMap(({ rules }) => rules)
      .flatMap((rule) => subjectsOf(rule).flatMap((subject) => rule.verbs.map((verb) => `${verb} ${subject}`))),
  );
}

/** `serviceroutes/status` of group `paas.io` is `serviceroutes.paas.io/status`. */
function qualify(resource: string, group: string): string {
  const [plural, ...subresource] = resource.split('/');
  return [group === '' ? plural : `${plural}.${group}`, ...subresource].join('/');
}

/** What an account asked for, in the same words: all of it, and what was answered with success. */
async function askedBy(user: string): Promise<{ readonly all: ReadonlySet<string>; readonly done: ReadonlySet<string> }> {
  const requests = (await bench.cluster.auditedRequests()).filter((request) => request.user === user);
  const all = requests.map(({ verb, resource }) => `${verb} ${resource}`);
  const done = requests
    .filter(({ status }) => status >= 200 && status < 300)
    // A server-side apply that makes the object needs the right to create it, too.
    .flatMap(({ verb, resource, status }) => [`${verb} ${resource}`, ...(verb === 'patch' && status === 201 ? [`create ${resource}`] : [])]);
  return { all: new Set(all), done: new Set(done) };
}

/** What is granted and not used, also after a while (a Lease is renewed every 2 s, the ledger is read every 10 s); and asked for and not granted. */
async function compareUse(user: string, granted: ReadonlySet<string>): Promise<{ readonly unused: readonly string[]; readonly ungranted: readonly string[] }> {
  for (const end = performance.now() + 40_000; ; await delay(500)) {
    const { all, done } = await askedBy(user);
    const [unused, ungranted] = [[...granted].filter((right) => !done.has(right)), [...all].filter((right) => !granted.has(right))];
    if (unused.length === 0 || performance.now() > end) return { unused, ungranted };
  }
}

describe('every right is used, and nothing else is asked for', () => {
  test('by the agent', async () => {
    await bench.createRoute('shop', 'edge', { to: [{ kind: 'Service', name: 'ingress' }] });
    await bench.createService('shop', 'ingress');
    const { metadata } = await bench.client.request<{ metadata: { uid: string } }>('GET', '/api/v1/namespaces/shop/pods/ingress');
    // An endpoint on a node's address: whether that is the pod it names, the agent asks by name.
    await bench.cluster.apply({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: 'shop', name: 'ingress-1', labels: { 'kubernetes.io/service-name': 'ingress' } },
      addressType: 'IPv4',
      ports: [{ port: 80 }],
      endpoints: [{ addresses: ['10.0.0.2'], targetRef: { kind: 'Pod', namespace: 'shop', name: 'ingress', uid: metadata.uid } }],
    });
    startAgent();
    await untilReady();
    await eventually('it reports', async () => (await bench.cluster.tryKubectl(['-n', SYSTEM, 'get', 'lease', 'onehop-node-n1'])).code === 0, 60_000);
    const granted = await grantedBy(['clusterrole', 'onehop-agent'], ['role', 'onehop-agent']);
    expect(await compareUse(AGENT, granted)).toEqual({ unused: [], ungranted: [] });
  });

  test('by the controller, with the component startup-taint', async () => {
    folders = new AgentFolders();
    // A namespace that lets its codes be read: that right is the tenant's to give, and no part of what is shipped.
    await bench.cluster.kubectl(['-n', 'shop', 'create', 'role', 'codes', '--verb=list,watch', '--resource=secrets']);
    await bench.cluster.kubectl(['-n', 'shop', 'create', 'rolebinding', 'codes', '--role=codes', `--serviceaccount=${SYSTEM}:onehop-controller`]);
    await bench.cluster.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: 'shop', name: 'code', labels: { 'onehop.paas.io/token': 'web' } }, stringData: { token: 'a-code-of-web-in-shop' } });
    await bench.cluster.kubectl(['taint', 'node', 'n2', `${TAINT}=:NoSchedule`]);
    // One leads, the other asks again and again who does.
    for (const name of ['a', 'b']) await bench.start(name, [`--startup-taint=${TAINT}`]);
    // Its first access point, an Event (there is no such Service), a change by somebody else that it corrects, a deletion.
    await bench.createRoute('shop', 'web');
    await eventually('an access point', async () => (await bench.accessPoints('shop')).includes('web'), 60_000);
    await bench.client.request('PATCH', '/api/v1/namespaces/shop/services/web', { contentType: MERGE, body: { spec: { externalName: 'elsewhere.example' } } });
    await eventually('it is corrected', async () => (await bench.readService('shop', 'web'))?.spec.externalName === 'web.shop.route.internal', 60_000);
    await bench.deleteRoute('shop', 'web');
    await eventually('it is removed', async () => !(await bench.accessPoints('shop')).includes('web'), 60_000);
    await bench.createRoute('shop', 'later');
    await bench.untilVip('shop', 'later');
    await eventually('the taint is taken off', async () => {
      await bench.report(['n2']);
      const { spec } = await bench.cluster.get<{ spec: { taints?: readonly { key: string }[] } }>('node', 'n2');
      return spec.taints?.some(({ key }) => key === TAINT) !== true;
    }, 60_000);
    const shipped = await grantedBy(['clusterrole', 'onehop-controller'], ['role', 'onehop-controller'], ['clusterrole', 'onehop-controller-startup-taint']);
    expect(await compareUse(CONTROLLER, new Set([...shipped, 'list secrets', 'watch secrets']))).toEqual({ unused: [], ungranted: [] });
    // Secrets of others are read only where that was granted.
    const read = (await bench.cluster.auditedRequests()).filter(({ user, resource, verb }) => user === CONTROLLER && resource === 'secrets' && verb !== 'patch');
    expect(new Set(read.map(({ verb, namespace, name }) => `${verb} ${namespace}/${name}`))).toEqual(new Set([`get ${SYSTEM}/onehop-token-codes`, 'list shop/', 'watch shop/']));
  });
});

/** Takes a verb out of a role while `scene` goes on; then it is put back, and `after` sees that all is well again. */
async function without([kind, name]: readonly [string, string], right: string, scene: () => Promise<void>, after: () => Promise<void>): Promise<void> {
  const shipped = await bench.cluster.get<Role>('-n', SYSTEM, kind, name);
  const rules = shipped.rules.map((rule) => ({ ...rule, verbs: rule.verbs.filter((verb) => !subjectsOf(rule).some((subject) => `${verb} ${subject}` === right)) }));
  expect(rules).not.toEqual(shipped.rules);
  const put = (wanted: Role['rules']): Promise<string> => bench.cluster.kubectl(['-n', SYSTEM, 'patch', kind, name, '--type=merge', '-p', JSON.stringify({ rules: wanted.filter(({ verbs }) => verbs.length > 0) })]);
  await put(rules);
  try {
    await scene();
  } finally {
    await put(shipped.rules);
  }
  await after();
}

describe('without a right', () => {
  test('list nodes: the agent is not ready, and it and doctor name verb, resource and remedy; with it all is well', async () => {
    const missing = /may not list nodes: .*\n? *(?:-> |; )?allow list and watch of nodes in the ClusterRole of this account/;
    await without(
      ['clusterrole', 'onehop-agent'],
      'list nodes',
      async () => {
        const one = startAgent();
        await eventually('readiness says it', async () => missing.test((await readyz().catch(() => undefined))?.body ?? ''), 60_000);
        expect(one.log).toMatch(missing);
        let said = '';
        const terminal: Terminal = { out: (text) => void (said += text), err: () => undefined, env: {}, hostname: 'n1', workingDirectory: folders.root, version: '0' };
        await doctor.run([`--kubeconfig=${agentConfig}`, '--node-name=n1', `--vip-pool=${NET}.0.0/16`, '--proxy=embedded', `--run-dir=${folders.run}`], terminal);
        expect(said).toMatch(missing);
      },
      () => untilReady().then(() => undefined),
    );
  });

  test('create leases: the agent serves, says that its node does not count as programmed, and reports later', async () => {
    const reported = async (): Promise<boolean> => (await bench.cluster.tryKubectl(['-n', SYSTEM, 'get', 'lease', 'onehop-node-n1'])).code === 0;
    await bench.cluster.kubectl(['-n', SYSTEM, 'delete', 'lease', 'onehop-node-n1', '--ignore-not-found']);
    await without(
      ['role', 'onehop-agent'],
      'create leases.coordination.k8s.io',
      async () => {
        const one = startAgent();
        await untilReady();
        await eventually('it says so', async () => one.log.includes(`allow create and patch of leases in ${SYSTEM} for this account`), 60_000);
        expect(await reported()).toBe(false);
      },
      () => eventually('it reports', reported, 60_000).then(() => undefined),
    );
  });

  test('patch serviceroutes/status: log and metrics of the controller say so, and routes get their addresses later', async () => {
    folders = new AgentFolders();
    await without(
      ['clusterrole', 'onehop-controller'],
      'patch serviceroutes.paas.io/status',
      async () => {
        const one = await bench.start('c');
        await bench.untilLeads('c');
        await bench.createRoute('shop', 'mute');
        await eventually('it says so', async () => /the API server refuses a write: serviceroutes\.paas\.io \\"mute\\" is forbidden.*cannot patch resource \\"serviceroutes\/status\\"/.test(one.log), 60_000);
        // Many routes, each tried again and again: counted, but not told each time.
        for (let i = 0; i < 30; i++) await bench.createRoute('shop', `mute-${i}`);
        const refused = async (): Promise<number> =>
          Number(/^onehop_controller_writes_total\{kind="status",outcome="refused"\} (\d+)$/m.exec(await (await fetch(`${one.adminUrl}/metrics`)).text())?.[1] ?? 0);
        await eventually('it is counted', async () => (await refused()) > 60, 60_000);
        expect(one.log.match(/refuses a write/g)?.length).toBeLessThan(40);
        expect((await bench.readRoute('shop', 'mute')).status).toBeUndefined();
      },
      () => eventually('it has an address', async () => (await bench.readRoute('shop', 'mute')).status?.vip !== undefined, 90_000).then(() => undefined),
    );
  });
});

