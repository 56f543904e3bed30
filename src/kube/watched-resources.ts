import type { Resource } from './describe-trouble.ts';
import type { Locate } from './field-path.ts';
import { parseEndpointSlice } from './parse-endpoint-slice.ts';
import { parseNode } from './parse-node.ts';
import { parsePod } from './parse-pod.ts';
import { parseServiceRoute, type ParseContext } from './parse-service-route.ts';
import { parseService } from './parse-service.ts';
import type { Kind, ParsedObject } from './parsed-object.ts';
import { PUBLISHED_CODES } from './published-codes.ts';

/** The kinds that an agent watches. */
export type WatchedKind = Exclude<Kind, 'ServiceAccount' | 'Secret'>;

export interface WatchedResource extends Resource {
  readonly kind: WatchedKind;
  readonly fieldSelector?: string;
  /** What is kept of an object. */
  readonly parse: (raw: unknown) => ParsedObject | undefined;
}

/** Where everything of Onehop's own stands, unless a pod's namespace or a flag says otherwise. */
export const DEFAULT_SYSTEM_NAMESPACE = 'onehop-system';

/** The Secret with the digests of all codes, by its name: the right to read it is for that one alone. */
export const publishedCodesResource = (systemNamespace: string): Resource & { readonly fieldSelector: string } => ({
  name: `the Secret ${PUBLISHED_CODES}`,
  path: `/api/v1/namespaces/${systemNamespace}/secrets`,
  fieldSelector: `metadata.name=${PUBLISHED_CODES}`,
  rule: `the Role onehop-agent in ${systemNamespace}`,
});

const NOWHERE: Locate = () => undefined;

/** What the agent of one node reads: its own pods, and everything else of the whole cluster. */
export const watchedResources = (nodeName: string, context: ParseContext): readonly WatchedResource[] => [
  { kind: 'ServiceRoute', name: 'serviceroutes.paas.io', path: '/apis/paas.io/v1/serviceroutes', parse: (raw) => parseServiceRoute(raw, context, NOWHERE) },
  { kind: 'Service', name: 'services', path: '/api/v1/services', parse: (raw) => parseService(raw, NOWHERE) },
  { kind: 'EndpointSlice', name: 'endpointslices.discovery.k8s.io', path: '/apis/discovery.k8s.io/v1/endpointslices', parse: (raw) => parseEndpointSlice(raw, NOWHERE) },
  { kind: 'Node', name: 'nodes', path: '/api/v1/nodes', parse: (raw) => parseNode(raw, NOWHERE) },
  { kind: 'Pod', name: 'pods', path: '/api/v1/pods', fieldSelector: `spec.nodeName=${nodeName}`, parse: (raw) => parsePod(raw, NOWHERE) },
];
