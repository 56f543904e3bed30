import type { Service } from '../model/snapshot.ts';
import { valueAt } from './field-path.ts';
import { parseService } from './parse-service.ts';

export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
export const MANAGED_BY = 'onehop-controller';
export const ACCESS_POINT_LABEL = 'onehop.paas.io/access-point';
export const ROUTE_ANNOTATION = 'onehop.paas.io/route';

/** `route`: the route's name in its own namespace; `global`: in the global namespace. */
export type AccessPointKind = 'route' | 'global';

/** What makes a Service an access point: it carries our labels and says whose it is. */
export interface AccessPointMark {
  readonly kind: AccessPointKind;
  /** `namespace/name` of the ServiceRoute. */
  readonly route: string;
}

/** A Service as the controller sees it. */
export interface ServiceState {
  readonly service: Service;
  readonly uid: string;
  readonly resourceVersion: string;
  /** Absent on Services that are not ours. */
  readonly mark?: AccessPointMark;
  readonly externalName?: string;
}

/** Parses an object of the API server; undefined when it has no usable name. */
export function parseServiceState(raw: unknown): ServiceState | undefined {
  const { object } = parseService(raw, () => undefined);
  if (object === undefined) return undefined;
  const text = (...path: string[]): string | undefined => {
    const value = valueAt(raw, path);
    return typeof value === 'string' ? value.slice(0, 300) : undefined;
  };
  const kind = text('metadata', 'labels', ACCESS_POINT_LABEL);
  const route = text('metadata', 'annotations', ROUTE_ANNOTATION);
  const isOurs = object.type === 'ExternalName' && text('metadata', 'labels', MANAGED_BY_LABEL) === MANAGED_BY;
  const externalName = text('spec', 'externalName');
  return {
    service: object,
    uid: text('metadata', 'uid') ?? '',
    resourceVersion: text('metadata', 'resourceVersion') ?? '',
    ...(isOurs && (kind === 'route' || kind === 'global') && route !== undefined ? { mark: { kind, route } } : {}),
    ...(externalName === undefined ? {} : { externalName }),
  };
}
