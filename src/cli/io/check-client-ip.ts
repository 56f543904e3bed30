import { readFile } from 'node:fs/promises';
import { askRunning } from '../../haproxy/io/client-ip-trial.ts';
import { describeBridges, findSharedBridges } from '../../node/find-shared-bridges.ts';
import { readBridges, readMainRoutes, readNode } from '../../node/io/read-node.ts';
import { planNode } from '../../node/plan-node.ts';
import type { Settings } from '../../settings/settings.ts';
import type { Finding } from '../finding.ts';
import { findRunDir } from './find-run-dir.ts';
import { readPodAddresses } from './read-pod-addresses.ts';

const ok = (text: string): Finding => ({ state: 'ok', text });
const problem = (text: string, remedy: string): Finding => ({ state: 'problem', text, remedy });

/** What `--client-ip preserve` needs: the way back, HAProxy's right, pods with a route each, ports that callers do not use themselves. */
export async function checkClientIp(settings: Settings): Promise<readonly Finding[]> {
  if (settings.clientIp === 'forwarded') return [{ state: 'skipped', text: "servers see this node's address, and the caller's in X-Forwarded-For" }];
  return [...(await checkDivert(settings)), await checkRight(settings.runDir), await checkBridges(settings.runDir), ...(await checkPorts())];
}

async function checkDivert({ vipPool: pool, poolRoute }: Settings): Promise<readonly Finding[]> {
  const missing = planNode({ pool, vips6: [], divert: true }, await readNode(pool, true)).filter(({ kind }) => kind.includes('divert'));
  if (missing.length === 0) return [ok("servers' answers to callers come to HAProxy")];
  return missing.map(({ kind }) => problem(`missing: ${kind}`, poolRoute ? 'start the agent with NET_ADMIN, it installs this' : 'install it yourself (docs/install.md), or leave out --no-pool-route'));
}

async function checkRight(runDir: string): Promise<Finding> {
  const allowed = await askRunning(await findRunDir(runDir));
  if (allowed === undefined) return { state: 'note', text: 'HAProxy does not say whether it may use addresses of callers: it does not run, or not with --client-ip preserve' };
  return allowed ? ok('HAProxy may use addresses of callers') : problem('HAProxy may not use addresses of callers, its calls fail', 'give it CAP_NET_RAW and start it again');
}

async function checkBridges(runDir: string): Promise<Finding> {
  const pods = await readPodAddresses(runDir);
  if (pods === undefined) return { state: 'skipped', text: 'the agent does not say which pods run here' };
  const bridged = describeBridges(findSharedBridges(pods, await readMainRoutes(), await readBridges()));
  return bridged === undefined ? ok('no pods of this node share a bridge') : problem(bridged.message, bridged.remedy);
}

const PORT_RANGE = '/proc/sys/net/ipv4/ip_local_port_range';
/** The kernel's default, which pods have unless somebody changed it. */
const PODS_PORTS = { first: 32_768, last: 60_999 };

/** A caller that calls a server directly, too, may choose the very port that HAProxy has with its address. */
async function checkPorts(): Promise<readonly Finding[]> {
  const [first, last] = (await readFile(PORT_RANGE, 'utf8').catch(() => '')).trim().split(/\s+/).map(Number);
  if (first === undefined || last === undefined || first > PODS_PORTS.last || last < PODS_PORTS.first) return [];
  const text = `this node and its pods choose ports from one range (${first}-${last}): a pod that calls a server past its route, too, may meet a port that HAProxy uses with its address`;
  return [{ state: 'note', text, remedy: 'sysctl net.ipv4.ip_local_port_range="10240 29999" on the node keeps them apart' }];
}
