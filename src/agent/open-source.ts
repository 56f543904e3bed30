import type { Logger } from '../daemon/io/logger.ts';
import type { Metrics } from '../daemon/metrics.ts';
import { openApiAccess } from '../kube/io/open-api-access.ts';
import { openApiClient } from '../kube/io/open-api-client.ts';
import { openFolderSource } from '../kube/io/open-folder-source.ts';
import { openKubernetesSource, type ResourceStatus } from '../kube/io/open-kubernetes-source.ts';
import { openNodeReport } from '../kube/io/open-node-report.ts';
import { readClusterKeys, type ClusterKeys } from '../kube/io/read-cluster-keys.ts';
import { DEFAULT_SYSTEM_NAMESPACE } from '../kube/watched-resources.ts';
import type { Problem } from '../model/problem.ts';
import type { CheckRegexes } from '../model/proxy.ts';
import { isAtLeast } from '../model/resource-version.ts';
import type { RouteTable } from '../model/route-table.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { Settings } from '../settings/settings.ts';

export interface SourceListener {
  readonly checkRegexes: CheckRegexes;
  /** Each Snapshot that differs from the one before, and when the oldest of its changes was heard of (`performance.now()`). */
  readonly onSnapshot: (snapshot: Snapshot, changedAtMs: number) => void;
  /** As long as there is none: one line that says why. `refused`: the source answers and denies; waiting alone does not mend that. */
  readonly onWaiting: (why: string, refused?: boolean) => void;
  readonly onError: (error: Error) => void;
}

/** Where the agent's objects come from, and where it says what it made of them. */
export interface AgentSource {
  /** `dir:PATH`, or `kubernetes` with the server. */
  readonly name: string;
  /** What the first Snapshot waits for. */
  readonly waitsFor: string;
  listen(listener: SourceListener): Promise<{ close(): Promise<void> }>;
  /** A pass is through: this is in effect. */
  report(snapshot: Snapshot, table: RouteTable, problems: readonly Problem[]): void;
  /** Reads the keys, issuer and audiences of the cluster's own tokens; absent: there is no cluster. */
  readonly readKeys?: (signal: AbortSignal) => Promise<ClusterKeys>;
  close(): Promise<void>;
}

/** The source in `/routes` and on disk: `kubernetes`, or `dir:PATH`. */
export const sourceName = ({ source }: Pick<Settings, 'source'>): string => (source.kind === 'dir' ? `dir:${source.path}` : source.kind);

/**
 * Prepares the source that the settings name; nothing is read before `listen`.
 * @throws CodedError when the credentials for the API server cannot be used
 */
export async function openSource(settings: Settings, version: string, metrics: Metrics, log: Logger): Promise<AgentSource> {
  const { source } = settings;
  if (source.kind === 'kubernetes') return openCluster(settings, version, metrics, log);
  return {
    name: sourceName(settings),
    waitsFor: 'the first snapshot',
    listen: (listener) => openFolderSource({ path: source.path, globalNamespace: settings.globalNamespace, ...listener }),
    report: () => {},
    close: async () => {},
  };
}

async function openCluster(settings: Settings, version: string, metrics: Metrics, log: Logger): Promise<AgentSource> {
  const { nodeName, globalNamespace } = settings;
  const access = await openApiAccess({ kubeconfig: settings.kubeconfig === '' ? undefined : settings.kubeconfig });
  const client = openApiClient(access, { userAgent: `onehop-agent/${version}` });
  const namespace = settings.systemNamespace || access.namespace || DEFAULT_SYSTEM_NAMESPACE;
  const reporter = openNodeReport({ client, nodeName, namespace, onTrouble: (line) => log.error(line) });
  let status = (): readonly ResourceStatus[] => [];
  let reported: { readonly routes: Snapshot['serviceRoutes']; readonly version: string } | undefined;
  let versionOf = (snapshot: Snapshot): string | undefined => snapshot.resourceVersion;
  addSourceMetrics(metrics, () => status());
  return {
    name: `kubernetes ${client.server} (${access.origin})`,
    waitsFor: `the objects of ${client.server}`,
    listen: async (listener) => {
      const opened = await openKubernetesSource({ client, nodeName, globalNamespace, systemNamespace: namespace, ...listener });
      status = () => opened.status();
      versionOf = (snapshot) => opened.versionOf(snapshot);
      return opened;
    },
    readKeys: readClusterKeys(client, access),
    report: (snapshot, table, problems) => {
      const now = versionOf(snapshot);
      if (now === undefined) return;
      // While a change is on its way only the Snapshot's own version is sure; what was said of the same routes before stays true.
      const isSaid = reported?.routes === snapshot.serviceRoutes && isAtLeast(reported.version, now);
      const version = isSaid && reported !== undefined ? reported.version : now;
      reported = { routes: snapshot.serviceRoutes, version };
      reporter.inEffect({ ...snapshot, resourceVersion: version }, table, problems);
    },
    close: async () => {
      await reporter.close();
      client.close();
    },
  };
}

/** Per resource, a fixed handful of series. */
function addSourceMetrics(metrics: Metrics, status: () => readonly ResourceStatus[]): void {
  const each = (value: (one: ResourceStatus) => number | undefined) => () =>
    status().flatMap((one) => {
      const found = value(one);
      return found === undefined ? [] : [{ labels: { resource: one.resource }, value: found }];
    });
  const labels = ['resource'] as const;
  metrics.gauge({ name: 'onehop_source_synced', help: '1 when the resource was listed once', labels }, each(({ synced }) => (synced ? 1 : 0)));
  metrics.gauge({ name: 'onehop_source_objects', help: 'Objects of the resource that are held', labels }, each(({ objects }) => objects));
  metrics.gauge(
    { name: 'onehop_source_last_event_age_seconds', help: 'Since the last list, event or bookmark (bookmarks come once a minute)', labels },
    each(({ lastEventAgeMs }) => (lastEventAgeMs === undefined ? undefined : lastEventAgeMs / 1000)),
  );
  metrics.counter({ name: 'onehop_source_relists_total', help: 'Lists after the first', labels }, each(({ relists }) => relists));
  metrics.counter({ name: 'onehop_source_reconnects_total', help: 'Watches after the first', labels }, each(({ reconnects }) => reconnects));
}
