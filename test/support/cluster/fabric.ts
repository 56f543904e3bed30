import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, inside, must, run } from '../lab/run.ts';
import type { LabPaths } from './lab-paths.ts';

export type Fabric = 'bgp' | 'vxlan';

/** One node as the network sees it. */
export interface NodeNetwork {
  readonly name: string;
  readonly netns: string;
  /** On the fabric, interface eth0. */
  readonly address: string;
  readonly podCidr: string;
  /** First address of the pod CIDR: the node's end of the overlay, as Flannel has it. */
  readonly overlayAddress: string;
  readonly overlayMac: string;
}

export const CONTROL_PLANE_ADDRESS = '172.30.0.1';
const AUTONOMOUS_SYSTEM = 64_512;
const VXLAN_PORT = 8472;
/** A VXLAN header with its UDP, IP and Ethernet takes 50 bytes of the fabric's 1500. */
export const POD_MTU: Readonly<Record<Fabric, number>> = { bgp: 1500, vxlan: 1450 };

export const controlPlaneNetns = (lab: LabPaths): string => `${lab.prefix}-cp`;

export function nodeNetwork(lab: LabPaths, number: number): NodeNetwork {
  return {
    name: `n${number}`,
    netns: `${lab.prefix}-n${number}`,
    address: `172.30.0.${10 + number}`,
    podCidr: `10.244.${number}.0/24`,
    overlayAddress: `10.244.${number}.0`,
    overlayMac: `02:00:00:00:01:${number.toString(16).padStart(2, '0')}`,
  };
}

/**
 * The machines' network: a namespace per node and one for the control plane, joined by a bridge in the latter. Nothing of it is
 * in the machine's own network.
 */
export async function buildNetwork(lab: LabPaths, nodes: readonly NodeNetwork[]): Promise<void> {
  const controlPlane = controlPlaneNetns(lab);
  await must(['ip', '-batch', '-'], [controlPlane, ...nodes.map((node) => node.netns)].map((netns) => `netns add ${netns}\n`).join(''));
  await ipBatch(controlPlane, [
    'link set lo up',
    'link add fabric type bridge',
    `addr add ${CONTROL_PLANE_ADDRESS}/24 dev fabric`,
    'link set fabric up',
    ...nodes.flatMap(({ name, netns }) => [`link add ${name} type veth peer name eth0 netns ${netns}`, `link set ${name} master fabric up`]),
    // The API server's answers to pods, and tests that call pods.
    ...nodes.map(({ podCidr, address }) => `route add ${podCidr} via ${address}`),
  ]);
  await Promise.all(nodes.map((node) => buildNode(node)));
}

async function buildNode({ netns, address }: NodeNetwork): Promise<void> {
  await ipBatch(netns, ['link set lo up', `addr add ${address}/24 dev eth0`, 'link set eth0 up', `route add default via ${CONTROL_PLANE_ADDRESS}`]);
  const settings = ['net.ipv4.ip_forward=1', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0'];
  await must(inside(netns, ['sysctl', '-qw', ...settings]));
}

/** The overlay, as Flannel's vxlan backend makes it: per peer a route, a neighbour and a forwarding entry. */
export async function buildOverlay(nodes: readonly NodeNetwork[]): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      const peers = nodes.filter((peer) => peer !== node);
      await ipBatch(node.netns, [
        `link add vx0 address ${node.overlayMac} mtu ${POD_MTU.vxlan} type vxlan id 1 dstport ${VXLAN_PORT} local ${node.address} dev eth0 nolearning`,
        `addr add ${node.overlayAddress}/32 dev vx0`,
        'link set vx0 up',
        ...peers.map((peer) => `neigh add ${peer.overlayAddress} lladdr ${peer.overlayMac} dev vx0 nud permanent`),
        ...peers.map((peer) => `route add ${peer.podCidr} via ${peer.overlayAddress} dev vx0 onlink`),
      ]);
      const entries = peers.map((peer) => `fdb append ${peer.overlayMac} dev vx0 dst ${peer.address}\n`);
      await must(inside(node.netns, ['bridge', '-batch', '-']), entries.join(''));
    }),
  );
}

/** Writes the configuration of a node's BIRD 2: a full mesh of BGP sessions, each announcing its pod CIDR, as Calico does it. */
export async function writeBirdConfig(folder: string, node: NodeNetwork, nodes: readonly NodeNetwork[]): Promise<string> {
  const path = join(folder, 'bird.conf');
  const peers = nodes.filter((peer) => peer !== node);
  await writeFile(
    path,
    `router id ${node.address};
protocol device { scan time 2; }
protocol static pods { ipv4; route ${node.podCidr} blackhole; }
protocol kernel {
  # The own CIDR is there as the pods' bridge: a blackhole beside it would win when the bridge is down.
  ipv4 { import none; export filter { if proto = "pods" then reject; accept; }; };
}
template bgp mesh {
  local ${node.address} as ${AUTONOMOUS_SYSTEM}; direct;
  connect delay time 1; connect retry time 2; error wait time 1, 4;
  ipv4 { import all; export where proto = "pods"; next hop self; };
}
${peers.map((peer) => `protocol bgp to_${peer.name} from mesh { neighbor ${peer.address} as ${AUTONOMOUS_SYSTEM}; }\n`).join('')}`,
  );
  return path;
}

/** Done when every node has a route to every other node's pods. */
export async function untilPodRoutes(nodes: readonly NodeNetwork[]): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      const peers = nodes.filter((peer) => peer !== node);
      await eventually(`${node.name} has routes to the other nodes' pods`, async () => {
        const { stdout } = await run(['ip', '-n', node.netns, 'route']);
        return peers.every((peer) => stdout.includes(peer.podCidr));
      });
    }),
  );
}

const ipBatch = (netns: string, lines: readonly string[]): Promise<string> => must(['ip', '-netns', netns, '-batch', '-'], `${lines.join('\n')}\n`);
