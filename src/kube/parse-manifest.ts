import { hash } from 'node:crypto';
import { isMap, isScalar, isSeq, LineCounter, parseAllDocuments, visit } from 'yaml';
import type { Document, ParsedNode } from 'yaml';
import { problem } from '../model/problem.ts';
import type { Origin, Problem } from '../model/problem.ts';
import type { FieldPath, Locate } from './field-path.ts';
import { findBareBooleans } from './find-bare-booleans.ts';
import { parseObject } from './parse-object.ts';
import type { ObjectsAndProblems } from './parse-object.ts';
import type { ParseContext } from './parse-service-route.ts';
import { TOKEN_LABEL } from './parse-token-secret.ts';
import type { ParsedObject } from './parsed-object.ts';
import { splitDocuments } from './split-documents.ts';
import type { Chunk } from './split-documents.ts';

/** What a file holds. Undefined `objects`: it is not YAML (or JSON) any more, and `problems` says where. */
export interface Manifest {
  readonly objects?: readonly ParsedObject[];
  readonly problems: readonly Problem[];
}

/** A parsed document: with lines counted from its own first line, and as it stood in the file. */
interface CachedDocument {
  readonly part: ObjectsAndProblems;
  readonly line: number;
  readonly placed: ObjectsAndProblems;
}

/** Results of the documents of one file by the digest of their text (which may hold a code and is not kept), so that an edit costs only the documents that it changed. */
export type DocumentCache = ReadonlyMap<string, CachedDocument>;

/** Nesting and size of what one file may hold; more makes it unreadable. */
const MAX_DEPTH = 64;
const MAX_OBJECTS = 20_000;
/** About what is no object, per file; objects bound their own. */
const MAX_PROBLEMS = 100;

/**
 * Parses the text of one file: YAML with any number of documents, or JSON (`.json`).
 * One document that is not valid makes the whole file unreadable. `file` stands in every Problem and origin.
 * @returns the manifest, and the cache to pass with the file's next content (its entries are those of this text only)
 */
export function parseManifest(
  text: string,
  file: string,
  context: ParseContext,
  cache: DocumentCache = new Map(),
): { readonly manifest: Manifest; readonly cache: DocumentCache } {
  const used = new Map<string, CachedDocument>();
  const parts: ObjectsAndProblems[] = [];
  try {
    const chunks = file.endsWith('.json') ? [{ text, line: 1 }] : splitDocuments(text);
    if (chunks.length > MAX_OBJECTS) throw new UnreadableError(`it holds ${chunks.length} documents, more than ${MAX_OBJECTS}`, 1);
    for (const chunk of chunks) {
      const key = hash('sha256', chunk.text, 'base64');
      const known = used.get(key) ?? cache.get(key);
      const part = known?.part ?? (file.endsWith('.json') ? parseJson(chunk.text, file, context) : parseYaml(chunk, file, context));
      const placed = known?.line === chunk.line ? known.placed : moveLines(part, chunk.line - 1);
      used.set(key, { part, line: chunk.line, placed });
      parts.push(placed);
    }
    const objects = parts.flatMap((part) => part.objects);
    if (objects.length > MAX_OBJECTS) throw new UnreadableError(`it holds ${objects.length} objects, more than ${MAX_OBJECTS}`, 1);
    return { manifest: { objects, problems: parts.flatMap((part) => part.problems).slice(0, MAX_PROBLEMS) }, cache: used };
  } catch (error) {
    if (!(error instanceof UnreadableError)) throw error;
    return { manifest: { problems: [unreadable(file, text.includes(TOKEN_LABEL) ? withoutQuotes(error) : error)] }, cache };
  }
}

class UnreadableError extends Error {
  readonly line: number | undefined;
  constructor(message: string, line?: number) {
    super(message);
    this.line = line;
  }
}

/** Parsers quote the text around a fault, which may be part of a code. */
const withoutQuotes = (error: UnreadableError): UnreadableError => new UnreadableError('what is wrong is not shown, since the file holds the code of a caller', error.line);

const unreadable = (file: string, error: UnreadableError): Problem =>
  problem({
    code: 'file-unreadable',
    object: { kind: 'File', name: file },
    message: `not valid ${file.endsWith('.json') ? 'JSON' : 'YAML'}: ${error.message}`,
    remedy: 'correct the file: one bad document makes all of it unreadable',
    origin: { file, ...(error.line === undefined ? {} : { line: error.line }) },
  });

/** Lines of the result count from the chunk's first line, which is 1. */
function parseYaml(chunk: Chunk, file: string, context: ParseContext): ObjectsAndProblems {
  const lines = new LineCounter();
  const documents = parseYamlDocuments(chunk, lines);
  const parts = documents.map((document) => {
    const locate: Locate = (path) => ({ file, line: lines.linePos(offsetAt(document, path)).line });
    const value = toValue(document, chunk.line);
    checkIsObject(value, lines.linePos(document.contents?.range[0] ?? document.range[0]).line + chunk.line - 1);
    const part = parseObject(value, context, locate);
    const bare = findBareBooleans(document, part.objects, (offset) => ({ file, line: lines.linePos(offset).line }));
    return { objects: part.objects, problems: [...part.problems, ...bare] };
  });
  return { objects: parts.flatMap(({ objects }) => objects), problems: parts.flatMap(({ problems }) => problems) };
}

function parseYamlDocuments(chunk: Chunk, lines: LineCounter): readonly Document.Parsed[] {
  let documents: readonly Document.Parsed[];
  try {
    // YAML 1.2 as the file's version, with 1.1's merge keys, which kubectl knows too.
    documents = [...parseAllDocuments(chunk.text, { lineCounter: lines, merge: true, uniqueKeys: false, prettyErrors: false, logLevel: 'silent' })];
  } catch (error) {
    throw new UnreadableError(reasonOf(error), chunk.line);
  }
  for (const document of documents) {
    const [first] = document.errors;
    if (first === undefined) {
      const twice = findDuplicateKey(document);
      if (twice !== undefined) throw new UnreadableError(`the key '${twice.key}' stands twice`, lines.linePos(twice.offset).line + chunk.line - 1);
      continue;
    }
    // What is never closed is found missing after the end: the last line with text is nearer to it.
    const lastLine = chunk.text.trimEnd().split('\n').length;
    throw new UnreadableError(reasonOf(first), Math.min(lines.linePos(first.pos[0]).line, lastLine) + chunk.line - 1);
  }
  return documents;
}

function toValue(document: Document.Parsed, line: number): unknown {
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    // Aliases that would expand without end, or nesting deeper than the stack.
    throw new UnreadableError(reasonOf(error), line);
  }
  checkDepth(value, line);
  return value;
}

/** JSON.parse is a hundred times as fast as YAML; places are looked up only for what has problems. */
function parseJson(text: string, file: string, context: ParseContext): ObjectsAndProblems {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw new UnreadableError(reasonOf(error), findJsonError(text, reasonOf(error)));
  }
  checkDepth(value, undefined);
  checkIsObject(value, 1);
  let tree: { readonly document: Document.Parsed | undefined; readonly lines: LineCounter } | undefined;
  return parseObject(value, context, (path) => {
    if (path.length === 0 || (path.length === 2 && path[0] === 'items')) return { file };
    if (tree === undefined) {
      const lines = new LineCounter();
      tree = { document: [...parseAllDocuments(text, { lineCounter: lines, logLevel: 'silent', uniqueKeys: false })][0], lines };
    }
    return tree.document === undefined ? { file } : { file, line: tree.lines.linePos(offsetAt(tree.document, path)).line };
  });
}

/**
 * The first key that stands twice in one mapping. The library's own check compares each key with each other one: a file of
 * 4 MiB could hold it up for minutes.
 */
function findDuplicateKey(document: Document.Parsed): { readonly key: string; readonly offset: number } | undefined {
  let found: { readonly key: string; readonly offset: number } | undefined;
  visit(document, {
    Map: (_, { items }) => {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key) || key.value === '<<') continue;
        if (seen.has(key.value)) found ??= { key: String(key.value).slice(0, 80), offset: key.range?.[0] ?? 0 };
        seen.add(key.value);
      }
      return found === undefined ? undefined : visit.BREAK;
    },
  });
  return found;
}

/** Not every message of JSON.parse has a position; what YAML cannot read either has a line there. */
function findJsonError(text: string, message: string): number | undefined {
  const position = /position ([0-9]+)/.exec(message)?.[1];
  if (position !== undefined) return text.slice(0, Number(position)).split('\n').length;
  const lines = new LineCounter();
  const [first] = [...parseAllDocuments(text, { lineCounter: lines, logLevel: 'silent' })].flatMap(({ errors }) => errors);
  return first === undefined ? undefined : lines.linePos(first.pos[0]).line;
}

/** A full stack says nothing to a reader: what fills it is nesting. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.includes('call stack') ? 'it is nested too deeply' : message;
}

/** Almost any text is a scalar of YAML: an error page that was saved in the place of a file, or what a disk lost. */
function checkIsObject(value: unknown, line: number): void {
  if (value !== null && (typeof value !== 'object' || Array.isArray(value))) throw new UnreadableError('it is a text or a list, and no object', line);
}

/** Bounds nesting before anything walks the value: what follows may recurse. */
function checkDepth(value: unknown, line: number | undefined, depth = 0): void {
  if (depth > MAX_DEPTH) throw new UnreadableError(`it is nested more than ${MAX_DEPTH} deep`, line);
  if (typeof value !== 'object' || value === null) return;
  for (const inner of Array.isArray(value) ? (value as readonly unknown[]) : Object.values(value)) checkDepth(inner, line, depth + 1);
}

/** Offset of the key (or list item) at `path`, or of its nearest parent that is there. */
function offsetAt(document: Document.Parsed, path: FieldPath): number {
  let node: unknown = document.contents;
  let offset = document.contents?.range[0] ?? document.range[0];
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step));
      if (pair === undefined) break;
      offset = (pair.key as ParsedNode).range[0];
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number') {
      const item = node.items[step] as ParsedNode | undefined;
      if (item === undefined) break;
      offset = item.range[0];
      node = item;
    } else break;
  }
  return offset;
}

const moveOrigin = (origin: Origin, by: number): Origin => (origin.line === undefined ? origin : { file: origin.file, line: origin.line + by });

const move = <T extends { readonly origin?: Origin }>(placed: T, by: number): T =>
  placed.origin === undefined ? placed : { ...placed, origin: moveOrigin(placed.origin, by) };

/** The same result further down the file. */
function moveLines(part: ObjectsAndProblems, by: number): ObjectsAndProblems {
  if (by === 0) return part;
  return {
    objects: part.objects.map((parsed) => moveObject(parsed, by)),
    problems: part.problems.map((found) => move(found, by)),
  };
}

function moveObject<T extends ParsedObject>(parsed: T, by: number): T {
  return {
    ...parsed,
    ...(parsed.object === undefined ? {} : { object: move(parsed.object, by) }),
    problems: parsed.problems.map((found) => move(found, by)),
    ...(parsed.regexes === undefined ? {} : { regexes: parsed.regexes.map((site) => move(site, by)) }),
  };
}
