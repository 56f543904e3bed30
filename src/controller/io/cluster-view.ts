import type { ApiError } from '../../kube/api-error.ts';
import { isRecord, valueAt } from '../../kube/field-path.ts';
import type { ApiClient } from '../../kube/io/open-api-client.ts';
import { openReflector, type Reflector, type ReflectorMetrics } from '../../kube/io/open-reflector.ts';
import { parseNodeReport, REPORT_LABEL, type ReportLease } from '../../kube/parse-node-report.ts';
import { parseRouteState, type RouteState } from '../../kube/parse-route-state.ts';
import type { ParseContext } from '../../kube/parse-service-route.ts';
import { parseServiceState, type ServiceState } from '../../kube/parse-service-state.ts';
import { objectKey } from '../../model/names.ts';
import type { VipRecords } from '../../routing/assign-vips.ts';
import type { NodeReport, Observed, TaintedNode, Target } from '../observed.ts';
import { ReportClock } from '../report-clock.ts';
import { WrittenObjects } from '../written-objects.ts';

export interface ClusterViewOptions {
  readonly client: ApiClient;
  readonly systemNamespace: string;
  readonly parseContext: ParseContext;
  readonly startupTaint: string | undefined;
  readonly onChange: () => void;
  readonly onTrouble: (what: string, error: ApiError, retryInMs: number) => void;
}

/** How long a refused access point is left alone. */
const REFUSED_MS = 30_000;
/** One that was not tried again for so long is not wanted any more. */
const FORGOTTEN_MS = 600_000;

interface SeenNode extends TaintedNode {
  readonly uid: string;
}

/** What the controller knows of the cluster: its watches, and its own writes that they have not shown yet. */
export class ClusterView {
  readonly #routes: Reflector<RouteState>;
  readonly #services: Reflector<ServiceState>;
  readonly #leases: Reflector<ReportLease>;
  readonly #nodes: Reflector<SeenNode> | undefined;
  /**
   * The routes as they were told. The reflector's own map may be ahead of its resourceVersion, and an address must never be freed with a
   * version from before the deletion.
   */
  readonly #told = new Map<string, RouteState>();
  readonly #writtenRoutes = new WrittenObjects<RouteState>();
  readonly #writtenServices = new WrittenObjects<ServiceState & { readonly uid: string }>();
  readonly #refused = new Map<string, { readonly message: string; readonly untilMs: number }>();
  readonly #reportClock = new ReportClock();
  readonly #parseContext: ParseContext;

  constructor({ client, systemNamespace, parseContext, startupTaint, onChange, onTrouble }: ClusterViewOptions) {
    this.#parseContext = parseContext;
    const trouble = (what: string) => ({ onTrouble: ({ error, retryInMs }: { readonly error: ApiError; readonly retryInMs: number }) => onTrouble(what, error, retryInMs) });
    this.#routes = openReflector({
      client,
      path: '/apis/paas.io/v1/serviceroutes',
      slim: (raw) => parseRouteState(raw, parseContext),
      onChange: (dirty) => {
        const items = this.#routes.items();
        for (const key of dirty) {
          const state = items.get(key);
          if (state === undefined) this.#told.delete(key);
          else this.#told.set(key, state);
        }
        onChange();
      },
      ...trouble('serviceroutes'),
    });
    this.#services = openReflector({ client, path: '/api/v1/services', slim: parseServiceState, onChange, ...trouble('services') });
    this.#leases = openReflector({
      client,
      path: `/apis/coordination.k8s.io/v1/namespaces/${systemNamespace}/leases`,
      query: { labelSelector: `${REPORT_LABEL}=node` },
      slim: parseNodeReport,
      // Thousands of nodes renew their Leases all the time: that is noted here, and acted upon at the next tick.
      onChange: () => void this.#reports(),
      ...trouble('leases'),
    });
    this.#nodes =
      startupTaint === undefined ? undefined : openReflector({ client, path: '/api/v1/nodes', slim: (raw) => this.#slimNode(raw, startupTaint), onChange, ...trouble('nodes') });
  }

  /** What is still waited for; undefined: everything was listed once. */
  get waitingFor(): string | undefined {
    return Object.entries(this.reflectors()).find(([, { synced }]) => !synced)?.[0];
  }

  reflectors(): Readonly<Record<string, ReflectorMetrics>> {
    return {
      serviceroutes: this.#routes.metrics(),
      services: this.#services.metrics(),
      leases: this.#leases.metrics(),
      ...(this.#nodes === undefined ? {} : { nodes: this.#nodes.metrics() }),
    };
  }

  observe(records: VipRecords): Observed {
    const nowMs = performance.now();
    const routesVersion = this.#routes.resourceVersion ?? '';
    for (const [place, { untilMs }] of this.#refused) if (untilMs + FORGOTTEN_MS <= nowMs) this.#refused.delete(place);
    return {
      routes: [...this.#writtenRoutes.merge(this.#told, routesVersion, nowMs).values()],
      routesVersion,
      services: this.#writtenServices.merge(this.#services.items(), this.#services.resourceVersion ?? '', nowMs),
      reports: this.#reports(),
      taintedNodes: [...(this.#nodes?.items().values() ?? [])],
      records,
      refusedPoints: new Map([...this.#refused].map(([place, { message, untilMs }]) => [place, { message, isDue: untilMs <= nowMs }])),
    };
  }

  wroteRoute(raw: unknown): void {
    const state = parseRouteState(raw, this.#parseContext);
    if (state !== undefined) this.#writtenRoutes.put(objectKey(state), state);
  }

  wroteService(raw: unknown): void {
    const state = parseServiceState(raw);
    if (state === undefined) return;
    this.#writtenServices.put(objectKey(state.service), state);
    this.#refused.delete(objectKey(state.service));
  }

  removedService(target: Target): void {
    this.#writtenServices.remove(objectKey(target), target.uid, performance.now());
  }

  refusedPoint(place: string, message: string): void {
    this.#refused.set(place, { message, untilMs: performance.now() + REFUSED_MS });
  }

  async close(): Promise<void> {
    await Promise.all([this.#routes.close(), this.#services.close(), this.#leases.close(), this.#nodes?.close()]);
  }

  #reports(): readonly NodeReport[] {
    const nowMs = performance.now();
    const heardAtMs = nowMs - (this.#leases.metrics().lastEventAgeMs ?? 0);
    return this.#reportClock.observe(this.#leases.items().values(), { nowMs, wallMs: Date.now(), heardAtMs });
  }

  /** Nodes with the taint only. One that is seen again keeps the time of its first sight. */
  #slimNode(raw: unknown, key: string): SeenNode | undefined {
    const [name, uid, resourceVersion] = ['name', 'uid', 'resourceVersion'].map((field) => {
      const value = valueAt(raw, ['metadata', field]);
      return typeof value === 'string' ? value : '';
    });
    const given = valueAt(raw, ['spec', 'taints']);
    const taints = (Array.isArray(given) ? (given as readonly unknown[]) : []).filter(isRecord);
    if (!name || uid === undefined || resourceVersion === undefined || !taints.some((taint) => taint['key'] === key)) return undefined;
    const before = this.#nodes?.items().get(name);
    return { name, uid, resourceVersion, taints, seenAtMs: before?.uid === uid ? before.seenAtMs : performance.now() };
  }
}
