import ipaddr from 'ipaddr.js';
import { sortRecords, type VipRecord, type VipRecords } from './assign-vips.ts';

/** The ledger of a cluster: a ConfigMap in the system namespace. */
export const LEDGER_NAME = 'onehop-vip-ledger';

/** Data of the ledger's ConfigMap: one entry per address, so that kubectl shows, and an administrator can take out, a single one. */
export type LedgerData = Readonly<Record<string, string>>;

// `shop/cart`, or `*/pay of shop` for a global name; either with ` freed TIME RESOURCEVERSION`.
const ENTRY = /^(?<key>[a-z0-9*-]{1,63}\/[a-z0-9-]{1,63})(?: of (?<namespace>[a-z0-9-]{1,63}))?(?: freed (?<at>[0-9TZ:.-]{20,30}) (?<version>\d{1,40}))?$/;

/** What stands in the place of an entry that cannot be read: its address rests like any other before somebody gets it. */
const UNREADABLE = 'unreadable/entry';

/** Reads the entries; what has not changed since `before` keeps its identity. Entries whose key is no IPv4 address are not ours. */
export function parseLedger(data: LedgerData, before: VipRecords = new Map()): VipRecords {
  const records = new Map<string, VipRecord>();
  for (const [address, text] of Object.entries(data)) {
    if (!ipaddr.IPv4.isValidFourPartDecimal(address)) continue;
    const known = before.get(address);
    records.set(address, known !== undefined && renderRecord(known) === text ? known : parseRecord(text));
  }
  return records;
}

function parseRecord(text: string): VipRecord {
  const parts = ENTRY.exec(text)?.groups;
  const key = parts?.['key'];
  if (key === undefined) return { key: UNREADABLE };
  const { namespace, at, version } = parts ?? {};
  const atMs = Date.parse(at ?? '');
  return {
    key,
    ...(namespace === undefined ? {} : { namespace }),
    ...(version === undefined || Number.isNaN(atMs) ? {} : { freed: { atMs, version } }),
  };
}

/** The entries of `records`, in the order of the addresses. */
export const renderLedger = (records: VipRecords): LedgerData => Object.fromEntries(sortRecords(records).map(([address, record]) => [address, renderRecord(record)]));

const renderRecord = ({ key, namespace, freed }: VipRecord): string =>
  `${key}${namespace === undefined ? '' : ` of ${namespace}`}${freed === undefined ? '' : ` freed ${new Date(freed.atMs).toISOString()} ${freed.version}`}`;
