import type { AccessPoint, ControllerOptions, NodeReport, Observed, RefusedPoint, Step } from '../../src/controller/observed.ts';
import { planChanges } from '../../src/controller/plan-changes.ts';
import { parseLedger, renderLedger } from '../../src/routing/ledger-text.ts';
import type { RouteState } from '../../src/kube/parse-route-state.ts';
import type { ServiceState } from '../../src/kube/parse-service-state.ts';
import { objectKey } from '../../src/model/names.ts';
import { problem } from '../../src/model/problem.ts';
import type { RouteSpec } from '../../src/model/service-route.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';
import type { VipRecords } from '../../src/routing/assign-vips.ts';
import { service, serviceRoute, spec } from './objects.ts';

export const OPTIONS: ControllerOptions = { pool: parseVipPool('169.254.192.0/22'), zone: 'route.internal', globalNamespace: 'global', httpPort: 80 };

/**
 * What an API server does to the controller's objects, as far as plans can tell: versions count up, a write is refused when it was
 * planned for another version of the object. For tables and properties of plans; real API servers are in test/cluster.
 */
export class ControllerWorld {
  readonly routes = new Map<string, RouteState>();
  readonly services = new Map<string, ServiceState>();
  readonly refusedPoints = new Map<string, RefusedPoint>();
  records: VipRecords = new Map();
  reports: readonly NodeReport[] = [];
  nowMs = 0;
  options: ControllerOptions = OPTIONS;
  #version = 100;

  /** Creates a route, or changes its spec (null: to an invalid one). */
  setRoute(key: string, over: Partial<RouteSpec> | null = {}): void {
    const before = this.routes.get(key);
    const { namespace, name } = serviceRoute(key);
    const createdAtMs = before?.route?.createdAtMs ?? this.nowMs;
    const status = before?.status ?? { conditions: [] };
    const parsed = { namespace, name, createdAtMs, status: { ...(status.vip === undefined ? {} : { vip: status.vip }), ...(status.globalVip === undefined ? {} : { globalVip: status.globalVip }) } };
    const bad = problem({ code: 'spec-invalid', object: { kind: 'ServiceRoute', namespace, name }, field: 'spec.to', message: 'it is empty', remedy: 'name a Service' });
    this.routes.set(key, {
      namespace,
      name,
      uid: before?.uid ?? `uid-${this.#next()}`,
      generation: (before?.generation ?? 0) + 1,
      resourceVersion: this.#next(),
      route: over === null ? parsed : { ...parsed, spec: spec(over) },
      problems: over === null ? [bad] : [],
      status,
    });
  }

  deleteRoute(key: string): void {
    if (this.routes.delete(key)) this.#next();
  }

  setForeignService(key: string, over: Parameters<typeof service>[2] = {}): void {
    this.services.set(key, { service: service(key, [{ port: 80 }], over), uid: `uid-${this.#next()}`, resourceVersion: this.#next() });
  }

  /** Every live node reports what is in effect now. */
  report(nodes: readonly string[], notInEffect: Readonly<Record<string, string>> = {}): void {
    this.reports = nodes.map((node) => ({ node, version: this.version, notInEffect: new Map(Object.entries(notInEffect)), live: true, renewedAtMs: this.nowMs }));
  }

  get version(): string {
    return String(this.#version);
  }

  observe(): Observed {
    return {
      routes: [...this.routes.values()],
      routesVersion: this.version,
      services: new Map(this.services),
      reports: this.reports,
      taintedNodes: [],
      records: this.records,
      refusedPoints: new Map(this.refusedPoints),
    };
  }

  plan(): readonly Step[] {
    return planChanges(this.observe(), this.options, this.nowMs);
  }

  /** Plans and applies until nothing is left; the plans that took. */
  settle(): readonly (readonly Step[])[] {
    const plans: (readonly Step[])[] = [];
    for (let steps = this.plan(); steps.length > 0; steps = this.plan()) {
      plans.push(steps);
      if (plans.length > 20) throw new Error(`plans never end: ${JSON.stringify(steps)}`);
      for (const step of steps) this.apply(step);
    }
    return plans;
  }

  /** False: the API server refused it, the object is another one by now. */
  apply(step: Step): boolean {
    switch (step.kind) {
      case 'write-ledger':
        // Through its text, as in the ConfigMap.
        this.records = parseLedger(renderLedger(step.records), this.records);
        return true;
      case 'write-status': {
        const key = objectKey(step.target);
        const state = this.routes.get(key);
        if (state === undefined || state.uid !== step.target.uid || state.resourceVersion !== step.target.resourceVersion) return false;
        const { vip, globalVip } = step.status;
        const addresses = { ...(vip === undefined ? {} : { vip }), ...(globalVip === undefined ? {} : { globalVip }) };
        this.routes.set(key, { ...state, ...(state.route === undefined ? {} : { route: { ...state.route, status: addresses } }), status: step.status, resourceVersion: this.#next() });
        return true;
      }
      case 'create-access-point':
        if (this.services.has(objectKey(step.point))) return false;
        this.services.set(objectKey(step.point), this.#accessPoint(step.point));
        return true;
      case 'update-access-point':
      case 'delete-access-point': {
        const key = objectKey(step.target);
        if (this.services.get(key)?.resourceVersion !== step.target.resourceVersion) return false;
        this.services.delete(key);
        this.#next();
        if (step.kind === 'update-access-point') this.services.set(key, this.#accessPoint(step.point));
        return true;
      }
      case 'remove-taint':
        return true;
    }
  }

  #accessPoint(point: AccessPoint): ServiceState {
    const made = service(`${point.namespace}/${point.name}`, [], { type: 'ExternalName' });
    return { service: made, uid: `uid-${this.#next()}`, resourceVersion: this.#next(), mark: point.mark, externalName: point.externalName };
  }

  #next(): string {
    return String(++this.#version);
  }
}
