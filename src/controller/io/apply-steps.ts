import { ApiError } from '../../kube/api-error.ts';
import { objectKey } from '../../model/names.ts';
import { printable } from '../../model/problem.ts';
import type { Step, Target } from '../observed.ts';
import { renderAccessPoint, renderAccessPointChange, renderDeletion, renderEvent, renderStatus } from '../render-objects.ts';
import { TokenBucket } from '../../daemon/token-bucket.ts';
import type { ClusterView } from './cluster-view.ts';
import { GuardedWriter, isRefusal, NotLeader } from './guarded-writer.ts';
import type { LedgerStore } from './ledger-store.ts';

/** Writes at once. More would only queue in the API server's priority level for this account. */
export const CONCURRENCY = 8;
/** Events are for people: a crowd of broken routes must not fill etcd. */
const EVENTS = { burst: 50, perSecond: 5 };

export interface ApplyContext {
  readonly writer: GuardedWriter;
  readonly ledger: LedgerStore;
  readonly view: ClusterView;
  readonly identity: string;
  readonly onRefused: (step: Step, error: ApiError) => void;
}

/** Writes the steps of plans. */
export class StepApplier {
  readonly #context: ApplyContext;
  readonly #events = new TokenBucket(EVENTS, performance.now());
  #eventsDropped = 0;

  constructor(context: ApplyContext) {
    this.#context = context;
  }

  get eventsDropped(): number {
    return this.#eventsDropped;
  }

  /**
   * Applies all steps, some at a time; resolves with how many were done. Once `signal` is aborted none is begun. A conflict is no failure: the object changed, and the next plan
   * is made of what it is now. A refusal concerns one object, and is reported.
   * @throws the first failure of another kind (no connection, overload, leadership lost), when all that could be done is done
   */
  async apply(steps: readonly Step[], signal: AbortSignal): Promise<number> {
    const queue = steps[Symbol.iterator]();
    let done = 0;
    let failure: unknown;
    const work = async (): Promise<void> => {
      for (const step of queue) {
        if (signal.aborted) return;
        try {
          await this.#applyOne(step);
          done++;
        } catch (error) {
          if (error instanceof NotLeader || !(error instanceof ApiError)) {
            failure ??= error;
            return;
          }
          if (isRefusal(error)) this.#refused(step, error);
          else if (error.status === 409) this.#changed(step, error);
          else {
            failure ??= error;
            return;
          }
        }
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, work));
    if (failure !== undefined) throw failure;
    return done;
  }

  async #applyOne(step: Step): Promise<void> {
    const { writer, ledger, view } = this.#context;
    switch (step.kind) {
      case 'write-ledger':
        return ledger.write(step.records);
      case 'write-status': {
        const { target, status } = step;
        const path = `/apis/paas.io/v1/namespaces/${target.namespace}/serviceroutes/${target.name}/status`;
        const query = { fieldManager: 'onehop-controller', force: true };
        view.wroteRoute(await writer.write('status', 'PATCH', path, { query, body: renderStatus(target, status), contentType: 'application/apply-patch+yaml' }));
        for (const note of step.notes) await this.#emit(target, note);
        return;
      }
      case 'create-access-point': {
        const body = renderAccessPoint(step.point);
        view.wroteService(await writer.write('access-point', 'POST', `/api/v1/namespaces/${step.point.namespace}/services`, { query: { fieldManager: 'onehop-controller' }, body }));
        return;
      }
      case 'update-access-point': {
        const body = renderAccessPointChange(step.point, step.target);
        view.wroteService(await writer.write('access-point', 'PATCH', servicePath(step.target), { query: { fieldManager: 'onehop-controller' }, body, contentType: 'application/merge-patch+json' }));
        return;
      }
      case 'delete-access-point':
        await writer.write('access-point', 'DELETE', servicePath(step.target), { body: renderDeletion(step.target) });
        view.removedService(step.target);
        return;
      case 'remove-taint': {
        const { name, resourceVersion } = step.node;
        const body = { metadata: { resourceVersion }, spec: { taints: step.taints } };
        await writer.write('node', 'PATCH', `/api/v1/nodes/${name}`, { body, contentType: 'application/merge-patch+json' });
      }
    }
  }

  /** An Event that cannot be written is not worth a second try. */
  async #emit(target: Target, note: Extract<Step, { kind: 'write-status' }>['notes'][number]): Promise<void> {
    const { writer, identity } = this.#context;
    if (!this.#events.take(performance.now())) {
      this.#eventsDropped++;
      return;
    }
    const body = renderEvent(target, note, identity, Date.now());
    await writer.write('event', 'POST', `/apis/events.k8s.io/v1/namespaces/${target.namespace}/events`, { body }).catch(() => {
      this.#eventsDropped++;
    });
  }

  #refused(step: Step, error: ApiError): void {
    // Gone meanwhile: the watch says so in a moment.
    if (error.status === 404 && step.kind !== 'create-access-point' && step.kind !== 'write-ledger') return;
    if (step.kind === 'create-access-point' || step.kind === 'update-access-point') this.#context.view.refusedPoint(objectKey(step.point), printable(error.message, 300));
    this.#context.onRefused(step, error);
  }

  /** A new Service that is there already: its watch is behind, or the name is being taken by others; said only if that lasts. */
  #changed(step: Step, error: ApiError): void {
    if (step.kind === 'create-access-point') this.#context.view.refusedPoint(objectKey(step.point), printable(error.message, 300));
  }
}

const servicePath = ({ namespace, name }: Target): string => `/api/v1/namespaces/${namespace}/services/${name}`;
