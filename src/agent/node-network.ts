import type { Logger } from '../daemon/io/logger.ts';
import type { RouteTable } from '../model/route-table.ts';
import { CodedError } from '../model/coded-error.ts';
import { poolContains } from '../model/vip-pool.ts';
import { ensureNode, removeNode } from '../node/io/ensure-node.ts';
import { listenersInPool } from '../node/io/ports.ts';
import { ownAddresses } from '../node/io/read-node.ts';
import type { NodeStep } from '../node/plan-node.ts';
import type { Settings } from '../settings/settings.ts';

/** Without a change of addresses the node is looked at again this often: others may have changed it. */
const RECHECK_MS = 5_000;

/** The pool route, the claim table, IPv6 addresses and what `--client-ip preserve` needs of this node, kept while the agent runs. */
export interface NodeNetwork {
  /** Brings the node in step with a table's addresses; also repairs what others changed. */
  ensure(table: RouteTable): Promise<void>;
  /** Removes them again; with `--haproxy-attach` they stay, another generation may use them. */
  close(): Promise<void>;
}

/**
 * Makes the pool local before anything is bound to it. Does nothing with `--no-pool-route` or on a 127/8 pool.
 * @throws CodedError with the remedy
 */
export async function openNodeNetwork(settings: Settings, now: () => number, log: Logger): Promise<NodeNetwork> {
  const { vipPool: pool, poolRoute, haproxyAttach } = settings;
  const divert = settings.clientIp === 'preserve';
  const applied: NodeStep[] = [];
  let installed = false;
  let vips6: readonly string[] = [];
  let checkedAtMs = 0;
  const bring = async (): Promise<void> => {
    if (!poolRoute) return;
    // Before: a program that hangs for seconds is not to do so in each pass.
    checkedAtMs = now();
    const steps = await ensureNode({ pool, vips6, divert });
    applied.push(...steps);
    for (const step of steps) {
      if (installed) log.warn(step, 'was gone or changed by somebody else, and is installed again');
      else log.info(step, 'node network');
    }
  };
  const inside = poolRoute && !pool.loopback ? ownAddresses().filter((address) => poolContains(pool, address)) : [];
  if (inside.length > 0) {
    throw new CodedError({
      code: 'pool-overlap',
      message: `the pool ${pool.cidr} contains this node's own address ${inside[0] ?? ''}: every address of that network would become local`,
      remedy: 'choose another --vip-pool',
    });
  }
  await bring();
  installed = true;
  return {
    ensure: async ({ routes }) => {
      const wanted = routes.flatMap((route) => [route.vip6, route.globalVip6].filter((address) => address !== undefined));
      const same = wanted.length === vips6.length && wanted.every((address, i) => address === vips6[i]);
      vips6 = wanted;
      // Reading the node back starts three programs: not for every endpoint that comes or goes.
      if (!same || now() - checkedAtMs >= RECHECK_MS) await bring();
    },
    close: async () => {
      if (!poolRoute || haproxyAttach || pool.loopback) return;
      const users = await listenersInPool(pool);
      if (users.length > 0) {
        log.warn({ users }, 'the pool route and the claim table stay: other programs of this node use them');
        return;
      }
      for (const step of await removeNode({ pool, vips6, divert }, applied)) log.info(step, 'node network');
    },
  };
}
