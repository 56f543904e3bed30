import type { ServerResponse } from 'node:http';
import { answer, openFakeApiServer } from '../fake-api-server.ts';
import type { Change } from './churn.ts';
import type { SyntheticCluster, SyntheticKind, SyntheticObject } from './cluster.ts';

/** A made-up cluster behind an API server. */
export interface ServedCluster {
  readonly url: string;
  /** Tells everybody who watches of a change. */
  tell(change: Pick<Change, 'object'>): void;
  close(): Promise<void>;
}

/** What an agent lists and watches; everything else is answered as empty, every write as done. */
const RESOURCES: Readonly<Record<string, SyntheticKind>> = {
  '/api/v1/nodes': 'Node',
  '/api/v1/services': 'Service',
  '/api/v1/pods': 'Pod',
  '/apis/discovery.k8s.io/v1/endpointslices': 'EndpointSlice',
  '/apis/paas.io/v1/serviceroutes': 'ServiceRoute',
};

const BOOKMARK_MS = 20_000;

interface Watch {
  readonly kind: SyntheticKind | undefined;
  readonly response: ServerResponse;
}

/** Serves the cluster on loopback: lists in pages (each is of its own moment), watches with what happened since, and events. */
export async function serveCluster(cluster: SyntheticCluster): Promise<ServedCluster> {
  let version = 1;
  const events: { readonly version: number; readonly kind: SyntheticKind; readonly line: string }[] = [];
  const changed = new Map<string, number>();
  const watches = new Set<Watch>();
  const keyOf = ({ kind, metadata: { namespace = '', name } }: SyntheticObject): string => `${kind} ${namespace}/${name}`;
  const stored = (object: SyntheticObject): object => ({
    ...object,
    metadata: { ...object.metadata, uid: `uid ${keyOf(object)}`, creationTimestamp: '2026-01-01T00:00:00Z', generation: 1, resourceVersion: String(changed.get(keyOf(object)) ?? 1) },
  });

  const server = await openFakeApiServer((request, response, raw) => {
    const kind = RESOURCES[request.pathname];
    if (raw.method !== 'GET') answer(response, {});
    else if (request.searchParams.get('watch') === 'true') {
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.flushHeaders();
      const since = Number(request.searchParams.get('resourceVersion') ?? 0);
      for (const event of events) if (event.kind === kind && event.version > since) response.write(event.line);
      const watch = { kind, response };
      watches.add(watch);
      response.on('close', () => watches.delete(watch));
    } else {
      const from = Number(request.searchParams.get('continue') ?? 0);
      const limit = Number(request.searchParams.get('limit') ?? Number.MAX_SAFE_INTEGER);
      const items = kind === undefined ? [] : [...cluster.objects([kind])].slice(from, from + limit);
      const more = items.length === limit ? { continue: String(from + limit) } : {};
      answer(response, { metadata: { resourceVersion: String(version), ...more }, items: items.map(stored) });
    }
  });
  // Without a byte for longer than a minute or so a watch counts as dead.
  const bookmarks = setInterval(() => {
    for (const { kind, response } of watches) response.write(`${JSON.stringify({ type: 'BOOKMARK', object: { kind, metadata: { resourceVersion: String(version) } } })}\n`);
  }, BOOKMARK_MS);

  return {
    url: server.access.server.href,
    tell({ object }) {
      changed.set(keyOf(object), ++version);
      const line = `${JSON.stringify({ type: 'MODIFIED', object: stored(object) })}\n`;
      events.push({ version, kind: object.kind, line });
      for (const { kind, response } of watches) if (kind === object.kind) response.write(line);
    },
    async close() {
      clearInterval(bookmarks);
      await server.close();
    },
  };
}

/** A kubeconfig for it. */
export const kubeconfigFor = (url: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'synthetic',
    contexts: [{ name: 'synthetic', context: { cluster: 'synthetic', user: 'agent' } }],
    clusters: [{ name: 'synthetic', cluster: { server: url } }],
    users: [{ name: 'agent', user: { token: 'none' } }],
  });
