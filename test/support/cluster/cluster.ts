import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { eventually, must, run } from '../lab/run.ts';
import type { RunResult } from '../lab/run.ts';
import { ApiReader } from './api-reader.ts';
import { readAuditLog } from './audit-log.ts';
import type { AuditedRequest } from './audit-log.ts';
import { findBinaries } from './binaries.ts';
import type { Binaries } from './binaries.ts';
import { ControlPlane } from './control-plane.ts';
import { coreDnsObjects } from './coredns.ts';
import { deadDaemons } from './daemons.ts';
import { CONTROL_PLANE_ADDRESS, buildNetwork, buildOverlay, controlPlaneNetns, nodeNetwork, untilPodRoutes } from './fabric.ts';
import type { Fabric, NodeNetwork } from './fabric.ts';
import { IMAGES, standardImages } from './images.ts';
import { imageStore } from './image-store.ts';
import { labPaths } from './lab-paths.ts';
import type { LabPaths } from './lab-paths.ts';
import { ClusterNode } from './node.ts';
import { Pki } from './pki.ts';
import { removeLab } from './remove-lab.ts';

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

interface ClusterParts {
  readonly lab: LabPaths;
  readonly state: ClusterState;
  readonly binaries: Binaries;
  readonly controlPlane: ControlPlane;
  readonly nodes: readonly ClusterNode[];
}

const KUBECTL_LIMIT_MS = 300_000;
const READY_LIMIT_MS = 90_000;

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
  readonly nodes: readonly ClusterNode[];
  readonly #lab: LabPaths;
  readonly #binaries: Binaries;
  readonly #controlPlane: ControlPlane;
  readonly #reader: ApiReader;

  constructor({ lab, state, binaries, controlPlane, nodes }: ClusterParts) {
    this.#lab = lab;
    this.nodes = nodes;
    this.#binaries = binaries;
    this.#controlPlane = controlPlane;
    this.name = lab.name;
    this.folder = lab.folder;
    this.fabric = state.fabric;
    this.server = controlPlane.server;
    this.kubeconfig = controlPlane.kubeconfig('admin');
    this.#reader = new ApiReader(this.kubeconfig);
  }

  /** Runs kubectl as administrator, or as another user with `kubeconfig`; throws with what it said when it fails. */
  async kubectl(args: readonly string[], options: KubectlOptions = {}): Promise<string> {
    return must(this.kubectlArgv(args, options), options.input, options.timeoutMs ?? KUBECTL_LIMIT_MS);
  }

  /** As `kubectl`, for calls that may fail. */
  async tryKubectl(args: readonly string[], options: KubectlOptions = {}): Promise<RunResult> {
    return run(this.kubectlArgv(args, options), options.input, options.timeoutMs ?? KUBECTL_LIMIT_MS);
  }

  /** Applies objects. */
  async apply(...objects: readonly unknown[]): Promise<string> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    return this.kubectl(['apply', '-f', '-'], { input: JSON.stringify(list) });
  }

  /** The object that `kubectl get ... -o json` gives; the caller knows its shape. Items of a list may have no `kind`. */
  async get<T>(...args: readonly string[]): Promise<T> {
    const read = this.#controlPlane.isHere() ? await this.#reader.get(args) : undefined;
    return (read ?? JSON.parse(await this.kubectl(['get', ...args, '-o', 'json']))) as T;
  }

  /** Argv of a program in the control plane's network, where the API server answers. */
  inside(argv: readonly string[]): readonly string[] {
    return this.#controlPlane.inside(argv);
  }

  /** Path of the keys (PEM) of ServiceAccount tokens: the first one signs, all verify. The API server reads it when it starts. */
  get serviceAccountKeys(): string {
    return pkiOf(this.#lab).serviceAccountKey;
  }

  /** The API server alone; `start` resolves when it is ready again. */
  get apiServer(): { stop(): Promise<void>; start(): Promise<void> } {
    const stop = async (): Promise<void> => {
      await writeFile(this.apiServerWasAway, '');
      await this.#controlPlane.stopApiServer();
    };
    return { stop, start: () => this.#controlPlane.startApiServer() };
  }

  /** Path of a file that is there when the API server was, and nobody has waited since for all to follow it again. */
  get apiServerWasAway(): string {
    return join(this.folder, 'api-server-was-away');
  }

  /** What Onehop's accounts have asked of the API server since the cluster is there. */
  auditedRequests(): Promise<readonly AuditedRequest[]> {
    return readAuditLog(this.#controlPlane.auditLog);
  }

  /** Path of a kubeconfig for a user with a client certificate of the lab's authority; rights come from RBAC alone. */
  userKubeconfig(user: string, groups: readonly string[] = []): Promise<string> {
    return this.#controlPlane.issueUser(`user-${user.replaceAll(/[^a-z0-9-]/gi, '-')}`, user, groups);
  }

  /** @param name `n1`, `n2`, ... */
  node(name: string): ClusterNode {
    const node = this.nodes.find((each) => each.name === name);
    if (node === undefined) throw new Error(`cluster ${this.name} has no node ${name}, only ${this.nodes.map((each) => each.name).join(' ')}`);
    return node;
  }

  /** Imports an OCI archive on every node. */
  async load(archive: string): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.load(archive)));
  }

  /** Imports an image out of buildah's storage on every node. */
  async loadFromBuildah(image: string): Promise<void> {
    const archive = join(this.folder, 'image.tar');
    await must(['buildah', '--storage-driver', 'vfs', 'push', image, `oci-archive:${archive}:${image}`], '', KUBECTL_LIMIT_MS);
    await this.load(archive);
    await rm(archive);
  }

  /** Ends and removes everything of this cluster. */
  async close(): Promise<void> {
    await removeLab(this.#lab);
  }

  /** Argv of a kubectl call. */
  kubectlArgv(args: readonly string[], { kubeconfig = this.kubeconfig }: KubectlOptions = {}): readonly string[] {
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
  if (state?.nodes === wanted.nodes && state.fabric === wanted.fabric && (await deadDaemons(lab)).length === 0) {
    const cluster = await attachCluster(lab.name);
    const whole = await Promise.all(cluster.nodes.map((node) => node.isWhole()));
    if (!whole.includes(false)) return cluster;
  }
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
  const parts = clusterParts(lab, state, await findBinaries());
  return new Cluster(parts);
}

/** Ends and removes a cluster, whatever state it is in. */
export async function closeCluster(name?: string): Promise<void> {
  await removeLab(labPaths(labName(name)));
}

export const labName = (given?: string): string => given ?? process.env['ONEHOP_LAB'] ?? 'lab';

async function buildCluster(lab: LabPaths, { nodes, fabric }: { nodes: number; fabric: Fabric }): Promise<Cluster> {
  if (nodes > 0 && process.getuid?.() !== 0) throw new Error('nodes are namespaces: run it as root, or with --nodes 0');
  const binaries = await findBinaries();
  const store = nodes > 0 ? await imageStore(await standardImages(binaries)) : '';
  // With nodes the control plane has a network of its own, where all ports are free.
  const [apiPort = 0, client = 0, peer = 0] = nodes > 0 ? [6443, 2379, 2380] : await freePorts(3);
  const state: ClusterState = { nodes, fabric, apiPort, etcdPorts: { client, peer } };
  const parts = clusterParts(lab, state, binaries);
  await mkdir(lab.folder, { recursive: true, mode: 0o711 });
  await pkiOf(lab).create();
  if (nodes > 0) await buildNetwork(lab, parts.networks);
  await Promise.all([parts.controlPlane.start(), bootNodes(parts, store)]);
  const cluster = new Cluster(parts);
  if (nodes > 0) await joinNodes(cluster, parts);
  await writeFile(stateFile(lab), JSON.stringify(state));
  return cluster;
}

/** Machines with their images, and the overlay, need no API server. */
async function bootNodes({ nodes, networks, state }: ClusterPartsToBuild, store: string): Promise<void> {
  if (state.fabric === 'vxlan') await buildOverlay(networks);
  await Promise.all(nodes.map((node) => node.boot(store)));
}

/** Done when all nodes are ready, know the ways to each other's pods, and pods can ask CoreDNS. */
async function joinNodes(cluster: Cluster, { nodes, networks, controlPlane }: ClusterPartsToBuild): Promise<void> {
  await Promise.all(nodes.map((node) => controlPlane.issueUser(`kubelet-${node.name}`, `system:node:${node.name}`, ['system:nodes'])));
  await Promise.all([...nodes.map((node) => node.join()), cluster.apply(...coreDnsObjects())]);
  await eventually(
    'nodes are ready',
    async () => {
      const { items } = await cluster.get<{ items: readonly NodeObject[] }>('nodes');
      return items.filter((node) => node.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')).length === nodes.length;
    },
    READY_LIMIT_MS,
  );
  // As a controller manager that allocates them would: the lab's nodes know theirs from the start.
  await Promise.all(nodes.map(({ name, podCidr }) => cluster.kubectl(['patch', 'node', name, '-p', JSON.stringify({ spec: { podCIDR: podCidr, podCIDRs: [podCidr] } })])));
  await untilPodRoutes(networks);
  await cluster.kubectl(['-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', `--timeout=${READY_LIMIT_MS / 1000}s`]);
}

interface NodeObject {
  readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

interface ClusterPartsToBuild extends ClusterParts {
  readonly networks: readonly NodeNetwork[];
}

function clusterParts(lab: LabPaths, state: ClusterState, binaries: Binaries): ClusterPartsToBuild {
  const pki = pkiOf(lab);
  const { apiPort, etcdPorts } = state;
  const where = state.nodes > 0 ? { netns: controlPlaneNetns(lab), address: CONTROL_PLANE_ADDRESS } : { address: '127.0.0.1' };
  const controlPlane = new ControlPlane({ lab, binaries, pki, apiPort, etcdPorts, ...where });
  const networks = Array.from({ length: state.nodes }, (_, i) => nodeNetwork(lab, i + 1));
  const nodes = networks.map(
    (network, i) =>
      new ClusterNode({
        lab,
        binaries,
        fabric: state.fabric,
        network,
        networks,
        zone: `z${Math.floor(i / 2)}`,
        kubelet: { kubeconfig: controlPlane.kubeconfig(`kubelet-${network.name}`), clientAuthority: pki.authority.certificate },
        kubeProxyKubeconfig: controlPlane.kubeconfig('kube-proxy'),
        pauseImage: IMAGES.pause,
      }),
  );
  return { lab, state, binaries, controlPlane, networks, nodes };
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
