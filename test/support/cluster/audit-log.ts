import { readFile } from 'node:fs/promises';

/** What the accounts of Onehop asked of an API server: every request, without its body (level Metadata). */
export interface AuditedRequest {
  /** `system:serviceaccount:onehop-system:onehop-agent`, for example. */
  readonly user: string;
  /** RBAC's: get, list, watch, create, update, patch, delete. */
  readonly verb: string;
  /** With its group and subresource as RBAC names them: `services`, `serviceroutes.paas.io/status`; of no resource, the path. */
  readonly resource: string;
  /** Empty: of the whole cluster. */
  readonly namespace: string;
  readonly name: string;
  /** Of the answer. */
  readonly status: number;
  /** When it was received. */
  readonly at: Date;
}

/** In every lab: it costs a line for each request of these accounts. */
export const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [
    { level: 'Metadata', userGroups: ['system:serviceaccounts:onehop-system', 'onehop:nodes'] },
    { level: 'None' },
  ],
};

/** Reads the whole log, the oldest first. A watch counts from its start on. */
export async function readAuditLog(path: string): Promise<readonly AuditedRequest[]> {
  const lines = (await readFile(path, 'utf8')).split('\n');
  // The last line may still be in writing.
  const events = lines.slice(0, -1).map((line) => JSON.parse(line) as AuditEvent);
  return [...new Map(events.map((event) => [event.auditID, event])).values()].map(toRequest);
}

interface AuditEvent {
  readonly auditID: string;
  readonly user: { readonly username: string };
  readonly verb: string;
  readonly requestURI: string;
  readonly objectRef?: { readonly resource: string; readonly subresource?: string; readonly apiGroup?: string; readonly namespace?: string; readonly name?: string };
  readonly responseStatus?: { readonly code: number };
  readonly requestReceivedTimestamp: string;
}

function toRequest({ user, verb, requestURI, objectRef, responseStatus, requestReceivedTimestamp }: AuditEvent): AuditedRequest {
  const { resource, subresource, apiGroup, namespace = '', name = '' } = objectRef ?? { resource: requestURI.split('?')[0] ?? '' };
  const full = `${resource}${apiGroup === undefined || apiGroup === '' ? '' : `.${apiGroup}`}${subresource === undefined ? '' : `/${subresource}`}`;
  return { user: user.username, verb, resource: full, namespace, name, status: responseStatus?.code ?? 0, at: new Date(requestReceivedTimestamp) };
}
