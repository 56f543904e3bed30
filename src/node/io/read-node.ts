import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';
import type { VipPool } from '../../model/vip-pool.ts';
import { claimTableListing, isClaimTable } from '../claim-table.ts';
import type { Family } from '../claim-table.ts';
import { DIVERT_ROUTES, divertTableListing, findDivertRules, isDivertTable } from '../divert.ts';
import type { NodeRoute } from '../find-pool-conflicts.ts';
import type { FoundDivert, FoundNode, TableState } from '../plan-node.ts';
import { runCommand } from './run-command.ts';

export const NONLOCAL_BIND6 = '/proc/sys/net/ipv6/ip_nonlocal_bind';

/**
 * Reads how far this node's network is prepared for the pool; with `divert` also for answers to callers' addresses.
 * @throws CodedError when `ip` or `nft` cannot be run
 */
export async function readNode(pool: VipPool, divert = false): Promise<FoundNode> {
  const [local, claim, claim6, nonlocalBind6] = await Promise.all([readLocalDestinations(), readClaim('ip', pool.cidr), readClaim('ip6', pool.cidr6), readNonlocalBind6()]);
  return {
    localRoutes: local.filter((dst) => dst.includes('/')).map(canonicalCidr),
    claim: { ip: claim, ip6: claim6 },
    nonlocalBind6,
    loAddresses6: local.filter((dst) => dst.includes(':') && !dst.includes('/')).map((dst) => ipaddr.parse(dst).toString()),
    ...(divert ? { divert: { ip: await readDivert('ip'), ip6: pool.cidr6 === undefined ? NO_DIVERT : await readDivert('ip6') } } : {}),
  };
}

/** Every route of the node, both families, all tables: for `doctor`; a node that speaks BGP may have many. */
export const readRoutes = (): Promise<readonly NodeRoute[]> => listRoutes('table', 'all');

/** What the node has been told itself. */
export const readMainRoutes = (): Promise<readonly NodeRoute[]> => listRoutes('table', 'main');

/** Names of this node's devices of kind bridge. */
export async function readBridges(): Promise<ReadonlySet<string>> {
  const json = await runCommand('ip', ['-j', 'link', 'show', 'type', 'bridge']);
  const listed: unknown = json.trim() === '' ? [] : JSON.parse(json);
  if (!Array.isArray(listed)) return new Set();
  return new Set(listed.flatMap((link: unknown) => (typeof link === 'object' && link !== null && 'ifname' in link && typeof link.ifname === 'string' ? [link.ifname] : [])));
}

/** Destinations that are local by way of `lo`: networks as CIDR, single addresses bare. */
async function readLocalDestinations(): Promise<readonly string[]> {
  const routes = await listRoutes('table', 'local', 'dev', 'lo');
  return routes.filter((route) => route.type === 'local').map((route) => route.dst);
}

async function listRoutes(...which: readonly string[]): Promise<readonly NodeRoute[]> {
  const listings = await Promise.all(['-4', '-6'].map((family) => runCommand('ip', [family, '-j', '-d', 'route', 'show', ...which])));
  return listings.flatMap(parseRoutes);
}

/** Every address of this node's interfaces, loopback included. */
export function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => addresses?.map((each) => each.address) ?? []);
}

function parseRoutes(json: string): NodeRoute[] {
  const listed: unknown = json.trim() === '' ? [] : JSON.parse(json);
  if (!Array.isArray(listed)) return [];
  return listed.filter(
    (route: unknown): route is NodeRoute =>
      typeof route === 'object' && route !== null && 'dst' in route && typeof route.dst === 'string' && 'type' in route && typeof route.type === 'string',
  );
}

async function readClaim(family: Family, cidr: string | undefined): Promise<TableState> {
  return cidr === undefined ? 'absent' : readTable(claimTableListing(family), (json) => isClaimTable(json, family, cidr));
}

async function readTable(listing: readonly string[], isWanted: (json: string) => boolean): Promise<TableState> {
  const json = await runCommand('nft', listing).catch((error: unknown) => {
    if (error instanceof Error && /No such file or directory/.test(error.message)) return undefined;
    throw error;
  });
  if (json === undefined) return 'absent';
  return isWanted(json) ? 'as-wanted' : 'different';
}

const NO_DIVERT: FoundDivert = { table: 'absent', rules: [], route: false };

async function readDivert(family: Family): Promise<FoundDivert> {
  const flag = family === 'ip' ? '-4' : '-6';
  const [table, rules, routes] = await Promise.all([
    readTable(divertTableListing(family), (json) => isDivertTable(json, family)),
    runCommand('ip', [flag, '-j', 'rule', 'show']),
    // All tables: one that does not exist is an error when it is asked for.
    runCommand('ip', [flag, '-j', '-d', 'route', 'show', 'table', 'all', 'type', 'local', 'dev', 'lo']),
  ]);
  const route = parseRoutes(routes).some(({ dst, table: in_ }) => dst === 'default' && in_ === DIVERT_ROUTES);
  return { table, rules: findDivertRules(rules), route };
}

async function readNonlocalBind6(): Promise<FoundNode['nonlocalBind6']> {
  try {
    if ((await readFile(NONLOCAL_BIND6, 'utf8')).trim() !== '0') return 'on';
    await access(NONLOCAL_BIND6, constants.W_OK); // in a container /proc/sys is mounted read-only
    return 'writable';
  } catch {
    return 'read-only';
  }
}

function canonicalCidr(dst: string): string {
  const [address, bits] = ipaddr.parseCIDR(dst);
  return `${address.toString()}/${bits}`;
}
