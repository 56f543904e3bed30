import type { Origin, Problem } from '../model/problem.ts';
import type { ServiceRoute } from '../model/service-route.ts';
import type { EndpointSlice, Node, Pod, Service, ServiceAccount } from '../model/snapshot.ts';
import type { TokenCode } from '../model/token.ts';

/** A Secret with the code of a caller; the code itself is not kept. */
export interface CallerCode {
  readonly namespace: string;
  readonly name: string;
  readonly code: TokenCode;
  readonly origin?: Origin;
}

/** The kinds that are read, and what each becomes. */
export interface KindTypes {
  readonly ServiceRoute: ServiceRoute;
  readonly Service: Service;
  readonly EndpointSlice: EndpointSlice;
  readonly Pod: Pod;
  readonly Node: Node;
  readonly ServiceAccount: ServiceAccount;
  /** Of folders only: agents of a cluster may read no Secrets. */
  readonly Secret: CallerCode;
}

export type Kind = keyof KindTypes;

/** A regular expression of a Header route, and where it stands: HAProxy itself says later whether it compiles. */
export interface RegexSite {
  readonly pattern: string;
  readonly field: string;
  readonly origin?: Origin;
}

/**
 * One object as parsed. Without `object` it cannot be used (its name or a field it cannot do without is bad);
 * a ServiceRoute with a bad spec has an `object` without `spec`.
 */
export interface Parsed<K extends Kind> {
  readonly kind: K;
  /** Absent for Nodes. */
  readonly namespace?: string;
  readonly name: string;
  readonly object?: KindTypes[K];
  readonly problems: readonly Problem[];
  /** Of a ServiceRoute with a good spec. */
  readonly regexes?: readonly RegexSite[];
}

export type ParsedObject = { [K in Kind]: Parsed<K> }[Kind];

/** The same for every reading of one object, whatever file holds it. */
export const parsedKey = ({ kind, namespace, name }: Pick<ParsedObject, 'kind' | 'namespace' | 'name'>): string =>
  `${kind} ${namespace ?? ''}/${name}`;
