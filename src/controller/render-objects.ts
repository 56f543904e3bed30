import { createHash } from 'node:crypto';
import { PUBLISHED_CODES, renderCodes, type PublishedCodes } from '../kube/published-codes.ts';
import { ACCESS_POINT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, ROUTE_ANNOTATION } from '../kube/parse-service-state.ts';
import { printable } from '../model/problem.ts';
import type { RouteStatus } from '../model/route-status.ts';
import type { AccessPoint, Note, Target } from './observed.ts';

/*
 * Bodies of what the controller writes. A uid and a resourceVersion inside bind a write to the very object, in the very state, that it
 * was planned for: one that is late, or comes from a controller that has lost its leadership, is refused by the API server (409).
 */

/** Server-side apply of the whole status that the controller owns. */
export const renderStatus = ({ namespace, name, uid, resourceVersion }: Target, status: RouteStatus): object => ({
  apiVersion: 'paas.io/v1',
  kind: 'ServiceRoute',
  metadata: { namespace, name, uid, resourceVersion },
  status,
});

/** A new access point. */
export const renderAccessPoint = ({ namespace, name, externalName, mark }: AccessPoint): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: {
    namespace,
    name,
    labels: { 'app.kubernetes.io/name': 'onehop', [MANAGED_BY_LABEL]: MANAGED_BY, [ACCESS_POINT_LABEL]: mark.kind },
    annotations: { [ROUTE_ANNOTATION]: mark.route },
  },
  spec: { type: 'ExternalName', externalName },
});

/** Merge patch that corrects where an access point leads. */
export const renderAccessPointChange = ({ externalName }: AccessPoint, { uid, resourceVersion }: Target): object => ({
  metadata: { uid, resourceVersion },
  spec: { externalName },
});

/** Body of a DELETE that is for this object only. */
export const renderDeletion = ({ uid, resourceVersion }: Target): object => ({
  apiVersion: 'v1',
  kind: 'DeleteOptions',
  preconditions: { uid, resourceVersion },
});

/**
 * Server-side apply of the Secret with all digests, bound to the version that was read (undefined: there is none yet). A namespace that is to go
 * stays as an empty key until the next write: applied like that it is the controller's, whoever else wrote it before, and leaves with it.
 */
export const renderTokenCodes = (namespace: string, codes: PublishedCodes, published: PublishedCodes, resourceVersion: string | undefined): object => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: {
    namespace,
    name: PUBLISHED_CODES,
    labels: { 'app.kubernetes.io/name': 'onehop', 'app.kubernetes.io/component': 'controller' },
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  },
  data: Object.fromEntries([
    ...[...published].filter(([key, before]) => before.length > 0 && !codes.has(key)).map(([key]) => [key, '']),
    ...[...codes].map(([key, wanted]) => [key, Buffer.from(renderCodes(wanted)).toString('base64')]),
  ]),
});

const ROUTE = { apiVersion: 'paas.io/v1', kind: 'ServiceRoute' };

/** events.k8s.io/v1 Event about an object, by default a route. */
export function renderEvent({ namespace, name, uid, resourceVersion }: Target, { type, reason, note }: Note, identity: string, wallMs: number, about: { readonly apiVersion: string; readonly kind: string } = ROUTE): object {
  const eventTime = `${new Date(wallMs).toISOString().slice(0, -1)}000Z`;
  const digest = createHash('sha256').update([uid, reason, note, identity, eventTime].join('\n')).digest('hex').slice(0, 16);
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { namespace, name: `${name}.${digest}` },
    eventTime,
    reportingController: 'paas.io/onehop-controller',
    reportingInstance: printable(identity, 128),
    action: 'Reconcile',
    regarding: { ...about, namespace, name, uid, resourceVersion },
    type,
    reason,
    note: printable(note, 1_000),
  };
}
