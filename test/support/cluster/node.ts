import { mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { basename, join } from 'node:path';
import { eventually, inside, must, run } from '../lab/run.ts';
import type { RunResult } from '../lab/run.ts';
import type { Binaries } from './binaries.ts';
import { createCgroup, removeCgroups } from './cgroups.ts';
import { daemonEnv, daemonPid, logFile, renderFlags, startDaemon, stopDaemon } from './daemons.ts';
import { copyImageStore } from './image-store.ts';
import type { LabPaths } from './lab-paths.ts';
import { POD_MTU, writeBirdConfig } from './fabric.ts';
import type { Fabric, NodeNetwork } from './fabric.ts';

const INIT = join(import.meta.dirname, 'node-init.sh');
/** Puts itself into the cgroup of the node's daemons, then becomes the program. */
const IN_NODE_CGROUP = 'for leaf in /sys/fs/cgroup/system /sys/fs/cgroup/*/system; do [ ! -e $leaf ] || echo 0 > $leaf/cgroup.procs; done; exec "$@"';
const CTR = ['ctr', '-n', 'k8s.io'];

export interface NodePlan {
  readonly lab: LabPaths;
  readonly binaries: Binaries;
  readonly fabric: Fabric;
  readonly network: NodeNetwork;
  /** All nodes, this one too. */
  readonly networks: readonly NodeNetwork[];
  readonly zone: string;
  readonly kubelet: { readonly kubeconfig: string; readonly clientAuthority: string };
  readonly kubeProxyKubeconfig: string;
  readonly pauseImage: string;
}

/**
 * A machine of the cluster: namespaces for network, processes, mounts and host name, in which containerd, kubelet, kube-proxy and
 * on BGP a BIRD run with their default paths. Its first process ended, all of it is gone, as with a machine that lost power.
 */
export class ClusterNode {
  readonly name: string;
  /** On the fabric. */
  readonly address: string;
  readonly zone: string;
  readonly podCidr: string;
  /** Path of its network namespace, for `nsenter --net=`. */
  readonly netns: string;
  readonly #plan: NodePlan;

  constructor(plan: NodePlan) {
    this.#plan = plan;
    this.name = plan.network.name;
    this.address = plan.network.address;
    this.podCidr = plan.network.podCidr;
    this.netns = `/run/netns/${plan.network.netns}`;
    this.zone = plan.zone;
  }

  /** Starts the machine and containerd; `store`: what `imageStore` made, for a first start. */
  async boot(store?: string): Promise<void> {
    const { lab, network } = this.#plan;
    // A machine that starts has none of the cgroups it had before: kubelet would look for their containers.
    await removeCgroups((name) => name === network.netns);
    await createCgroup(network.netns);
    await Promise.all([mkdir(this.#folder, { recursive: true }), mkdir(this.#data, { recursive: true })]);
    if (store !== undefined) await copyImageStore(store, join(this.#data, 'containerd'));
    await rm(join(lab.folder, `${this.name}.ready`), { force: true });
    const newNamespaces = ['unshare', '--mount', '--propagation=private', '--uts', '--pid', '--fork', '--kill-child', '--mount-proc'];
    await startDaemon(lab, this.name, inside(network.netns, [...newNamespaces, INIT, this.name, lab.folder, network.netns]));
    await eventually(`${this.name} is up`, async () => existsSync(join(lab.folder, `${this.name}.ready`)));
    await this.#writeContainerdConfig();
    await this.start('containerd', ['containerd', '-c', join(this.#folder, 'containerd.toml')]);
    await eventually(`containerd of ${this.name}`, async () => (await this.exec('ctr', 'version')).code === 0);
  }

  /** Starts what makes the machine a node of the cluster. */
  async join(): Promise<void> {
    await Promise.all([this.usePodNetwork('bridge'), this.#writeKubeletConfig()]);
    if (this.#plan.fabric === 'bgp') await this.startBird();
    await this.startKubelet();
    await this.startKubeProxy();
  }

  async startBird(): Promise<void> {
    const config = await writeBirdConfig(this.#folder, this.#plan.network, this.#plan.networks);
    await this.start('bird', ['bird', '-f', '-c', config, '-s', '/run/bird.ctl']);
  }

  async startKubelet(): Promise<void> {
    const flags = {
      config: join(this.#folder, 'kubelet.yaml'),
      kubeconfig: this.#plan.kubelet.kubeconfig,
      'root-dir': join(this.#data, 'kubelet'),
      'cert-dir': join(this.#data, 'kubelet-pki'),
      'hostname-override': this.name,
      'node-ip': this.address,
      'node-labels': `topology.kubernetes.io/zone=${this.zone}`,
    };
    await this.start('kubelet', [this.#plan.binaries('kubelet'), ...renderFlags(flags)]);
  }

  async startKubeProxy(): Promise<void> {
    const flags = {
      kubeconfig: this.#plan.kubeProxyKubeconfig,
      // nftables mode (1.35.4) leaves the chain of an endpoint empty that goes and comes within a second: it is refused until the next full sync.
      'proxy-mode': 'iptables',
      'hostname-override': this.name,
      // The machine's limit is not this node's to change.
      'conntrack-max-per-core': 0,
    };
    await this.start('kube-proxy', [this.#plan.binaries('kube-proxy'), ...renderFlags(flags)]);
  }

  /** Whether everything runs that `boot` and `join` start. */
  async isWhole(): Promise<boolean> {
    const programs = ['containerd', 'kubelet', 'kube-proxy', ...(this.#plan.fabric === 'bgp' ? ['bird'] : [])];
    const found = await Promise.all(programs.map((program) => this.pids(program))).catch(() => []);
    return found.length > 0 && found.every((pids) => pids.length > 0);
  }

  /** Runs a program on the node, at most 60 s; never throws for an exit code. */
  async exec(...argv: readonly string[]): Promise<RunResult> {
    return run(await this.inside(argv));
  }

  /** Argv of a program on the node. */
  async inside(argv: readonly string[]): Promise<readonly string[]> {
    return ['nsenter', `--target=${await this.#initPid()}`, '--mount', '--uts', '--net', '--pid', '--cgroup', '--', ...argv];
  }

  /** Starts a program that stays; its output goes to the lab's `logs/NODE-NAME.log`. `stop` ends it. */
  async start(name: string, argv: readonly string[]): Promise<void> {
    const [program = '', ...args] = await this.inside(['sh', '-c', IN_NODE_CGROUP, 'sh', ...argv]);
    const log = openSync(logFile(this.#plan.lab, `${this.name}-${name}`), 'a');
    spawn(program, args, { stdio: ['ignore', log, log], detached: true, env: daemonEnv() }).unref();
    closeSync(log);
  }

  /** Ends all processes of that program on the node, kubelet or bird say, and waits until they are gone. */
  async stop(program: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    for (const pid of await this.pids(program)) process.kill(pid, signal);
    await eventually(`end of ${program} on ${this.name}`, async () => (await this.pids(program)).length === 0);
  }

  /** The machine's pids of a program that runs on the node outside pods (containers have PID namespaces of their own). */
  async pids(program: string): Promise<readonly number[]> {
    const init = await this.#initPid();
    const namespace = await readlink(`/proc/${init}/ns/pid`);
    const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const found = await Promise.all(
      all.map(async (pid) => {
        const argv0 = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')[0] ?? '';
        return basename(argv0) === program && (await readlink(`/proc/${pid}/ns/pid`).catch(() => '')) === namespace;
      }),
    );
    return all.filter((_, i) => found[i]).map(Number);
  }

  /** Packets that entered and left by the node's interface on the fabric. */
  async counters(): Promise<{ readonly received: number; readonly sent: number }> {
    const [link] = JSON.parse(await must(['ip', '-n', this.#plan.network.netns, '-s', '-j', 'link', 'show', 'eth0'])) as [LinkStatistics];
    return { received: link.stats64.rx.packets, sent: link.stats64.tx.packets };
  }

  /** Imports an OCI archive into the node's containerd. */
  async load(archive: string): Promise<void> {
    await must(await this.inside([...CTR, 'images', 'import', archive]), '', 120_000);
  }

  /** Kills a container of a pod, without a word to anybody. The kubelet starts another, from what it knows. */
  async killContainer(podUid: string, container: string): Promise<void> {
    const filter = `labels."io.kubernetes.pod.uid"==${podUid},labels."io.kubernetes.container.name"==${container}`;
    const ids = await must(await this.inside([...CTR, 'containers', 'ls', '-q', filter]));
    // The dead ones of before are listed too.
    for (const id of ids.trim().split('\n')) await this.exec(...CTR, 'tasks', 'kill', '-s', 'SIGKILL', id);
  }

  get #folder(): string {
    return join(this.#plan.lab.folder, this.name);
  }

  get #data(): string {
    return join(this.#plan.lab.data, this.name);
  }

  /** The first process of the node's PID namespace: the only child of unshare. */
  async #initPid(): Promise<number> {
    const pid = await daemonPid(this.#plan.lab, this.name);
    const children = pid === undefined ? '' : await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    if (children.trim() === '') throw new Error(`node ${this.name} does not run`);
    return Number(children.trim());
  }

  /** Power off: nothing on the node gets to say goodbye. `boot` and `join` start it again. */
  async powerOff(): Promise<void> {
    const init = await this.#initPid();
    process.kill(init, 'SIGKILL');
    await stopDaemon(this.#plan.lab, this.name);
  }

  async #writeContainerdConfig(): Promise<void> {
    await writeFile(
      join(this.#folder, 'containerd.toml'),
      `version = 2
root = "${this.#data}/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${this.#plan.pauseImage}"
  # Lowering oom_score_adj is refused in a sandbox; runc then dies with "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`,
    );
  }

  /**
   * How pods that start from now on are connected: by a bridge that all of them share, or each by a link and a route of its own, without
   * a common Ethernet, as Calico and others do. Both reach each other.
   */
  async usePodNetwork(kind: 'bridge' | 'ptp'): Promise<void> {
    const { fabric, network } = this.#plan;
    const ipam = { type: 'host-local', ranges: [[{ subnet: network.podCidr }]], routes: [{ dst: '0.0.0.0/0' }] };
    const plugin = kind === 'bridge' ? { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true } : { type: 'ptp' };
    const plugins = [{ ...plugin, mtu: POD_MTU[fabric], ipam }, { type: 'portmap', capabilities: { portMappings: true } }];
    const path = '/etc/cni/net.d/10-lab.conflist';
    await must(await this.inside(['sh', '-c', `mkdir -p /etc/cni/net.d && cat > ${path}`]), JSON.stringify({ cniVersion: '0.4.0', name: 'lab', plugins }));
  }

  async #writeKubeletConfig(): Promise<void> {
    const config = {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
      clusterDNS: ['10.96.0.10'],
      clusterDomain: 'cluster.local',
      authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: this.#plan.kubelet.clientAuthority } },
      authorization: { mode: 'Webhook' },
      // Works on machines with cgroup v1 and v2, with and without systemd.
      failCgroupV1: false,
      cgroupDriver: 'cgroupfs',
      enforceNodeAllocatable: [],
      failSwapOn: false,
      localStorageCapacityIsolation: false,
      evictionHard: { 'memory.available': '1Mi' },
      makeIPTablesUtilChains: false,
      // A changed ConfigMap, CoreDNS's say, reaches its pods within this time; default: a minute.
      syncFrequency: '5s',
    };
    await writeFile(join(this.#folder, 'kubelet.yaml'), JSON.stringify(config, null, 1));
  }
}

interface LinkStatistics {
  readonly stats64: { readonly rx: { readonly packets: number }; readonly tx: { readonly packets: number } };
}
