import { byCodeUnit } from '../model/names.ts';
import { problem } from '../model/problem.ts';
import type { Problem } from '../model/problem.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { Kind, KindTypes, Parsed, ParsedObject } from './parsed-object.ts';
import { parsedKey } from './parsed-object.ts';
import { settleTokenCodes } from './settle-token-codes.ts';

/** What is known of one file: the objects that count, and what is wrong with the file as a whole. */
export interface FileContent {
  readonly objects: readonly ParsedObject[];
  readonly problems: readonly Problem[];
}

/** One object in effect: what was read last, and what serves. */
interface Effective {
  readonly parsed: ParsedObject;
  /** Absent: unusable, and never was usable. */
  readonly object?: KindTypes[Kind];
  readonly problems: readonly Problem[];
  /** The last content that was good: what serves when a later one is not. */
  readonly lastGood?: ParsedObject;
}

/** Everything in effect after one build, by object: passed to the next one. */
export type EffectiveObjects = ReadonlyMap<string, Effective>;

/** Pattern -> why the proxy cannot use it. */
export type RefusedRegexes = ReadonlyMap<string, string>;

/**
 * Builds the Snapshot of all files, given in the order in which they count: of two files with the same object the first
 * one wins, and the second one's is a Problem. An object that is bad now and was good before keeps its good content,
 * and its Problems say so. What has not changed since `previous` keeps its identity.
 */
export function buildSnapshot(
  files: readonly FileContent[],
  refused: RefusedRegexes,
  previous: EffectiveObjects = new Map(),
): { readonly snapshot: Snapshot; readonly effective: EffectiveObjects } {
  const effective = new Map<string, Effective>();
  const problems: Problem[] = [];
  for (const file of files) {
    const found = [...file.problems];
    for (const read of file.objects) {
      const key = parsedKey(read);
      const first = effective.get(key);
      if (first !== undefined && read.name !== '') {
        found.push(duplicate(read, first.parsed));
        continue;
      }
      const now = settle(judge(read, refused), previous.get(key), read);
      found.push(...now.problems);
      effective.set(read.name === '' ? `${key}#${effective.size}` : key, now);
    }
    problems.push(...found.sort((a, b) => (a.origin?.line ?? 0) - (b.origin?.line ?? 0)));
  }
  const listOf = <K extends Kind>(kind: K): readonly KindTypes[K][] =>
    [...effective.values()]
      .flatMap(({ parsed, object }) => (parsed.kind === kind && object !== undefined ? [object as KindTypes[K]] : []))
      .sort(byNamespaceAndName);
  const { codes, problems: shared } = settleTokenCodes(listOf('Secret'));
  const snapshot = {
    serviceRoutes: listOf('ServiceRoute'),
    services: listOf('Service'),
    endpointSlices: listOf('EndpointSlice'),
    pods: listOf('Pod'),
    nodes: listOf('Node'),
    serviceAccounts: listOf('ServiceAccount'),
    tokenCodes: codes,
    problems: [...problems, ...shared],
  };
  return { snapshot, effective };
}

/** The object without its spec, and a Problem for each, when the proxy refuses one of its regular expressions. */
export function judge(parsed: ParsedObject, refused: RefusedRegexes): ParsedObject {
  if (parsed.kind !== 'ServiceRoute' || parsed.object === undefined) return parsed;
  const bad = (parsed.regexes ?? []).filter(({ pattern }) => refused.has(pattern));
  if (bad.length === 0) return parsed;
  const { spec, ...rest } = parsed.object;
  const object = { ...rest, ...(spec?.port.listen === undefined ? {} : { listen: spec.port.listen }) };
  const found = bad.map(({ pattern, field, origin }) =>
    problem({
      code: 'regex-invalid',
      object: { kind: parsed.kind, name: parsed.name, ...(parsed.namespace === undefined ? {} : { namespace: parsed.namespace }) },
      field,
      message: `the regular expression '${pattern.slice(0, 60)}' is refused: ${refused.get(pattern) ?? ''}`,
      remedy: 'correct it (PCRE)',
      origin,
    }),
  );
  return { ...parsed, object, problems: [...parsed.problems, ...found] };
}

const isGood = (parsed: ParsedObject): boolean =>
  parsed.object !== undefined && (parsed.kind !== 'ServiceRoute' || parsed.object.spec !== undefined);

/** Decides what serves. `read` is what stands in the file, `judged` the same after the proxy has seen its regexes. */
function settle(judged: ParsedObject, before: Effective | undefined, read: ParsedObject): Effective {
  const unchanged = before?.parsed === read && sameProblems(before, judged);
  if (unchanged) return before;
  if (isGood(judged)) return { parsed: read, ...withObject(judged.object), problems: judged.problems, lastGood: judged };
  const good = before?.lastGood;
  if (good === undefined) return { parsed: read, ...withObject(judged.object), problems: judged.problems };
  return { parsed: read, ...withObject(keepGood(judged, good)), problems: judged.problems.map(sayKept), lastGood: good };
}

const withObject = (object: KindTypes[Kind] | undefined): { readonly object?: KindTypes[Kind] } => (object === undefined ? {} : { object });

/** A ServiceRoute takes its new metadata and status with its old spec; any other kind stays as it was. */
function keepGood(judged: ParsedObject, good: ParsedObject): KindTypes[Kind] | undefined {
  if (judged.kind !== 'ServiceRoute' || good.kind !== 'ServiceRoute' || judged.object === undefined) return good.object;
  const { listen: _, ...object } = judged.object;
  return { ...object, ...(good.object?.spec === undefined ? {} : { spec: good.object.spec }) };
}

/** Whether a build of the same content came to the same verdict: a regex may be refused now and not before. */
const sameProblems = (before: Effective, judged: ParsedObject): boolean => before.problems.length === judged.problems.length;

/** The Problem of something that has good content from before. */
export const sayKept = (found: Problem): Problem =>
  found.severity === 'warning' ? found : problem({ ...found, message: `${found.message}; its last good content stays in use` });

function duplicate(second: Parsed<Kind>, first: Parsed<Kind>): Problem {
  const origin = first.object?.origin ?? first.problems[0]?.origin;
  const place = origin === undefined ? 'another place' : `${origin.file}${origin.line === undefined ? '' : `:${origin.line}`}`;
  return problem({
    code: 'duplicate-object',
    object: { kind: second.kind, name: second.name, ...(second.namespace === undefined ? {} : { namespace: second.namespace }) },
    message: `the same object stands in ${place}, which comes first and counts; this one is ignored`,
    remedy: 'remove one of the two',
    origin: second.object?.origin ?? second.problems[0]?.origin,
  });
}

function byNamespaceAndName(a: KindTypes[Kind], b: KindTypes[Kind]): number {
  const [namespaceA, namespaceB] = ['namespace' in a ? a.namespace : '', 'namespace' in b ? b.namespace : ''];
  return byCodeUnit(namespaceA, namespaceB) || byCodeUnit(a.name, b.name);
}
