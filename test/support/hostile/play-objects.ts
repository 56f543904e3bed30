import { buildRoutesView } from '../../../src/agent/routes-view.ts';
import { addAgentMetrics } from '../../../src/agent/agent-metrics.ts';
import { explainCall } from '../../../src/cli/explain-call.ts';
import { renderRoutes } from '../../../src/cli/routes.ts';
import { Metrics } from '../../../src/daemon/metrics.ts';
import { buildDesired } from '../../../src/desired/build-desired.ts';
import { renderZone } from '../../../src/dns/render-zone.ts';
import { renderConfig } from '../../../src/haproxy/render-config.ts';
import type { RenderedConfig } from '../../../src/haproxy/render-config.ts';
import { buildSnapshot } from '../../../src/kube/build-snapshot.ts';
import type { FileContent } from '../../../src/kube/build-snapshot.ts';
import { parseManifest } from '../../../src/kube/parse-manifest.ts';
import { NO_CALLS } from '../../../src/model/call-counts.ts';
import { problemLine } from '../../../src/model/problem.ts';
import type { Problem } from '../../../src/model/problem.ts';
import type { RouteTable } from '../../../src/model/route-table.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import type { VipLedger } from '../../../src/model/vip-ledger.ts';
import { parseContext } from '../kube-parse.ts';

/** Everything that a node n1 shows and does for some texts of Kubernetes objects, as its agent does it. */
export interface Played {
  readonly table: RouteTable;
  readonly ledger: VipLedger;
  readonly rendered: RenderedConfig;
  readonly zone: string;
  readonly routesJson: string;
  readonly routesText: string;
  readonly problems: readonly Problem[];
  readonly problemLines: readonly string[];
  /** What `explain` says of each route to each pod: the texts of the decision. */
  readonly explained: readonly string[];
}

const POOL = parseVipPool('127.77.0.0/16');

const LARGE = 100_000;
const known = new Map<string, FileContent>();

/** What most cases share is parsed once. */
function readContent(name: string, text: string): FileContent {
  const key = `${name} ${text}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  const { objects = [], problems } = parseManifest(text, name, parseContext).manifest;
  if (known.size > 50) known.clear();
  if (name.startsWith('a.') && text.length < LARGE) known.set(key, { objects, problems });
  return { objects, problems };
}

export function playObjects(files: readonly (readonly [name: string, text: string])[], ledger: VipLedger = {}): Played {
  const contents = files.map(([name, text]) => readContent(name, text));
  const { snapshot } = buildSnapshot(contents, new Map());
  const options = {
    nodeName: 'n1',
    ownAddresses: ['192.168.0.1'],
    pool: POOL,
    vips: 'allocate' as const,
    globalNamespace: 'global',
    trustedCallers: [{ namespace: 'ingress' }],
    httpPort: 80,
    zoneName: 'route.internal',
    version: 'test',
  };
  const { table, zone, ledger: next } = buildDesired(snapshot, options, ledger, 0);
  const rendered = renderConfig(table, { runDir: '/run/onehop', drainTimeoutSeconds: 60, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } });
  const view = { generation: 1, proxy: 'haproxy' as const, zone: 'route.internal', globalNamespace: 'global', pool: POOL, dnsListen: [], table, applyProblems: [], breakers: [] };
  const sources = ['host', '127.88.90.99', ...table.callers.pods.map(({ address }) => address)];
  const explained = table.routes.flatMap((route) =>
    sources.flatMap((from) => {
      const result = explainCall(view, { host: route.vip, from, headers: new Map([['x-evil', 'a']]) }, (_, value) => value === 'a');
      return 'error' in result ? [result.error] : [...result.explanation.steps.map(({ detail }) => detail), ...result.explanation.outcomes.map(({ decision }) => decision.reason)];
    }),
  );
  return {
    table,
    ledger: next,
    rendered,
    zone: renderZone(zone),
    routesJson: JSON.stringify(buildRoutesView(table, { generation: 1, source: 'test', proxy: 'haproxy', stale: false, problems: [], breakers: [] })),
    routesText: renderRoutes(view),
    problems: table.problems,
    problemLines: table.problems.map(problemLine),
    explained,
  };
}

/** The page that Prometheus reads. */
export function renderMetrics({ table, problems }: Played): Promise<string> {
  const metrics = new Metrics();
  addAgentMetrics(metrics, { table: () => table, problems: () => problems, generation: () => 1, dns: async () => undefined, proxy: () => ({}), calls: async () => NO_CALLS, breakers: async () => [] });
  return metrics.render();
}
