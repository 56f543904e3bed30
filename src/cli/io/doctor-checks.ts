import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, systemCode } from '../../model/coded-error.ts';
import { printable, type Problem } from '../../model/problem.ts';
import { listenerKey } from '../../model/proxy.ts';
import { findPoolConflicts } from '../../node/find-pool-conflicts.ts';
import { findSharedBridges } from '../../node/find-shared-bridges.ts';
import { readFdLimits } from '../../node/io/fd-limits.ts';
import { whoListens, type Listener } from '../../node/io/ports.ts';
import { readBridges, readNode, readRoutes } from '../../node/io/read-node.ts';
import { planNode } from '../../node/plan-node.ts';
import { isSupported, isTried, NEWEST, OLDEST } from '../../haproxy/features.ts';
import { valueAt } from '../../kube/field-path.ts';
import { probeHaproxy } from '../../haproxy/io/probe-haproxy.ts';
import type { Settings } from '../../settings/settings.ts';
import type { Finding } from '../finding.ts';
import { getFromAgent } from './admin-client.ts';
import { checkClientIp } from './check-client-ip.ts';
import { checkSource } from './check-source.ts';
import { readPodAddresses } from './read-pod-addresses.ts';

interface Check {
  readonly name: string;
  readonly check: (settings: Settings) => Promise<readonly Finding[]>;
}

/** Below it HAProxy could not hold a thousand routes and their connections. */
const WANTED_FILES = 10_000;
const DNS_TIMEOUT_MS = 1_000;

const ok = (text: string): Finding => ({ state: 'ok', text });
const skipped = (text: string): Finding => ({ state: 'skipped', text });
const problem = (text: string, remedy: string): Finding => ({ state: 'problem', text, remedy });

/** In the order of output: from the node's ground upwards. */
export const DOCTOR_CHECKS: readonly Check[] = [
  { name: 'pool', check: checkPool },
  { name: 'pool overlap', check: checkOverlap },
  { name: 'open files', check: checkFiles },
  { name: 'haproxy', check: checkHaproxy },
  { name: 'source', check: checkSource },
  { name: 'agent', check: checkAgent },
  { name: 'identity', check: checkIdentity },
  { name: 'client ip', check: checkClientIp },
  { name: 'ports', check: checkPorts },
  { name: 'dns', check: checkDns },
  { name: 'forward zone', check: checkForwardZone },
];

async function checkPool({ vipPool: pool, poolRoute }: Settings): Promise<readonly Finding[]> {
  if (pool.loopback) return [skipped(`${pool.cidr} lies in 127/8: nothing to install`)];
  try {
    const missing = planNode({ pool, vips6: [] }, await readNode(pool));
    if (missing.length === 0) return [ok(`${pool.cidr} is local and claimed`)];
    return missing.map((step) => problem(`missing: ${step.kind}`, poolRoute ? 'start the agent with NET_ADMIN, it installs this' : 'install it yourself, or leave out --no-pool-route'));
  } catch (error) {
    if (error instanceof CodedError) return [problem(error.message, error.remedy)];
    throw error;
  }
}

async function checkOverlap({ vipPool: pool }: Settings): Promise<readonly Finding[]> {
  if (pool.loopback) return [skipped('not applicable on loopback')];
  const conflicts = findPoolConflicts(pool, await readRoutes());
  return conflicts.length === 0 ? [ok("no other route of this node overlaps the pool")] : conflicts.map(({ message }) => problem(message, 'choose another --vip-pool'));
}

async function checkFiles(): Promise<readonly Finding[]> {
  const limits = await readFdLimits();
  if (limits === undefined) return [skipped('the limit of open files cannot be read')];
  const text = `hard limit ${limits.hard}, soft ${limits.soft}`;
  return [limits.hard >= WANTED_FILES ? ok(text) : problem(text, `raise it to ${WANTED_FILES} or more (LimitNOFILE of the unit, ulimits of the container runtime)`)];
}

async function checkHaproxy({ haproxyBin, proxy, runDir }: Settings): Promise<readonly Finding[]> {
  if (proxy === 'embedded') return [skipped('--proxy embedded')];
  return [...(await checkBinary(haproxyBin, proxy)), ...(await checkStandIn(runDir))];
}

/** Whether the embedded proxy stands in for HAProxy, or cannot. */
async function checkStandIn(runDir: string): Promise<readonly Finding[]> {
  const found = valueAt(await getFromAgent(runDir, '/table').catch(() => undefined), ['applyProblems']);
  const problems = Array.isArray(found) ? (found as readonly Problem[]) : [];
  return problems.filter(({ code }) => code === 'standing-in' || code === 'stand-in-failed').map(({ message, remedy }) => problem(message, remedy));
}

async function checkBinary(haproxyBin: string, proxy: Settings['proxy']): Promise<readonly Finding[]> {
  const features = await probeHaproxy(haproxyBin);
  if (features === undefined) {
    const remedy = `install HAProxy 2.6 or newer (apt-get install haproxy), or name it with --haproxy-bin`;
    return [proxy === 'haproxy' ? problem(`${haproxyBin} cannot be run`, remedy) : { state: 'note', text: `${haproxyBin} cannot be run: the embedded proxy serves`, remedy }];
  }
  if (!isSupported(features)) return [problem(`version ${features.version} is too old`, 'install 2.6 or newer')];
  const untried: readonly Finding[] = isTried(features) ? [] : [{ state: 'note', text: `version ${features.version} is newer than what Onehop was tested with`, remedy: `use ${OLDEST.join('.')} to ${NEWEST.join('.')}` }];
  return [...untried, features.lua ? ok(`version ${features.version}, with Lua`) : { state: 'note', text: `version ${features.version} without Lua: callers not known yet are refused at once instead of held`, remedy: 'use a build with USE_LUA' }];
}

async function checkAgent({ runDir }: Settings): Promise<readonly Finding[]> {
  try {
    const view = await getFromAgent(runDir, '/routes');
    const count = typeof view === 'object' && view !== null && 'routes' in view && Array.isArray(view.routes) ? view.routes.length : 0;
    return [ok(`answers on ${join(runDir, 'admin.sock')}, ${count} routes`)];
  } catch (error) {
    if (error instanceof CodedError) return [problem(error.message, error.remedy)];
    throw error;
  }
}

/** Whether a pod's address alone says which pod it is: not on a bridge that pods share, where one may answer ARP for another. */
async function checkIdentity({ runDir, vipPool }: Settings): Promise<readonly Finding[]> {
  if (vipPool.loopback) return [skipped('not applicable on loopback')];
  const pods = await readPodAddresses(runDir);
  if (pods === undefined) return [skipped('the agent does not say which pods run here')];
  const bridges = findSharedBridges(pods, await readRoutes(), await readBridges());
  if (bridges.length === 0) return [ok(pods.length === 0 ? 'no pod to be told from another' : 'no pods of this node share a bridge')];
  const text = `pods share the bridge ${bridges.join(', ')}: one with CAP_NET_RAW can take the address of another, and be taken for it`;
  return [{ state: 'note', text, remedy: 'drop NET_RAW (Pod Security restricted, or the default capabilities of the container runtime), or use a pod network with a route for each pod; see docs/security.md' }];
}

const describe = ({ address, port, owner, uid }: Listener): string =>
  `${listenerKey(address, port)} is held by ${owner === undefined ? `a process of uid ${uid}` : `${printable(owner.program, 64)} (pid ${owner.pid})`}`;

/** Who holds the ports that Onehop needs: its own processes, nobody yet, or a stranger. */
async function checkPorts({ dnsListen, adminListen, httpPort, runDir }: Settings): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const agentPid = await readAgentPid(runDir);
  for (const { what, address, port, flag } of [
    ...dnsListen.map((listen) => ({ what: 'DNS (TCP)', ...listen, flag: '--dns-listen' })),
    { what: 'admin', ...adminListen, flag: '--admin-listen' },
  ]) {
    const holders = await whoListens(port, address);
    const strangers = await findStrangers(holders, agentPid);
    if (strangers.length > 0) findings.push(...strangers.map((one) => problem(`${what}: ${describe(one)}`, `end it, or choose another address with ${flag}`)));
    else findings.push(holders.length === 0 ? { state: 'note', text: `${what}: nobody listens on ${listenerKey(address, port)}` } : ok(`${what}: ${[...new Set(holders.map(describe))].join(', ')}`));
  }
  const ofAllAddresses = (await whoListens(httpPort)).filter((one) => one.address === '0.0.0.0' || one.address === '::');
  const wildcards = await findStrangers(ofAllAddresses, agentPid);
  findings.push(
    wildcards.length === 0
      ? ok(`routes: no program takes port ${httpPort} of all addresses`)
      : problem(`routes: ${wildcards.map(describe).join(', ')}`, `let it listen on single addresses, or choose another --http-port; routes on port ${httpPort} are not served`),
  );
  return findings;
}

/** Listeners that are neither the agent's nor a HAProxy's. */
async function findStrangers(listeners: readonly Listener[], agentPid: number | undefined): Promise<readonly Listener[]> {
  const strangers: Listener[] = [];
  for (const one of listeners) {
    const ours = one.owner?.program === 'haproxy' || (one.owner !== undefined && agentPid !== undefined && (await innermostPid(one.owner.pid)) === agentPid);
    if (!ours) strangers.push(one);
  }
  return strangers;
}

/** The pid that a process has for itself: in a container it is another than the node's. */
async function innermostPid(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const pids = /^NSpid:\s+(.*)$/m.exec(status)?.[1];
  return pids === undefined ? undefined : Number(pids.split(/\s+/).at(-1));
}

async function readAgentPid(runDir: string): Promise<number | undefined> {
  const view = await getFromAgent(runDir, '/table').catch(() => undefined);
  return typeof view === 'object' && view !== null && 'pid' in view && typeof view.pid === 'number' ? view.pid : undefined;
}

async function checkDns({ dnsListen, zone }: Settings): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const { address, port } of dnsListen) {
    const server = listenerKey({ '0.0.0.0': '127.0.0.1', '::': '::1' }[address] ?? address, port);
    const answer = await resolveSoa(zone, [server]);
    findings.push('serial' in answer ? ok(`${server} answers for ${zone}, serial ${answer.serial}`) : problem(`${server} does not answer for ${zone}: ${answer.error}`, 'start the agent; see its log'));
  }
  return findings;
}

/** Whether the resolver of this node (or pod) reaches the zone: the CoreDNS stub zone is in place. */
async function checkForwardZone({ zone, vipPool }: Settings): Promise<readonly Finding[]> {
  const answer = await resolveSoa(zone);
  if ('serial' in answer) return [ok(`this node's resolver reaches ${zone}, serial ${answer.serial}`)];
  const text = `this node's resolver does not reach ${zone}: ${answer.error}`;
  const remedy = `forward ${zone} to ${vipPool.dnsAddress} in CoreDNS; from a node outside the cluster's DNS this is expected`;
  return [{ state: 'note', text, remedy }];
}

async function resolveSoa(zone: string, servers?: readonly string[]): Promise<{ readonly serial: number } | { readonly error: string }> {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 1 });
  if (servers !== undefined) resolver.setServers(servers);
  try {
    return { serial: (await resolver.resolveSoa(zone)).serial };
  } catch (error) {
    return { error: systemCode(error) ?? String(error) };
  }
}
