import { RCODE, TYPE } from './wire.ts';
import { RECORD_TYPES } from './write-records.ts';

/** Counts for metrics; the names are fixed sets, so the series are bounded whatever clients send. */
export interface DnsCounters {
  /** Queries by type: A, AAAA, ..., and `other`. */
  readonly queries: Readonly<Record<string, number>>;
  /** Answers by response code. */
  readonly answers: Readonly<Record<string, number>>;
  /** UDP answers cut because the client's limit was smaller. */
  readonly truncated: number;
  /** Packets that get no answer: answers sent to us, runts, source port 0. */
  readonly dropped: number;
  readonly names: number;
  readonly tcpClients: number;
}

/** Puts names to the worker's plain numbers. */
export function buildCounters(counts: {
  readonly byType: readonly number[];
  readonly byRcode: readonly number[];
  readonly truncated: number;
  readonly dropped: number;
  readonly names: number;
  readonly tcpClients: number;
}): DnsCounters {
  const { byType, byRcode, ...rest } = counts;
  const queries: Record<string, number> = Object.fromEntries(RECORD_TYPES.map((type) => [type, byType[TYPE[type]] ?? 0]));
  const named = Object.values(queries).reduce((sum, count) => sum + count, 0);
  queries['other'] = byType.reduce((sum, count) => sum + count, 0) - named;
  const answers = Object.fromEntries(Object.entries(RCODE).map(([name, code]) => [name, byRcode[code] ?? 0]));
  return { queries, answers, ...rest };
}
