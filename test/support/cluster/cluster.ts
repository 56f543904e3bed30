import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { must, run } from '../lab/run.ts';
import type { RunResult } from '../lab/run.ts';
import { findBinaries } from './binaries.ts';
import type { Binaries } from './binaries.ts';
import { ControlPlane } from './control-plane.ts';
import { deadDaemons } from './daemons.ts';
import { labPaths } from './lab-paths.ts';
import type { LabPaths } from './lab-paths.ts';
import { Pki } from './pki.ts';
import { removeLab } from './remove-lab.ts';

export type Fabric = 'bgp' | 'vxlan';

export interface ClusterPlan {
  /** Default: env ONEHOP_LAB, else `lab`. Clusters of different names run side by side. */
  readonly name?: string;
  /** 0: control plane only, on loopback in the caller's own network; needs no root. */
  readonly nodes?: number;
  readonly fabric?: Fabric;
}

/** What `attachCluster` needs to know of a running cluster; written when it is complete. */
interface ClusterState {
  readonly nodes: number;
  readonly fabric: Fabric;
  readonly apiPort: number;
  readonly etcdPorts: { readonly client: number; readonly peer: number };
}

const KUBECTL_LIMIT_MS = 300_000;

/** A running cluster; see README.md. Holds no resource of this process: any process may attach to it, and close it. */
export class Cluster {
  readonly name: string;
  /** State, credentials, logs. */
  readonly folder: string;
  readonly fabric: Fabric;
  /** Kubeconfig of an administrator (group system:masters). */
  readonly kubeconfig: string;
  /** URL of the API server. With nodes it answers only in the control plane's network: see `inside`. */
  readonly server: string;
  readonly #lab: LabPaths;
  readonly #binaries: Binaries;
  readonly #controlPlane: ControlPlane;

  constructor(lab: LabPaths, state: ClusterState, binaries: Binaries, controlPlane: ControlPlane) {
    this.#lab = lab;
    this.#binaries = binaries;
    this.#controlPlane = controlPlane;
    this.name = lab.name;
    this.folder = lab.folder;
    this.fabric = state.fabric;
    this.server = controlPlane.server;
    this.kubeconfig = controlPlane.kubeconfig('admin');
  }

  /** Runs kubectl as administrator, or as another user with `kubeconfig`; throws with what it said when it fails. */
  async kubectl(args: readonly string[], options: KubectlOptions = {}): Promise<string> {
    return must(this.#kubectlArgv(args, options), options.input, options.timeoutMs ?? KUBECTL_LIMIT_MS);
  }

  /** As `kubectl`, for calls that may fail. */
  async tryKubectl(args: readonly string[], options: KubectlOptions = {}): Promise<RunResult> {
    return run(this.#kubectlArgv(args, options), options.input, options.timeoutMs ?? KUBECTL_LIMIT_MS);
  }

  /** Applies objects. */
  async apply(...objects: readonly unknown[]): Promise<string> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    return this.kubectl(['apply', '-f', '-'], { input: JSON.stringify(list) });
  }

  /** The object that `kubectl get ... -o json` gives; the caller knows its shape. */
  async get<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse(await this.kubectl(['get', ...args, '-o', 'json'])) as T;
  }

  /** Argv of a program in the control plane's network, where the API server answers. */
  inside(argv: readonly string[]): readonly string[] {
    return this.#controlPlane.inside(argv);
  }

  /** The API server alone; `start` resolves when it is ready again. */
  get apiServer(): { stop(): Promise<void>; start(): Promise<void> } {
    return { stop: () => this.#controlPlane.stopApiServer(), start: () => this.#controlPlane.startApiServer() };
  }

  /** Path of a kubeconfig for a user with a client certificate of the lab's authority; rights come from RBAC alone. */
  userKubeconfig(user: string, groups: readonly string[] = []): Promise<string> {
    return this.#controlPlane.issueUser(`user-${user.replaceAll(/[^a-z0-9-]/gi, '-')}`, user, groups);
  }

  /** Ends and removes everything of this cluster. */
  async close(): Promise<void> {
    await removeLab(this.#lab);
  }

  #kubectlArgv(args: readonly string[], { kubeconfig = this.kubeconfig }: KubectlOptions): readonly string[] {
    return this.inside([this.#binaries('kubectl'), '--kubeconfig', kubeconfig, ...args]);
  }
}

export interface KubectlOptions {
  readonly input?: string;
  readonly kubeconfig?: string;
  readonly timeoutMs?: number;
}

/**
 * Opens a cluster, or attaches to the one of that name when it runs as planned. What else bears the name is removed first: a
 * killed run's rest, a cluster of another plan.
 */
export async function openCluster(plan: ClusterPlan = {}): Promise<Cluster> {
  const wanted = { nodes: plan.nodes ?? 3, fabric: plan.fabric ?? 'bgp' };
  const lab = labPaths(labName(plan.name));
  const state = await readState(lab);
  const isWhole = state?.nodes === wanted.nodes && state.fabric === wanted.fabric && (await deadDaemons(lab)).length === 0;
  if (isWhole) return attachCluster(lab.name);
  await removeLab(lab);
  try {
    return await buildCluster(lab, wanted);
  } catch (error) {
    if (process.env['ONEHOP_LAB_KEEP'] !== '1') await removeLab(lab);
    throw error;
  }
}

/** @throws Error when no cluster of that name was opened */
export async function attachCluster(name?: string): Promise<Cluster> {
  const lab = labPaths(labName(name));
  const state = await readState(lab);
  if (state === undefined) throw new Error(`no cluster ${lab.name} runs: npm run cluster -- up --name ${lab.name}`);
  const binaries = await findBinaries();
  return new Cluster(lab, state, binaries, controlPlane(lab, state, binaries));
}

export const labName = (given?: string): string => given ?? process.env['ONEHOP_LAB'] ?? 'lab';

async function buildCluster(lab: LabPaths, { nodes, fabric }: { nodes: number; fabric: Fabric }): Promise<Cluster> {
  const binaries = await findBinaries();
  const [apiPort = 0, client = 0, peer = 0] = await freePorts(3);
  const state: ClusterState = { nodes, fabric, apiPort, etcdPorts: { client, peer } };
  await mkdir(lab.folder, { recursive: true, mode: 0o711 });
  await pkiOf(lab).create();
  const plane = controlPlane(lab, state, binaries);
  await plane.start(nodes > 0);
  await writeFile(stateFile(lab), JSON.stringify(state));
  return new Cluster(lab, state, binaries, plane);
}

function controlPlane(lab: LabPaths, { apiPort, etcdPorts }: ClusterState, binaries: Binaries): ControlPlane {
  return new ControlPlane({ lab, binaries, pki: pkiOf(lab), address: '127.0.0.1', apiPort, etcdPorts });
}

const pkiOf = (lab: LabPaths): Pki => new Pki(join(lab.folder, 'pki'));
const stateFile = (lab: LabPaths): string => join(lab.folder, 'state.json');

async function readState(lab: LabPaths): Promise<ClusterState | undefined> {
  const text = await readFile(stateFile(lab), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as ClusterState);
}

/** Ports that nobody listened on a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => void server.close(resolve))));
  return ports;
}
