import { NEGATIVE_TTL_SECONDS, TTL_SECONDS, type NameRecords, type Zone } from './zone.ts';

/** The zone in master file form (RFC 1035 section 5), sorted; empty non-terminals are comments. */
export function renderZone(zone: Zone): string {
  const lines = [`; ${zone.name}, negative answers live ${NEGATIVE_TTL_SECONDS} s`, `$TTL ${TTL_SECONDS}`];
  for (const [name, records] of zone.names) {
    const rows = renderRecords(records);
    if (rows.length === 0) lines.push(`; ${name}. exists without records`);
    for (const [type, data] of rows) lines.push(`${name}. IN ${type} ${data}`);
  }
  return `${lines.join('\n')}\n`;
}

function renderRecords(records: NameRecords): readonly (readonly [type: string, data: string])[] {
  const { SOA: soa, NS = [], A = [], AAAA = [], SRV = [], TXT = [], PTR = [] } = records;
  return [
    ...(soa === undefined
      ? []
      : [['SOA', `${soa.mname}. ${soa.rname}. ${soa.serial} ${soa.refresh} ${soa.retry} ${soa.expire} ${soa.minimum}`] as const]),
    ...NS.map((target) => ['NS', `${target}.`] as const),
    ...A.map((address) => ['A', address] as const),
    ...AAAA.map((address) => ['AAAA', address] as const),
    ...SRV.map((srv) => ['SRV', `${srv.priority} ${srv.weight} ${srv.port} ${srv.target}.`] as const),
    ...TXT.map((strings) => ['TXT', strings.map(quote).join(' ')] as const),
    ...PTR.map((target) => ['PTR', `${target}.`] as const),
  ];
}

/** A character-string; the data is printable ASCII (see NameRecords). */
const quote = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;
