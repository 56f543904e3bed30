import { isDeepStrictEqual } from 'node:util';
import { parseNftListing } from './parse-nft-listing.ts';

/** nftables' names of the address families. */
export type Family = 'ip' | 'ip6';

const TABLE = 'onehop';
/** dstnat (-100) - 10: before every other DNAT, whose hook skips a flow that already has one. */
const PRIORITY = -110;
const HOOKS = ['prerouting', 'output'] as const;

/**
 * The nftables table that claims every flow to the pool unchanged, as one transaction: it replaces whatever bears its name.
 * prerouting sees the pods' flows, output the host's own.
 */
export function renderClaimTable(family: Family, cidr: string): string {
  const chain = (hook: string): string =>
    `  chain ${hook} {\n    type nat hook ${hook} priority ${PRIORITY}; policy accept;\n    ${family} daddr ${cidr} dnat to ${family} daddr\n  }\n`;
  return `table ${family} ${TABLE}\ndelete table ${family} ${TABLE}\ntable ${family} ${TABLE} {\n${HOOKS.map(chain).join('')}}\n`;
}

export const renderClaimRemoval = (family: Family): string => `table ${family} ${TABLE}\ndelete table ${family} ${TABLE}\n`;

/** Arguments of `nft` that print the table. */
export const claimTableListing = (family: Family): readonly string[] => ['-j', 'list', 'table', family, TABLE];

/** True when `json` (of `nft -j list table`) is exactly the table of this pool. */
export function isClaimTable(json: string, family: Family, cidr: string): boolean {
  const [address = '', length] = cidr.split('/');
  const daddr = { payload: { protocol: family, field: 'daddr' } };
  const wanted = HOOKS.flatMap((hook) => [
    { chain: { family, table: TABLE, name: hook, type: 'nat', hook, prio: PRIORITY, policy: 'accept' } },
    {
      rule: {
        family,
        table: TABLE,
        chain: hook,
        expr: [{ match: { op: '==', left: daddr, right: { prefix: { addr: address, len: Number(length) } } } }, { dnat: { addr: daddr } }],
      },
    },
  ]);
  return isDeepStrictEqual(inOrder(parseNftListing(json)), inOrder(wanted));
}

const inOrder = (objects: readonly unknown[]): unknown[] => objects.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
