import { afterAll, beforeAll, expect, test } from 'vitest';
import { attachCluster } from '../../support/cluster/cluster.ts';
import type { Cluster } from '../../support/cluster/cluster.ts';
import { DocShell } from '../../support/cluster/doc-shell.ts';
import { SYSTEM_NAMESPACE } from '../../support/cluster/installed-onehop.ts';
import type { Onehop } from '../../support/cluster/installed-onehop.ts';
import type { ClusterNode } from '../../support/cluster/node.ts';
import { installOnehop, untilRolledOut } from '../../support/cluster/onehop.ts';
import { Shop } from '../../support/cluster/shop.ts';
import { caller, leadsTo, server, service, serviceRoute } from '../../support/cluster/workloads.ts';
import { eventually } from '../../support/lab/run.ts';
import { readUnit } from '../../support/systemd-unit.ts';

/**
 * A node outside pods: installed by the commands of docs/install.md on a node of the cluster from which the DaemonSet's pod is taken
 * away. systemd itself does not run there: this starts the units' own command lines, as their user, with their environment file,
 * capabilities and folders.
 */
const NODE = 'n3';
const UNITS = ['onehop-haproxy', 'onehop-agent'];
/** In the agent's command line; the name of a Node process is that of its main thread. */
const AGENT = 'onehop.mjs';

let cluster: Cluster;
let onehop: Onehop;
let shop: Shop;
let shell: DocShell;
let node: ClusterNode;

beforeAll(async () => {
  cluster = await attachCluster();
  onehop = await installOnehop(cluster);
  node = cluster.node(NODE);
  shop = await Shop.open(cluster, 'units');
  await keepPodsOff(true);
  await shop.run(
    server({ namespace: 'units', name: 'svc31-a', node: 'n1' }),
    service('units', 'svc31-a'),
    serviceRoute('units', 'svc31', leadsTo('svc31-a')),
    caller({ namespace: 'units', name: 'web', node: NODE }),
  );
  shell = await DocShell.open(cluster);
});
afterAll(async () => {
  await endUnits('SIGKILL');
  await shell.block('systemd-remove', { node: NODE });
  await shell.close();
  await shop.close();
  await keepPodsOff(false);
});

/** The pod of the DaemonSet leaves the node, or comes back. */
async function keepPodsOff(off: boolean): Promise<void> {
  const nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'NotIn', values: [NODE] }] }] } };
  const patch = { spec: { template: { spec: { affinity: off ? { nodeAffinity } : null } } } };
  await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'patch', 'daemonset/onehop', '--type=merge', '--patch', JSON.stringify(patch)]);
  await untilRolledOut(cluster, 'daemonset/onehop');
  const left = async (): Promise<boolean> => (await node.pids('haproxy')).length === 0 && (await podsHere()) === '';
  if (off) await eventually('the pod is gone', left, 90_000);
}

const podsHere = (): Promise<string> => cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'get', 'pods', '-l', 'app.kubernetes.io/component=agent', '--field-selector', `spec.nodeName=${NODE}`, '-o', 'name']);

/** What systemd does for a unit: its folders, its user with its capabilities and nothing more, the environment file, its command. */
async function startUnit(name: string): Promise<void> {
  const unit = readUnit(`${name}.service`);
  const one = (key: Parameters<typeof unit>[0]): string => {
    const [value] = unit(key);
    if (value === undefined) throw new Error(`${name}.service has no ${key}`);
    return value;
  };
  const user = one('Service.User');
  const folders = [`/run/${one('Service.RuntimeDirectory')}`, ...unit('Service.StateDirectory').map((folder) => `/var/lib/${folder}`)];
  const caps = one('Service.AmbientCapabilities').toLowerCase().split(' ').map((cap) => `+${cap.replace('cap_', '')}`).join(',');
  const drop = ['setpriv', `--reuid=${user}`, `--regid=${one('Service.Group')}`, '--clear-groups', '--no-new-privs', `--bounding-set=-all,${caps}`, `--inh-caps=-all,${caps}`, `--ambient-caps=-all,${caps}`];
  const script = `
    for folder in ${folders.join(' ')}; do install -d -o ${user} -g ${one('Service.Group')} -m ${one('Service.RuntimeDirectoryMode')} $folder; done
    umask ${one('Service.UMask')}
    set -a; . ${one('Service.EnvironmentFile')}
    exec ${drop.join(' ')} ${one('Service.ExecStart')}`;
  await node.start(name, ['env', '-i', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin', 'sh', '-ec', script]);
}

async function endUnits(signal: NodeJS.Signals): Promise<void> {
  const pids = async (): Promise<readonly string[]> => (await node.exec('pgrep', '-u', 'onehop')).stdout.split('\n').filter(Boolean);
  if ((await pids()).length > 0) await node.exec('pkill', `-${signal.slice(3)}`, '-u', 'onehop');
  await eventually('the units have ended', async () => (await pids()).length === 0);
}

test('docs/install.md makes of a machine a node of Onehop', async () => {
  // npm has no network on the node: everything it installs is in its cache, the checkout has it too.
  const offline = { npm_config_offline: 'true' };
  expect(await shell.block('node-remove', { node: NODE })).toMatchObject({ code: 0 });
  expect(await shell.block('systemd-install', { node: NODE, env: offline })).toMatchObject({ code: 0, stdout: expect.stringContaining('systemctl disable --now haproxy') });
  expect(await shell.block('systemd-files', { node: NODE, env: offline })).toMatchObject({ code: 0 });
  expect(await shell.block('systemd-credentials', { env: { NODE } })).toMatchObject({ code: 0 });
  expect(await shell.block('systemd-start', { node: NODE })).toMatchObject({ code: 0, stdout: expect.stringContaining('systemctl enable --now onehop-haproxy onehop-agent') });
  for (const unit of UNITS) await startUnit(unit);
  await eventually('the agent is ready', async () => (await node.exec('curl', '-sf', '-m', '2', '--unix-socket', '/run/onehop/admin.sock', 'http://agent/readyz')).code === 0, 60_000);
});

test('the agent runs as the unit says: its user, two capabilities, HAProxy with one', async () => {
  const status = async (...pattern: readonly string[]): Promise<string> => (await node.exec('sh', '-c', `cat /proc/$(pgrep -o -u onehop ${pattern.join(' ')})/status`)).stdout;
  expect(await status('-f', AGENT)).toMatch(/CapEff:\t0{12}1400\nCapBnd:\t0{12}1400\n[^]*NoNewPrivs:\t1/);
  expect(await status('-x', 'haproxy')).toMatch(/CapEff:\t0{12}0400\nCapBnd:\t0{12}0400\n[^]*NoNewPrivs:\t1/);
});

test('pods of that node call routes through it, and the controller counts it', async () => {
  await onehop.untilProgrammed('units', 'svc31');
  const web = await shop.pod('units', 'web');
  await shop.untilCallable(web, 'http://svc31/');
  expect(await web.call('http://svc31/')).toMatchObject({ status: 200, version: 'svc31-a' });
  const { items } = await cluster.get<{ items: { spec: { holderIdentity: string } }[] }>('-n', SYSTEM_NAMESPACE, 'leases', '-l', 'onehop.paas.io/report=node');
  expect(items.map(({ spec }) => spec.holderIdentity).sort()).toEqual(['n1', 'n2', 'n3']);
});

test('doctor says there that all is well', async () => {
  const { stdout, code } = await shell.block('systemd-verify', { node: NODE });
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining('all is well') });
});

test('the agent killed: calls go on, and the next one takes over', async () => {
  const web = await shop.pod('units', 'web');
  const [before] = await node.pids('haproxy');
  expect(await node.exec('pkill', '-KILL', '-u', 'onehop', '-f', AGENT)).toMatchObject({ code: 0 });
  expect(await web.call('http://svc31/')).toMatchObject({ status: 200 });
  await startUnit('onehop-agent');
  await eventually('the agent is ready again', async () => (await node.exec('curl', '-sf', '-m', '2', '--unix-socket', '/run/onehop/admin.sock', 'http://agent/readyz')).code === 0, 60_000);
  expect(await node.pids('haproxy')).toContain(before);
  expect(await web.call('http://svc31/')).toMatchObject({ status: 200 });
});

test('asked to stop, both end in time', async () => {
  await endUnits('SIGTERM');
  expect(await node.pids('haproxy')).toEqual([]);
});
