import type { Problem } from '../../model/problem.ts';
import type { RouteTable } from '../../model/route-table.ts';
import type { Snapshot } from '../../model/snapshot.ts';
import { ApiError } from '../api-error.ts';
import { rememberNodeReport, type NodeReport } from '../build-node-report.ts';
import { valueAt } from '../field-path.ts';
import { ReportSchedule } from '../report-schedule.ts';
import type { ApiClient } from './open-api-client.ts';

export interface NodeReporterOptions {
  readonly client: Pick<ApiClient, 'request'>;
  readonly nodeName: string;
  /** Where the Leases are. */
  readonly namespace: string;
  /** Each kind of failure once, until a report is written again: one line with the remedy. */
  readonly onTrouble: (line: string) => void;
}

export interface NodeReporter {
  /** A pass is through: this is in effect now. */
  inEffect(snapshot: Snapshot, table: RouteTable, problems: readonly Problem[]): void;
  /** The Lease is left to run out: whoever follows on this node writes it on. */
  close(): Promise<void>;
}

const FIELD_MANAGER = 'onehop-agent';
const LEASE_SECONDS = 180;

/** Opens this node's report: a Lease of its own, written by server-side apply. A failure is told and tried again, never more. */
export function openNodeReport(options: NodeReporterOptions): NodeReporter {
  return new LeaseReporter(options);
}

class LeaseReporter implements NodeReporter {
  readonly #options: NodeReporterOptions;
  readonly #schedule = new ReportSchedule(Math.random);
  readonly #closing = new AbortController();
  readonly #told = new Set<string>();
  #report: NodeReport | undefined;
  readonly #build = rememberNodeReport();
  #owner: { readonly uid: string } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;

  constructor(options: NodeReporterOptions) {
    this.#options = options;
  }

  inEffect(snapshot: Snapshot, table: RouteTable, problems: readonly Problem[]): void {
    // Objects from files have no resourceVersion, and nobody to tell.
    if (snapshot.resourceVersion === undefined) return;
    this.#report = this.#build(snapshot, table, problems);
    this.#schedule.inEffect(this.#report.fingerprint, snapshot.nodes.length, performance.now());
    this.#arm();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    await this.#writing;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#closing.signal.aborted || this.#writing !== undefined || this.#schedule.dueMs === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
        this.#arm();
      });
    }, Math.max(0, this.#schedule.dueMs - performance.now()));
  }

  async #write(): Promise<void> {
    const report = this.#report;
    if (report === undefined) return;
    const { client, namespace, nodeName, onTrouble } = this.#options;
    const name = `onehop-node-${nodeName}`;
    try {
      this.#owner ??= await this.#readOwner();
      await client.request('PATCH', `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases/${encodeURIComponent(name)}`, {
        query: { fieldManager: FIELD_MANAGER, force: true },
        contentType: 'application/apply-patch+yaml',
        body: this.#lease(name, report),
        signal: this.#closing.signal,
      });
      this.#told.clear();
      this.#schedule.written(report.fingerprint, performance.now());
    } catch (error) {
      const failure = error instanceof ApiError ? error : new ApiError({ status: 0, reason: 'Unknown', message: String(error) });
      this.#schedule.failed(performance.now(), failure.retryAfterMs);
      const kind = `${failure.status} ${failure.reason}`;
      if (this.#closing.signal.aborted || this.#told.has(kind)) return;
      this.#told.add(kind);
      onTrouble(`this node's report (Lease ${namespace}/${name}) cannot be written: ${failure.message}; ${remedyFor(failure, namespace)}`);
    }
  }

  /** The node owns its report: when the Node object goes, Kubernetes removes the Lease. Without a Node object nobody owns it. */
  async #readOwner(): Promise<{ readonly uid: string } | undefined> {
    const { client, nodeName } = this.#options;
    const node = await client.request('GET', `/api/v1/nodes/${encodeURIComponent(nodeName)}`, { signal: this.#closing.signal }).catch(() => undefined);
    const uid = valueAt(node, ['metadata', 'uid']);
    return typeof uid === 'string' ? { uid } : undefined;
  }

  #lease(name: string, { resourceVersion, notInEffect }: NodeReport): object {
    const { nodeName, namespace } = this.#options;
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name,
        namespace,
        labels: { 'app.kubernetes.io/name': 'onehop', 'onehop.paas.io/report': 'node' },
        annotations: { 'onehop.paas.io/resource-version': resourceVersion, 'onehop.paas.io/not-in-effect': notInEffect.join('\n') },
        ...(this.#owner === undefined ? {} : { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: this.#owner.uid }] }),
      },
      // MicroTime has six digits after the point.
      spec: { holderIdentity: nodeName, leaseDurationSeconds: LEASE_SECONDS, renewTime: new Date().toISOString().replace('Z', '000Z') },
    };
  }
}

function remedyFor({ status }: ApiError, namespace: string): string {
  switch (status) {
    case 403:
      return `allow create and patch of leases in ${namespace} for this account, and see the ValidatingAdmissionPolicy that the message names`;
    case 404:
      return `create the namespace ${namespace}, or name another with --system-namespace`;
    case 422:
      return 'see the ValidatingAdmissionPolicy that the message names: an account writes only the Lease of its own node';
    default:
      return 'it is tried again; until then this node does not count as programmed';
  }
}
