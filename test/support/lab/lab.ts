import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, inside, must, run, start, stop } from './run.ts';
import type { RunResult } from './run.ts';

export const POD_PORT = 8080;

export interface PodPlan {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount?: string;
  /** Label `app`: what Services select by. */
  readonly app?: string;
  /** Runs the pod server on POD_PORT. */
  readonly serves?: boolean;
  /** Not in the objects that the agents read. */
  readonly unlisted?: boolean;
}

export interface NodePlan {
  readonly name: string;
  readonly zone?: string;
  readonly pods: readonly PodPlan[];
}

export interface LabNode {
  readonly name: string;
  readonly zone?: string;
  readonly netns: string;
  readonly address: string;
}

export interface LabPod extends PodPlan {
  readonly node: string;
  readonly netns: string;
  readonly address: string;
}

const POD_SERVER = new URL('pod-server.ts', import.meta.url).pathname;
/** The pods' gateway exists only as a neighbour entry with this hardware address, that of the node's end of each veth. */
const GATEWAY = { address: '169.254.1.1', mac: 'ee:ee:ee:ee:ee:ee' };
const NAME = /^oh(\d+)-/;
/** The folders with the logs stay for a look. */
const KEEP = process.env['ONEHOP_LAB_KEEP'] === '1';
let opened = 0;

/** Nodes and pods as network namespaces; see README.md. Open with `openLab`, close in any case. */
export class Lab {
  /** Logs, run and state folders, objects. */
  readonly folder: string;
  readonly nodes = new Map<string, LabNode>();
  readonly pods = new Map<string, LabPod>();
  readonly #prefix: string;
  readonly #fabric: string;
  readonly #servers = new Map<string, ChildProcess>();

  constructor(folder: string) {
    this.folder = folder;
    this.#prefix = `oh${process.pid}-${++opened}`;
    this.#fabric = `${this.#prefix}-fabric`;
  }

  async build(plans: readonly NodePlan[]): Promise<void> {
    await must(['ip', 'netns', 'add', this.#fabric]);
    await this.#batch(this.#fabric, ['link set lo up', 'link add br0 type bridge', 'link set br0 up']);
    for (const [index, plan] of plans.entries()) await this.#buildNode(plan, index + 1, plans.length);
    for (const pod of this.pods.values()) if (pod.serves === true) await this.startPod(pod.name);
  }

  node(name: string): LabNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`the lab has no node ${name}`);
    return node;
  }

  pod(name: string): LabPod {
    const pod = this.pods.get(name);
    if (pod === undefined) throw new Error(`the lab has no pod ${name}`);
    return pod;
  }

  /** Runs a program in the network of a pod or a node. */
  exec(where: LabPod | LabNode, ...argv: readonly string[]): Promise<RunResult> {
    return run(inside(where.netns, argv));
  }

  /** TCP packets that left the node for the fabric since the lab was opened. */
  async fabricPackets(node: string): Promise<number> {
    const json = await must(inside(this.node(node).netns, ['nft', '-j', 'list', 'counters', 'table', 'inet', 'lab']));
    const packets = /"packets": (\d+)/.exec(json)?.[1];
    if (packets === undefined) throw new Error(`no counter in ${json}`);
    return Number(packets);
  }

  async startPod(name: string): Promise<void> {
    const pod = this.pod(name);
    // Load takes the processor time that the others leave, on both ends.
    const argv = ['nice', process.execPath, POD_SERVER, name, pod.address, String(POD_PORT)];
    this.#servers.set(name, start(inside(pod.netns, argv), join(this.folder, `${name}.log`)));
    await eventually(`${name} serves`, async () => (await this.exec(pod, 'curl', '-sf', '-m', '2', `http://${pod.address}:${POD_PORT}/`)).code === 0);
  }

  /** Kills the pod's server: open connections are reset, new ones refused. */
  async killPod(name: string): Promise<void> {
    const server = this.#servers.get(name);
    if (server !== undefined) await stop(server, 'SIGKILL');
    this.#servers.delete(name);
  }

  /** Drops every packet to the pod, as a node that lost power does; `false` lets them in again. */
  async blackhole(name: string, on = true): Promise<void> {
    const hole = 'table inet hole {\n chain in {\n type filter hook input priority 0; policy drop;\n }\n}\n';
    await loadRules(this.pod(name).netns, on ? hole : 'delete table inet hole\n');
  }

  /** Lets a pod take TCP port 80 of every local address of its node, as the CNI portmap plugin does for a hostPort. */
  async takeHostPort(name: string): Promise<void> {
    const { node, address } = this.pod(name);
    const rule = `fib daddr type local tcp dport 80 dnat to ${address}:${POD_PORT}`;
    const chain = (hook: string): string => `chain ${hook} {\n type nat hook ${hook} priority -100;\n ${rule}\n }\n`;
    await loadRules(this.node(node).netns, `table ip hostport {\n ${chain('prerouting')} ${chain('output')}}\n`);
  }

  async close(): Promise<void> {
    for (const netns of await namespaces()) if (netns.startsWith(`${this.#prefix}-`)) await removeNamespace(netns);
    if (!KEEP) await rm(this.folder, { recursive: true, force: true });
  }

  async #buildNode(plan: NodePlan, number: number, count: number): Promise<void> {
    const netns = `${this.#prefix}-${plan.name}`;
    const node: LabNode = { name: plan.name, ...(plan.zone === undefined ? {} : { zone: plan.zone }), netns, address: `10.210.0.${number}` };
    this.nodes.set(plan.name, node);
    await must(['ip', 'netns', 'add', netns]);
    const others = Array.from({ length: count }, (_, i) => i + 1).filter((other) => other !== number);
    await this.#batch(netns, [
      'link set lo up',
      `link add eth0 type veth peer name ${plan.name} netns ${this.#fabric}`,
      `addr add ${node.address}/24 dev eth0`,
      'link set eth0 up',
      ...others.map((other) => `route add 10.211.${other}.0/24 via 10.210.0.${other}`),
    ]);
    await this.#batch(this.#fabric, [`link set ${plan.name} master br0`, `link set ${plan.name} up`]);
    await must(inside(netns, ['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0']));
    const counting = 'type filter hook postrouting priority 300;\n oifname "eth0" meta l4proto tcp counter name wire\n';
    await loadRules(netns, `table inet lab {\n counter wire {\n }\n chain out {\n ${counting} }\n}\n`);
    for (const [index, pod] of plan.pods.entries()) await this.#buildPod(pod, node, `10.211.${number}.${index + 10}`, index);
  }

  async #buildPod(plan: PodPlan, node: LabNode, address: string, index: number): Promise<void> {
    const netns = `${node.netns}-${plan.name}`;
    const link = `pod${index}`;
    this.pods.set(plan.name, { ...plan, node: node.name, netns, address });
    await must(['ip', 'netns', 'add', netns]);
    await this.#batch(node.netns, [
      `link add ${link} address ${GATEWAY.mac} type veth peer name eth0 netns ${netns}`,
      `link set ${link} up`,
      `route add ${address}/32 dev ${link}`,
    ]);
    await this.#batch(netns, [
      'link set lo up',
      `addr add ${address}/32 dev eth0`,
      'link set eth0 up',
      `neigh add ${GATEWAY.address} lladdr ${GATEWAY.mac} dev eth0 nud permanent`,
      `route add default via ${GATEWAY.address} dev eth0 onlink`,
    ]);
  }

  async #batch(netns: string, lines: readonly string[]): Promise<void> {
    await must(['ip', '-netns', netns, '-batch', '-'], `${lines.join('\n')}\n`);
  }
}

/**
 * Opens a lab. What a killed run left behind is removed first.
 * @throws Error with one line when this process is not root
 */
export async function openLab(plans: readonly NodePlan[]): Promise<Lab> {
  requireRoot();
  await removeLeftovers();
  const lab = new Lab(await mkdtemp(join(tmpdir(), `oh${process.pid}-lab-`)));
  try {
    await mkdir(join(lab.folder, 'objects'));
    await lab.build(plans);
    return lab;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

export function requireRoot(): void {
  if (process.getuid?.() !== 0) throw new Error('the lab makes network namespaces: run it as root');
}

/** Ends what runs in namespaces whose test process is gone, and removes them and its folders. */
async function removeLeftovers(): Promise<void> {
  const isLeftover = (name: string): boolean => {
    const pid = NAME.exec(name)?.[1];
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  };
  for (const netns of (await namespaces()).filter(isLeftover)) await removeNamespace(netns);
  if (KEEP) return;
  for (const folder of (await readdir(tmpdir())).filter(isLeftover)) await rm(join(tmpdir(), folder), { recursive: true, force: true });
}

const loadRules = (netns: string, rules: string): Promise<string> => must(inside(netns, ['nft', '-f', '-']), rules);

async function removeNamespace(netns: string): Promise<void> {
  const pids = (await run(['ip', 'netns', 'pids', netns])).stdout.split('\n').filter((pid) => pid !== '');
  if (pids.length > 0) await run(['kill', '-9', ...pids]);
  await run(['ip', 'netns', 'del', netns]);
}

const namespaces = async (): Promise<readonly string[]> => (existsSync('/run/netns') ? readdir('/run/netns') : []);
