import type { CallCounts } from '../model/call-counts.ts';
import { leaveReason, type LeaveReason } from '../model/leave-reason.ts';
import { listenerKey } from '../model/proxy.ts';
import type { RouteTable, Tier } from '../model/route-table.ts';
import { routePools } from './pools.ts';
import { REFUSAL_BACKENDS } from './render-global.ts';
import { frontendName } from './section-names.ts';
import { endpointKey } from './servers.ts';

type Row = Readonly<Record<string, string>>;

/**
 * Reads `show stat` (management guide, 9.1, "CSV format") of a worker that serves this table. A worker counts from its own start.
 * Server failures are what a backend answered with a 5xx and neither one of its servers did nor a rule of its own (`dreq`).
 * `refusedTable`: the answer to `show table` of {@link REFUSED_TABLE}, '' where there is none.
 */
export function parseStats(csv: string, table: RouteTable, refusedTable = ''): CallCounts {
  const rows = parseRows(csv);
  const number = (row: Row | undefined, column: string): number => Number(row?.[column] ?? 0) || 0;
  const answers = (row: Row): number => ['hrsp_1xx', 'hrsp_2xx', 'hrsp_3xx', 'hrsp_4xx', 'hrsp_5xx'].reduce((sum, column) => sum + number(row, column), 0);
  const bySection = Map.groupBy(rows, (row) => row['pxname'] ?? '');
  const rowOf = (section: string, kind: 'FRONTEND' | 'BACKEND'): Row | undefined => bySection.get(section)?.find((row) => row['svname'] === kind);

  const answered: Partial<Record<Tier, number>> = {};
  const left: Partial<Record<LeaveReason, number>> = {};
  let failed = 0;
  for (const route of table.routes) {
    const pools = routePools(route).flatMap((all) => all.map((pool) => ({ ...pool, whole: all[0]?.version ?? pool.version })));
    for (const { name: section, version, whole, spilled } of pools) {
      const servers = new Map([...version.backup, ...version.active].map((server) => [listenerKey(server.address, server.port), server]));
      let fromServers = 0;
      for (const row of bySection.get(section) ?? []) {
        const server = servers.get(endpointKey(row['svname'] ?? '') ?? '');
        if (server === undefined) continue;
        const calls = route.protocol === 'http' ? answers(row) : number(row, 'stot');
        answered[server.tier] = (answered[server.tier] ?? 0) + calls;
        const reason = leaveReason(route, whole, server, spilled);
        if (reason !== undefined) left[reason] = (left[reason] ?? 0) + calls;
        fromServers += number(row, 'hrsp_5xx');
      }
      if (route.protocol === 'http') failed += Math.max(0, number(rowOf(section, 'BACKEND'), 'hrsp_5xx') - number(rowOf(section, 'BACKEND'), 'dreq') - fromServers);
    }
  }
  return {
    routes: table.routes.map((route) => {
      const row = rowOf(frontendName(route), 'FRONTEND');
      return { namespace: route.namespace, route: route.name, calls: number(row, route.protocol === 'http' ? 'req_tot' : 'stot') };
    }),
    refused: {
      ...Object.fromEntries(REFUSAL_BACKENDS.map((code) => [code, number(rowOf(code, 'BACKEND'), 'req_tot')])),
      'breaker-open': sumOf(refusedTable, 'gpc1'),
      'conn-limit': sumOf(refusedTable, 'gpc0'),
      failed,
    },
    answered,
    left,
  };
}

/** Sum of a counter over the lines of `show table` (management guide, 9.3): `0x55..: key=::ffff:10.0.0.1 use=0 exp=0 gpc0=3 gpc1=0`. */
const sumOf = (answer: string, counter: 'gpc0' | 'gpc1'): number =>
  [...answer.matchAll(new RegExp(` ${counter}=(\\d+)`, 'g'))].reduce((sum, [, count]) => sum + Number(count), 0);

/** Of a hundred columns; a large node has ten thousand rows, and is asked at every scrape. */
const COLUMNS: ReadonlySet<string> = new Set(['pxname', 'svname', 'req_tot', 'stot', 'dreq', 'hrsp_1xx', 'hrsp_2xx', 'hrsp_3xx', 'hrsp_4xx', 'hrsp_5xx']);

function parseRows(csv: string): readonly Row[] {
  const [head = '', ...lines] = csv.split('\n').filter((line) => line !== '');
  const columns = head.replace(/^# /, '').split(',').flatMap((name, index) => (COLUMNS.has(name) ? [{ name, index }] : []));
  // No field that is read here can hold a comma or a quote: section names are labels, server names addresses and a word.
  return lines.map((line) => {
    const fields = line.split(',');
    return Object.fromEntries(columns.map(({ name, index }) => [name, fields[index] ?? '']));
  });
}
