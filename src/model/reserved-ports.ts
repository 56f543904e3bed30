const NODE_PORTS = { first: 30_000, last: 32_767 };
const RESERVED: ReadonlySet<number> = new Set([53, 9053, 9810, 10250]);

/** Ports that no route may listen on: DNS, Onehop's own, the kubelet's, and Kubernetes' default node-port range. */
export const isReservedPort = (port: number): boolean => RESERVED.has(port) || (port >= NODE_PORTS.first && port <= NODE_PORTS.last);
