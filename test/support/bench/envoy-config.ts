import { allowed, BREAKER, CONN_LIMIT, LISTEN, WEIGHTS } from './bench-table.ts';
import { SERVER_PORT, SERVERS } from './bench-servers.ts';

/**
 * Envoy's bootstrap (API v3) as JSON. `full`: what a full route of ours does, in Envoy's own terms: weighted clusters, RBAC by source
 * address with the same 20 callers, outlier detection and circuit breaker thresholds per cluster, the same retries, timeouts and
 * header rules. Else a listener, a route, a cluster. No access log; statistics stay in memory (flushed on request only, so that idle
 * listeners cost nothing while others are measured).
 */
export function renderEnvoy(vips: readonly string[], full: boolean): string {
  const names = vips.map((_, index) => `svc${index}`);
  return JSON.stringify({
    node: { id: 'bench', cluster: 'bench' },
    stats_flush_on_admin: true,
    static_resources: {
      listeners: vips.map((vip, index) => listener(vip, names[index] ?? '', full)),
      clusters: names.flatMap((name) => clusters(name, full)),
    },
  });
}

const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.${name}`;

function listener(vip: string, name: string, full: boolean): unknown {
  return {
    name,
    address: { socket_address: { address: vip, port_value: LISTEN } },
    filter_chains: [
      {
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': type('network.http_connection_manager.v3.HttpConnectionManager'),
              stat_prefix: full ? name : 'minimal',
              // Sets x-forwarded-for to the peer's address, as our route does.
              ...(full ? { use_remote_address: true, stream_idle_timeout: '60s' } : {}),
              http_filters: [...(full ? [rbac()] : []), { name: 'router', typed_config: { '@type': type('http.router.v3.Router') } }],
              route_config: {
                virtual_hosts: [
                  {
                    name,
                    domains: ['*'],
                    ...(full ? { request_headers_to_remove: ['x-onehop-token', 'x-onehop-reason'], response_headers_to_remove: ['x-onehop-reason'] } : {}),
                    routes: [{ match: { prefix: '/' }, route: full ? fullAction(name) : { cluster: name } }],
                  },
                ],
              },
            },
          },
        ],
      },
    ],
  };
}

const rbac = (): unknown => ({
  name: 'rbac',
  typed_config: {
    '@type': type('http.rbac.v3.RBAC'),
    rules: {
      action: 'ALLOW',
      policies: {
        callers: { permissions: [{ any: true }], principals: allowed.map((address) => ({ direct_remote_ip: { address_prefix: address, prefix_len: 32 } })) },
      },
    },
  },
});

const fullAction = (name: string): unknown => ({
  weighted_clusters: { clusters: WEIGHTS.map((weight, version) => ({ name: `${name}-${version}`, weight })) },
  timeout: '60s',
  retry_policy: { retry_on: 'connect-failure,reset', num_retries: 3 },
});

function clusters(name: string, full: boolean): readonly unknown[] {
  if (!full) return [cluster(name, SERVERS, {})];
  const half = SERVERS.length / 2;
  const governed = {
    lb_policy: 'LEAST_REQUEST',
    outlier_detection: {
      consecutive_5xx: BREAKER.threshold,
      interval: `${BREAKER.windowSeconds}s`,
      base_ejection_time: `${BREAKER.breakTimeSeconds}s`,
      max_ejection_percent: 100,
    },
    circuit_breakers: { thresholds: [{ max_connections: CONN_LIMIT, max_pending_requests: CONN_LIMIT, max_requests: CONN_LIMIT, max_retries: CONN_LIMIT }] },
  };
  return [cluster(`${name}-0`, SERVERS.slice(0, half), governed), cluster(`${name}-1`, SERVERS.slice(half), governed)];
}

const cluster = (name: string, servers: readonly string[], more: object): unknown => ({
  name,
  type: 'STATIC',
  connect_timeout: '0.25s',
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: servers.map((address) => ({ endpoint: { address: { socket_address: { address, port_value: SERVER_PORT } } } })) }],
  },
  ...more,
});
