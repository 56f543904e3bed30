import { statSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, inside, run } from '../lab/run.ts';
import { AUDIT_POLICY } from './audit-log.ts';
import type { Binaries, Program } from './binaries.ts';
import { daemonPid, logFile, renderFlags, startDaemon, stopDaemon } from './daemons.ts';
import type { Flags } from './daemons.ts';
import type { LabPaths } from './lab-paths.ts';
import type { Credentials, Pki } from './pki.ts';

/** etcd, kube-apiserver, kube-controller-manager and kube-scheduler: what of a lab needs no node. */
export interface ControlPlanePlan {
  readonly lab: LabPaths;
  readonly pki: Pki;
  readonly binaries: Binaries;
  /** Network namespace; none: the caller's own network, on loopback. */
  readonly netns?: string;
  readonly address: string;
  readonly apiPort: number;
  readonly etcdPorts: { readonly client: number; readonly peer: number };
}

export const SERVICE_CIDR = '10.96.0.0/16';
export const POD_CIDR = '10.244.0.0/16';
export const ISSUER = 'https://kubernetes.default.svc.cluster.local';
const API_SERVICE_ADDRESS = '10.96.0.1';
const API_READY_LIMIT_MS = 60_000;

export class ControlPlane {
  readonly server: string;
  readonly #plan: ControlPlanePlan;

  constructor(plan: ControlPlanePlan) {
    this.#plan = plan;
    this.server = `https://${plan.address}:${plan.apiPort}`;
  }

  /** Path of a kubeconfig of one of the lab's own users. */
  kubeconfig(name: string): string {
    return join(this.#plan.lab.folder, `${name}.kubeconfig`);
  }

  /** Issues credentials and starts everything; done when the API server is ready and the others are started. */
  async start(): Promise<void> {
    const { pki } = this.#plan;
    const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local', 'localhost'];
    const addresses = new Set(['127.0.0.1', API_SERVICE_ADDRESS, this.#plan.address]);
    const alternativeNames = names.map((name) => `DNS:${name}`).concat([...addresses].map((address) => `IP:${address}`));
    await this.#startEtcd();
    const [serving, kubeletClient] = await Promise.all([
      pki.issueServer('kube-apiserver', 'kube-apiserver', alternativeNames),
      pki.issueClient('kube-apiserver-kubelet', 'kube-apiserver-kubelet-client', ['system:masters']),
      this.issueUser('admin', 'onehop-lab-admin', ['system:masters']),
      this.issueUser('kube-controller-manager', 'system:kube-controller-manager', []),
      this.issueUser('kube-scheduler', 'system:kube-scheduler', []),
      this.issueUser('kube-proxy', 'system:kube-proxy', []),
    ]);
    await this.startApiServer(serving, kubeletClient);
  }

  async #startControllerManager(): Promise<void> {
    const { pki } = this.#plan;
    await this.#daemon('kube-controller-manager', {
      kubeconfig: this.kubeconfig('kube-controller-manager'),
      'leader-elect': false,
      'secure-port': 0,
      'use-service-account-credentials': true,
      'service-account-private-key-file': pki.serviceAccountKey,
      'root-ca-file': pki.authority.certificate,
      'cluster-signing-cert-file': pki.authority.certificate,
      'cluster-signing-key-file': pki.authority.key,
    });
  }

  /** A kubeconfig for a user of the lab's certificate authority; returns its path. */
  async issueUser(name: string, user: string, groups: readonly string[]): Promise<string> {
    const { pki } = this.#plan;
    return pki.writeKubeconfig(this.kubeconfig(name), this.server, await pki.issueClient(name, user, groups));
  }

  /** What `readAuditLog` reads. */
  get auditLog(): string {
    return logFile(this.#plan.lab, 'audit');
  }

  /** And the controller manager and, where there are nodes, the scheduler. */
  async startApiServer(serving = this.#issued('kube-apiserver'), kubeletClient = this.#issued('kube-apiserver-kubelet')): Promise<void> {
    const { lab, pki, address, apiPort, etcdPorts } = this.#plan;
    const auditPolicy = join(lab.folder, 'audit-policy.json');
    await writeFile(auditPolicy, JSON.stringify(AUDIT_POLICY));
    await this.#daemon('kube-apiserver', {
      'etcd-servers': `http://127.0.0.1:${etcdPorts.client}`,
      'bind-address': address,
      'advertise-address': address,
      'secure-port': apiPort,
      'tls-cert-file': serving.certificate,
      'tls-private-key-file': serving.key,
      'client-ca-file': pki.authority.certificate,
      'service-account-issuer': ISSUER,
      'service-account-key-file': pki.serviceAccountKey,
      'service-account-signing-key-file': pki.serviceAccountKey,
      'authorization-mode': 'Node,RBAC',
      'enable-admission-plugins': 'NodeRestriction',
      'service-cluster-ip-range': SERVICE_CIDR,
      'allow-privileged': true,
      'kubelet-client-certificate': kubeletClient.certificate,
      'kubelet-client-key': kubeletClient.key,
      // Else `kubectl logs` and `exec` ask DNS for the node's name.
      'kubelet-preferred-address-types': 'InternalIP',
      'audit-policy-file': auditPolicy,
      'audit-log-path': this.auditLog,
    });
    await this.#untilReady();
    await this.#startControllerManager();
    if (this.#plan.netns !== undefined) await this.#daemon('kube-scheduler', { kubeconfig: this.kubeconfig('kube-scheduler'), 'leader-elect': false, 'secure-port': 0 });
  }

  /**
   * The API server ends, and controller manager and scheduler, as they do everywhere when they cannot renew their Leases: a controller manager
   * that stays takes all nodes for dead when the API server is back, and their pods for not ready; and both wait longer after each outage of
   * a short while, up to a minute, before they look for it again.
   */
  async stopApiServer(): Promise<void> {
    await stopDaemon(this.#plan.lab, 'kube-apiserver');
    await stopDaemon(this.#plan.lab, 'kube-controller-manager');
    if (this.#plan.netns !== undefined) await stopDaemon(this.#plan.lab, 'kube-scheduler');
  }

  /** Whether this process is in the network in which the API server answers. */
  isHere(): boolean {
    const { netns } = this.#plan;
    return netns === undefined || statSync(join('/run/netns', netns), { throwIfNoEntry: false })?.ino === statSync('/proc/self/ns/net').ino;
  }

  /** Argv of a program in the control plane's network. */
  inside(argv: readonly string[]): readonly string[] {
    return this.#plan.netns === undefined ? argv : inside(this.#plan.netns, argv);
  }

  async #startEtcd(): Promise<void> {
    const { lab, etcdPorts } = this.#plan;
    const client = `http://127.0.0.1:${etcdPorts.client}`;
    const peer = `http://127.0.0.1:${etcdPorts.peer}`;
    await this.#daemon('etcd', {
      'data-dir': join(lab.folder, 'etcd'),
      'unsafe-no-fsync': true,
      'listen-client-urls': client,
      'advertise-client-urls': client,
      'listen-peer-urls': peer,
      'initial-advertise-peer-urls': peer,
      'initial-cluster': `default=${peer}`,
    });
  }

  async #untilReady(): Promise<void> {
    const { lab, pki } = this.#plan;
    const { certificate, key } = this.#issued('admin');
    const curl = ['curl', '-sf', '-m', '5', '--cacert', pki.authority.certificate, '--cert', certificate, '--key', key, `${this.server}/readyz`];
    const isReadyOrDead = async (): Promise<boolean> =>
      (await run(this.inside(curl))).code === 0 || (await daemonPid(lab, 'kube-apiserver')) === undefined;
    try {
      await eventually('API server is ready', isReadyOrDead, API_READY_LIMIT_MS);
      if ((await daemonPid(lab, 'kube-apiserver')) === undefined) throw new Error('the API server ended');
    } catch (error) {
      const log = await readFile(logFile(lab, 'kube-apiserver'), 'utf8').catch(() => '');
      throw new Error(`${String(error)}; its last words:\n${log.slice(-2_000)}`, { cause: error });
    }
  }

  async #daemon(program: Program, flags: Flags): Promise<void> {
    const { lab, binaries } = this.#plan;
    await startDaemon(lab, program, this.inside([binaries(program), ...renderFlags(flags)]));
  }

  #issued(name: string): Credentials {
    return this.#plan.pki.credentials(name);
  }
}
