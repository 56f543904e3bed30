import type { Metrics } from '../daemon/metrics.ts';
import type { DnsCounters } from '../dns/dns-counters.ts';
import type { BreakerState } from '../model/breaker.ts';
import type { CallCounts } from '../model/call-counts.ts';
import { objectKey } from '../model/names.ts';
import type { Problem } from '../model/problem.ts';
import type { RouteTable } from '../model/route-table.ts';

/** What the metrics read at each scrape. */
export interface Observed {
  readonly table: () => RouteTable | undefined;
  readonly problems: () => readonly Problem[];
  readonly generation: () => number;
  readonly dns: () => Promise<DnsCounters | undefined>;
  /** Counters of the proxy: name (without prefix) -> value, a fixed small set. */
  readonly proxy: () => Readonly<Record<string, number>>;
  readonly calls: () => Promise<CallCounts>;
  readonly breakers: () => Promise<readonly BreakerState[]>;
}

/** Registers the agent's metrics. Labels are of fixed sets or of this node's own; none names a caller. */
export function addAgentMetrics(metrics: Metrics, observed: Observed): void {
  const dns = shared(observed.dns);
  const calls = shared(observed.calls);
  const breakers = shared(observed.breakers);
  metrics.gauge({ name: 'onehop_routes', help: 'Routes in the table of this node' }, () => [{ value: observed.table()?.routes.length ?? 0 }]);
  metrics.gauge({ name: 'onehop_local_pods', help: 'Live pods of this node known by their address' }, () => [{ value: observed.table()?.callers.pods.length ?? 0 }]);
  metrics.gauge({ name: 'onehop_generation', help: 'Changes in effect since the start' }, () => [{ value: observed.generation() }]);
  metrics.gauge({ name: 'onehop_problems', help: 'Problems by code', labels: ['code', 'severity'] }, function* () {
    const counts = Map.groupBy(observed.problems(), (one) => `${one.code} ${one.severity}`);
    for (const [key, { length }] of counts) {
      const [code = '', severity = ''] = key.split(' ');
      yield { labels: { code, severity }, value: length };
    }
  });
  metrics.gauge({ name: 'onehop_route_problems', help: 'Problems of one route by code', labels: ['namespace', 'route', 'code'] }, function* () {
    const routes = observed.problems().filter(({ object }) => object.kind === 'ServiceRoute');
    const counts = Map.groupBy(routes, ({ object, code }) => `${object.namespace ?? ''}/${object.name}/${code}`);
    for (const [key, { length }] of counts) {
      const [namespace = '', route = '', code = ''] = key.split('/');
      yield { labels: { namespace, route, code }, value: length };
    }
  });
  metrics.counter({ name: 'onehop_dns_queries_total', help: 'DNS queries by type', labels: ['type'] }, async () =>
    Object.entries((await dns())?.queries ?? {}).map(([type, value]) => ({ labels: { type }, value })),
  );
  metrics.counter({ name: 'onehop_dns_answers_total', help: 'DNS answers by response code', labels: ['rcode'] }, async () =>
    Object.entries((await dns())?.answers ?? {}).map(([rcode, value]) => ({ labels: { rcode }, value })),
  );
  metrics.gauge({ name: 'onehop_dns_names', help: 'Names that DNS knows' }, async () => [{ value: (await dns())?.names ?? 0 }]);
  metrics.gauge({ name: 'onehop_dns_tcp_clients', help: 'Open DNS connections over TCP' }, async () => [{ value: (await dns())?.tcpClients ?? 0 }]);
  metrics.gauge({ name: 'onehop_proxy', help: 'State and counts of the proxy', labels: ['what'] }, () =>
    Object.entries(observed.proxy()).map(([what, value]) => ({ labels: { what }, value })),
  );
  metrics.counter({ name: 'onehop_route_calls_total', help: 'Calls of a route on this node, refused ones too (HAProxy; since its last reload)', labels: ['namespace', 'route'] }, async () =>
    (await calls()).routes.map(({ namespace, route, calls }) => ({ labels: { namespace, route }, value: calls })),
  );
  metrics.counter({ name: 'onehop_refused_calls_total', help: 'Calls that the proxy answered itself, by reason', labels: ['reason'] }, async () =>
    Object.entries((await calls()).refused).map(([reason, value]) => ({ labels: { reason }, value })),
  );
  metrics.counter({ name: 'onehop_answered_calls_total', help: 'Calls that servers answered, by the tier of the server: node, zone or any', labels: ['tier'] }, async () =>
    Object.entries((await calls()).answered).map(([tier, value]) => ({ labels: { tier }, value })),
  );
  metrics.counter({ name: 'onehop_left_node_calls_total', help: 'Calls that servers of other nodes answered, by why they left: no-endpoint, down, saturated or cluster', labels: ['reason'] }, async () =>
    Object.entries((await calls()).left).map(([reason, value]) => ({ labels: { reason }, value })),
  );
  /** By the version's name; those of a version that went meanwhile are left out. */
  const byVersion = async (value: (state: BreakerState) => number) => {
    const versions = new Map(observed.table()?.routes.map((route) => [objectKey(route), route.versions]));
    return (await breakers()).flatMap((state) => {
      const { namespace, route } = state;
      const version = versions.get(objectKey({ namespace, name: route }))?.[state.version]?.name;
      return version === undefined ? [] : [{ labels: { namespace, route, version }, value: value(state) }];
    });
  };
  const labels = ['namespace', 'route', 'version'] as const;
  metrics.gauge({ name: 'onehop_breaker_open', help: '1 while the breaker of a version is open, of every version that has one', labels }, () => byVersion(({ open }) => Number(open)));
  metrics.gauge({ name: 'onehop_breaker_held', help: '1 while a breaker is held open or closed by hand', labels }, () => byVersion(({ mode }) => Number(mode !== 'auto')));
}

/** One question at a time: the metrics of one scrape share its answer. */
function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let asking: Promise<T> | undefined;
  return () =>
    (asking ??= ask().finally(() => {
      asking = undefined;
    }));
}
