import { problem } from '../model/problem.ts';
import type { Problem } from '../model/problem.ts';
import { isRecord } from './field-path.ts';
import type { Locate } from './field-path.ts';
import { parseCallerCode } from './parse-caller-code.ts';
import { parseEndpointSlice } from './parse-endpoint-slice.ts';
import { parseNode } from './parse-node.ts';
import { parsePod } from './parse-pod.ts';
import { parseServiceAccount } from './parse-service-account.ts';
import { parseServiceRoute } from './parse-service-route.ts';
import type { ParseContext } from './parse-service-route.ts';
import { parseService } from './parse-service.ts';
import type { ParsedObject } from './parsed-object.ts';

type Parser = (raw: unknown, context: ParseContext, locate: Locate) => ParsedObject | undefined;

/** By apiVersion too: a Service of serving.knative.dev is no Service. */
const PARSERS: ReadonlyMap<string, Parser> = new Map<string, Parser>([
  ['paas.io/v1 ServiceRoute', parseServiceRoute],
  ['v1 Service', (raw, _, locate) => parseService(raw, locate)],
  ['discovery.k8s.io/v1 EndpointSlice', (raw, _, locate) => parseEndpointSlice(raw, locate)],
  ['v1 Pod', (raw, _, locate) => parsePod(raw, locate)],
  ['v1 Node', (raw, _, locate) => parseNode(raw, locate)],
  ['v1 ServiceAccount', (raw, _, locate) => parseServiceAccount(raw, locate)],
  ['v1 Secret', (raw, _, locate) => parseCallerCode(raw, locate)],
]);

/** Older or misspelt versions of the two kinds that have had several: said, where any other unknown kind is passed over. */
const EXPECTED_VERSION: ReadonlyMap<unknown, string> = new Map([
  ['ServiceRoute', 'paas.io/v1'],
  ['EndpointSlice', 'discovery.k8s.io/v1'],
]);

export interface ObjectsAndProblems {
  readonly objects: readonly ParsedObject[];
  /** About what is no object at all. */
  readonly problems: readonly Problem[];
}

/**
 * Parses one document: an object of a kind that matters, or a List of them. Other kinds are passed over in silence,
 * and so is an empty document; a document that is no object is a Problem.
 */
export function parseObject(raw: unknown, context: ParseContext, locate: Locate): ObjectsAndProblems {
  if (raw === null || raw === undefined) return { objects: [], problems: [] };
  if (!isRecord(raw) || typeof raw['kind'] !== 'string' || typeof raw['apiVersion'] !== 'string') {
    return { objects: [], problems: [notAnObject(locate, 'this is no Kubernetes object', 'begin it with apiVersion and kind')] };
  }
  const { kind, apiVersion } = raw;
  if (kind === 'List' || (kind.endsWith('List') && Array.isArray(raw['items']))) return parseList(raw, context, locate);
  const parsed = PARSERS.get(`${apiVersion} ${kind}`)?.(raw, context, locate);
  if (parsed !== undefined) return { objects: [parsed], problems: [] };
  if (apiVersion.startsWith('paas.io/') && kind !== 'ServiceRoute') {
    return { objects: [], problems: [notAnObject(locate, `there is no kind '${kind.slice(0, 60)}' in ${apiVersion.slice(0, 60)}`, 'set kind to ServiceRoute')] };
  }
  const expected = EXPECTED_VERSION.get(kind);
  const problems =
    expected === undefined || expected === apiVersion
      ? []
      : [notAnObject(locate, `${kind} of ${apiVersion} is not read`, `set apiVersion to ${expected}`)];
  return { objects: [], problems };
}

function parseList(raw: Readonly<Record<string, unknown>>, context: ParseContext, locate: Locate): ObjectsAndProblems {
  const items = Array.isArray(raw['items']) ? (raw['items'] as readonly unknown[]) : [];
  // The items of a typed list (ServiceRouteList) need not repeat their kind.
  const inherited = raw['kind'] === 'List' ? {} : { apiVersion: raw['apiVersion'], kind: String(raw['kind']).slice(0, -'List'.length) };
  const parts = items.map((item, i) => {
    const kind = isRecord(item) ? (item['kind'] ?? inherited.kind) : undefined;
    const locateItem: Locate = (path) => locate(['items', i, ...path]);
    if (typeof kind === 'string' && kind.endsWith('List')) return { objects: [], problems: [notAnObject(locateItem, 'a List inside a List is not read', 'write its items beside the others')] };
    return parseObject(isRecord(item) ? { ...inherited, ...item } : (item ?? 'null'), context, locateItem);
  });
  return { objects: parts.flatMap(({ objects }) => objects), problems: parts.flatMap(({ problems }) => problems) };
}

function notAnObject(locate: Locate, message: string, remedy: string): Problem {
  const origin = locate([]);
  return problem({ code: 'object-unreadable', object: { kind: 'File', name: origin?.file ?? '' }, message, remedy, origin });
}
