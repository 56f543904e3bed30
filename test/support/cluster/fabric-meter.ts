import { must } from '../lab/run.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterNode } from './node.ts';
import { SERVER_PORT } from './workloads.ts';

/**
 * Counts the packets of calls to test servers that cross a node's border to other nodes' pods: TCP from or to the servers' port, on
 * the interface that leads there. Everything else on that interface (the API server, BGP, DNS, kubelets) is not counted, nor is what
 * goes between pods of the node, which crosses the bridge alone.
 */
export class FabricMeter {
  readonly #node: ClusterNode;

  private constructor(node: ClusterNode) {
    this.#node = node;
  }

  static async open(cluster: Cluster, name: string): Promise<FabricMeter> {
    const node = cluster.node(name);
    // On the overlay the packets of pods are seen before they are wrapped.
    const device = cluster.fabric === 'vxlan' ? 'vx0' : 'eth0';
    const rules = `table inet ${TABLE}
delete table inet ${TABLE}
table inet ${TABLE} {
  counter calls { }
  chain leaving { type filter hook postrouting priority 300; oifname ${device} tcp dport ${SERVER_PORT} counter name calls; oifname ${device} tcp sport ${SERVER_PORT} counter name calls; }
  chain entering { type filter hook prerouting priority -400; iifname ${device} tcp dport ${SERVER_PORT} counter name calls; iifname ${device} tcp sport ${SERVER_PORT} counter name calls; }
}
`;
    await must(await node.inside(['nft', '-f', '-']), rules);
    return new FabricMeter(node);
  }

  /** Packets so far. */
  async packets(): Promise<number> {
    const listed = JSON.parse(await must(await this.#node.inside(['nft', '-j', 'list', 'counter', 'inet', TABLE, 'calls']))) as {
      nftables: readonly { counter?: { packets: number } }[];
    };
    return listed.nftables.find(({ counter }) => counter !== undefined)?.counter?.packets ?? 0;
  }

  async close(): Promise<void> {
    await this.#node.exec('nft', 'delete', 'table', 'inet', TABLE);
  }
}

const TABLE = 'test_meter';
