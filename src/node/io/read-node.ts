import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';
import type { VipPool } from '../../model/vip-pool.ts';
import { claimTableListing, isClaimTable } from '../claim-table.ts';
import type { Family } from '../claim-table.ts';
import type { NodeRoute } from '../find-pool-conflicts.ts';
import type { FoundNode } from '../plan-node.ts';
import { runCommand } from './run-command.ts';

export const NONLOCAL_BIND6 = '/proc/sys/net/ipv6/ip_nonlocal_bind';

/**
 * Reads how far this node's network is prepared for the pool.
 * @throws CodedError when `ip` or `nft` cannot be run
 */
export async function readNode(pool: VipPool): Promise<FoundNode> {
  const [routes, claim, claim6, nonlocalBind6] = await Promise.all([readRoutes(), readClaim('ip', pool.cidr), readClaim('ip6', pool.cidr6), readNonlocalBind6()]);
  const onLo = routes.filter((route) => route.type === 'local' && route.dev === 'lo');
  return {
    localRoutes: onLo.filter((route) => route.dst.includes('/')).map((route) => canonicalCidr(route.dst)),
    claim: { ip: claim, ip6: claim6 },
    nonlocalBind6,
    loAddresses6: onLo.map((route) => route.dst).filter((dst) => dst.includes(':') && !dst.includes('/')).map((dst) => ipaddr.parse(dst).toString()),
  };
}

/** Every route of the node, both families, all tables. */
export async function readRoutes(): Promise<readonly NodeRoute[]> {
  const [v4, v6] = await Promise.all(['-4', '-6'].map((family) => runCommand('ip', [family, '-j', '-d', 'route', 'show', 'table', 'all'])));
  return [v4, v6].flatMap((json) => parseRoutes(json ?? ''));
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

async function readClaim(family: Family, cidr: string | undefined): Promise<FoundNode['claim'][Family]> {
  if (cidr === undefined) return 'absent';
  const json = await runCommand('nft', claimTableListing(family)).catch((error: unknown) => {
    if (error instanceof Error && /No such file or directory/.test(error.message)) return undefined;
    throw error;
  });
  if (json === undefined) return 'absent';
  return isClaimTable(json, family, cidr) ? 'as-wanted' : 'different';
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
