import type { Metrics } from '../daemon/metrics.ts';
import type { ReflectorMetrics } from '../kube/io/open-reflector.ts';
import type { VipPool } from '../model/vip-pool.ts';
import type { VipRecords } from '../routing/assign-vips.ts';

/** What the metrics read at each scrape. */
export interface ControllerReadings {
  readonly isLeader: () => boolean;
  readonly transitions: () => number;
  readonly reflectors: () => Readonly<Record<string, ReflectorMetrics>>;
  readonly records: () => VipRecords;
  /** `kind outcome` -> writes. */
  readonly writes: () => ReadonlyMap<string, number>;
  readonly reads: () => number;
  readonly plans: () => number;
  readonly eventsDropped: () => number;
  readonly tokenCodes: () => { readonly published: number; readonly refused: number; readonly granted: number };
  readonly pool: VipPool;
}

/** Registers `onehop_controller_*`. Labels are of fixed sets; none names a tenant's object. */
export function addControllerMetrics(metrics: Metrics, readings: ControllerReadings): void {
  metrics.gauge({ name: 'onehop_controller_leader', help: '1 while this process is the leader' }, () => [{ value: readings.isLeader() ? 1 : 0 }]);
  metrics.gauge({ name: 'onehop_controller_lease_transitions', help: 'How often the leadership changed hands, as the Lease says' }, () => [{ value: readings.transitions() }]);
  metrics.counter({ name: 'onehop_controller_writes_total', help: 'Writes to the API server by kind and outcome', labels: ['kind', 'outcome'] }, function* () {
    for (const [key, value] of readings.writes()) {
      const [kind = '', outcome = ''] = key.split(' ');
      yield { labels: { kind, outcome }, value };
    }
  });
  metrics.counter({ name: 'onehop_controller_ledger_reads_total', help: 'Reads of the ledger of addresses' }, () => [{ value: readings.reads() }]);
  metrics.counter({ name: 'onehop_controller_plans_total', help: 'Plans made while leading' }, () => [{ value: readings.plans() }]);
  metrics.counter({ name: 'onehop_controller_events_dropped_total', help: 'Events not written, by the bound on their rate or because the API server refused them' }, () => [{ value: readings.eventsDropped() }]);
  metrics.gauge({ name: 'onehop_controller_addresses', help: 'Addresses of the pool by state', labels: ['state'] }, () => {
    const all = [...readings.records().values()];
    const freed = all.filter((record) => record.freed !== undefined).length;
    return [
      { labels: { state: 'held' }, value: all.length - freed },
      { labels: { state: 'freed' }, value: freed },
      { labels: { state: 'never-given' }, value: Math.max(0, readings.pool.size - all.length) },
    ];
  });
  metrics.gauge({ name: 'onehop_controller_token_codes', help: 'Codes of callers by state, as the leader knows', labels: ['state'] }, () => {
    const { published, refused } = readings.tokenCodes();
    return [
      { labels: { state: 'published' }, value: published },
      { labels: { state: 'refused' }, value: refused },
    ];
  });
  metrics.gauge({ name: 'onehop_controller_token_namespaces', help: 'Namespaces that let their token Secrets be read' }, () => [{ value: readings.tokenCodes().granted }]);
  const reflector = (name: string, help: string, kind: 'gauge' | 'counter', read: (one: ReflectorMetrics) => number): void => {
    metrics[kind]({ name: `onehop_controller_watch_${name}`, help, labels: ['resource'] }, () => Object.entries(readings.reflectors()).map(([resource, one]) => ({ labels: { resource }, value: read(one) })));
  };
  reflector('synced', '1 once the resource was listed', 'gauge', (one) => (one.synced ? 1 : 0));
  reflector('objects', 'Objects held of a resource', 'gauge', (one) => one.objects);
  reflector('age_seconds', 'Since the last list, event or bookmark', 'gauge', (one) => (one.lastEventAgeMs ?? 0) / 1000);
  reflector('relists_total', 'Lists after the first', 'counter', (one) => one.relists);
  reflector('reconnects_total', 'Watches after the first', 'counter', (one) => one.reconnects);
}
