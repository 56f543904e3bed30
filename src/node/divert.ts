import { isDeepStrictEqual } from 'node:util';
import type { Family } from './claim-table.ts';
import { parseNftListing } from './parse-nft-listing.ts';

/*
 * What `--client-ip preserve` needs of a node: a server answers to the caller pod's address, and that answer has to reach HAProxy on the
 * node instead of the pod. So packets for one of HAProxy's transparent sockets get a mark, and marked packets are local
 * (kernel documentation, networking/tproxy).
 */

const TABLE = 'onehop_client_ip';
/** Where the mangle chains stand: after conntrack, before the route is chosen. */
const PRIORITY = -150;
/**
 * The lower half of a packet's mark; the upper half stays as it is (Calico 0xffff0000, Cilium's identities, Tailscale). The bit is none of
 * kube-proxy's (0x4000, 0x8000), the portmap plugin's (0x2000), Cilium's (0x0f00), OVN-Kubernetes' (0x03f0) or the AWS plugin's (0x0080).
 */
export const DIVERT_MARK = 0x1000;
export const DIVERT_MASK = 0xffff;
/** Beyond those that plugins count up from 1 (AWS, Calico's WireGuard) and Cilium's (2004, 2005). */
export const DIVERT_ROUTES = '9810';

/**
 * Rules by name, in the kernel's order. They come before every plugin's that sends a pod's address to the pod: the AWS plugin's begin at
 * 512, Calico's WireGuard at 99.
 * - `reverse`: with net.ipv4.conf.*.src_valid_mark=1 (WireGuard sets it) the kernel looks up the way back to the sender with the packet's
 *   mark too, and would find every sender local: a martian. Only that look-up has `lo` as its device here.
 * - `divert`: the marked packets.
 */
export const DIVERT_RULES = {
  reverse: { priority: '89', words: ['iif', 'lo'], iif: 'lo', table: 'main' },
  divert: { priority: '90', words: [], iif: undefined, table: DIVERT_ROUTES },
} as const;

export type DivertRule = keyof typeof DIVERT_RULES;

const hex = (value: number): string => `0x${value.toString(16)}`;

/** Arguments after `ip rule add` and `ip rule del`. */
export function divertRuleWords(name: DivertRule): readonly string[] {
  const { priority, words, table } = DIVERT_RULES[name];
  return ['priority', priority, ...words, 'fwmark', `${hex(DIVERT_MARK)}/${hex(DIVERT_MASK)}`, 'lookup', table];
}

/** The rules of ours in the output of `ip -j rule`. */
export function findDivertRules(json: string): readonly DivertRule[] {
  const listed: unknown = json.trim() === '' ? [] : JSON.parse(json);
  const rules: readonly unknown[] = Array.isArray(listed) ? listed : [];
  return (['reverse', 'divert'] as const).filter((name) => rules.some((rule) => isRule(rule, name)));
}

function isRule(rule: unknown, name: DivertRule): boolean {
  if (typeof rule !== 'object' || rule === null) return false;
  const { priority, iif, table } = DIVERT_RULES[name];
  const found = new Map<string, unknown>(Object.entries(rule));
  const wanted = { priority: Number(priority), src: 'all', fwmark: hex(DIVERT_MARK), fwmask: hex(DIVERT_MASK), iif, table };
  return Object.entries(wanted).every(([key, value]) => found.get(key) === value);
}

/** (mark & KEEP) | MARK, as `nft` normalizes it. */
const KEEP = (0xffffffff & ~DIVERT_MASK) >>> 0;

/**
 * The nftables table that marks, as one transaction: it replaces whatever bears its name. A transparent socket on all addresses is
 * somebody else's listener, which packets that are only passing through would match too.
 */
export const renderDivertTable = (family: Family): string => `table ${family} ${TABLE}
delete table ${family} ${TABLE}
table ${family} ${TABLE} {
  chain prerouting {
    type filter hook prerouting priority ${PRIORITY}; policy accept;
    meta l4proto tcp socket wildcard 1 return
    meta l4proto tcp socket transparent 1 meta mark set meta mark & ${hex(KEEP)} | ${hex(DIVERT_MARK)}
  }
}
`;

export const renderDivertRemoval = (family: Family): string => `table ${family} ${TABLE}\ndelete table ${family} ${TABLE}\n`;

/** Arguments of `nft` that print the table. */
export const divertTableListing = (family: Family): readonly string[] => ['-j', 'list', 'table', family, TABLE];

/** True when `json` (of `nft -j list table`) is exactly this table. */
export function isDivertTable(json: string, family: Family): boolean {
  const own = { family, table: TABLE };
  const match = (left: unknown, right: unknown) => ({ match: { op: '==', left, right } });
  const tcp = match({ meta: { key: 'l4proto' } }, 'tcp');
  const socket = (key: string) => match({ socket: { key } }, 1);
  const mark = { meta: { key: 'mark' } };
  // Bits that are set anyway need not be cleared first: nft leaves them in the mask.
  const value = { '|': [{ '&': [mark, (KEEP | DIVERT_MARK) >>> 0] }, DIVERT_MARK] };
  const rule = (...expr: readonly unknown[]) => ({ rule: { ...own, chain: 'prerouting', expr } });
  const wanted = [
    { chain: { ...own, name: 'prerouting', type: 'filter', hook: 'prerouting', prio: PRIORITY, policy: 'accept' } },
    rule(tcp, socket('wildcard'), { return: null }),
    rule(tcp, socket('transparent'), { mangle: { key: mark, value } }),
  ];
  // The order of the two rules counts, and a listing keeps it.
  return isDeepStrictEqual(parseNftListing(json), wanted);
}
