import { relative, sep } from 'node:path';
import { messageOf } from '../../model/coded-error.ts';
import { problem, type Problem } from '../../model/problem.ts';
import type { CheckRegexes } from '../../model/proxy.ts';
import type { Snapshot } from '../../model/snapshot.ts';
import { buildSnapshot, sayKept } from '../build-snapshot.ts';
import type { EffectiveObjects, FileContent } from '../build-snapshot.ts';
import { listFiles, unreadableProblem } from './list-files.ts';
import type { ListedFile, Listing } from './list-files.ts';
import type { ManifestParser } from './manifest-parser.ts';
import { readFileText } from './read-file-text.ts';
import { RegexVerdicts } from './regex-verdicts.ts';

interface FileState extends FileContent {
  readonly path: string;
  readonly stamp: string;
}

/** An editor that saves by deleting and writing anew is done by then; a file still gone or empty after it is meant so. */
const DOUBT_MS = 150;
/** A shell empties a file first and fills it when its command is done: `kubectl get ... > routes.yaml` takes a second or two. */
const EMPTY_DOUBT_MS = 3_000;
/** A file system's clock ticks in 1..10 ms: a second write within one tick need not change the stamp. */
const RACY_MS = 50;
const READ_AT_ONCE = 8;

export interface Scan {
  readonly snapshot: Snapshot;
  /** Whether it differs from the one before. */
  readonly changed: boolean;
  readonly listing: Listing;
  /** Something is in doubt: scan again after that time. */
  readonly againMs?: number;
}

/**
 * Keeps what a folder holds, scan by scan. Invariants:
 * - one scan at a time (the caller sees to it); a file is read only when its stamp changed;
 * - what cannot be read (file, folder, no YAML any more) keeps its last content, with a Problem that says so;
 * - a file that vanished keeps its content for {@link DOUBT_MS}, one that became empty for {@link EMPTY_DOUBT_MS};
 * - objects, and lists of them, that did not change keep their identity.
 */
export class FolderReader {
  readonly #path: string;
  readonly #parser: ManifestParser;
  readonly #regexes: RegexVerdicts;
  #files: ReadonlyMap<string, FileState> = new Map();
  readonly #doubtfulSinceMs = new Map<string, number>();
  #effective: EffectiveObjects = new Map();
  #snapshot: Snapshot | undefined;

  constructor(path: string, parser: ManifestParser, checkRegexes: CheckRegexes | undefined, onError: (error: Error) => void) {
    this.#path = path;
    this.#parser = parser;
    this.#regexes = new RegexVerdicts(checkRegexes, onError);
  }

  async scan(nowMs: number): Promise<Scan> {
    const listing = await listFiles(this.#path);
    const states: FileState[] = [];
    for (let i = 0; i < listing.files.length; i += READ_AT_ONCE) {
      states.push(...(await Promise.all(listing.files.slice(i, i + READ_AT_ONCE).map((file) => this.#readFile(file, nowMs)))));
    }
    const files = new Map(states.map((state) => [state.path, state]));
    for (const state of this.#files.values()) {
      if (files.has(state.path)) continue;
      if (isBelow(state.path, listing) || this.#isInDoubt(state.path, nowMs)) files.set(state.path, state);
      else this.#parser.forget(state.path);
    }
    for (const path of this.#doubtfulSinceMs.keys()) if (!files.has(path)) this.#doubtfulSinceMs.delete(path);
    const folderProblems = listing.unreadable.map(({ path, problem }) => ([...files.keys()].some((file) => isIn(path, file)) ? sayKept(problem) : problem));
    const snapshot = await this.#build(files, folderProblems);
    const changed = snapshot !== this.#snapshot;
    this.#snapshot = snapshot;
    return { snapshot, changed, listing, ...(this.#doubtfulSinceMs.size > 0 ? { againMs: DOUBT_MS } : {}) };
  }

  async #readFile(file: ListedFile, nowMs: number): Promise<FileState> {
    const before = this.#files.get(file.path);
    if (before?.stamp === file.stamp) {
      this.#doubtfulSinceMs.delete(file.path);
      return before;
    }
    const kept = before?.objects ?? [];
    const fails = (found: Problem, stamp: string): FileState => ({
      path: file.path,
      stamp,
      objects: kept,
      problems: [kept.length > 0 ? sayKept(found) : found],
    });
    if (file.refused !== undefined) return fails(file.refused, file.stamp);
    if (before !== undefined && kept.length > 0 && file.size === 0 && this.#isInDoubt(file.path, nowMs, EMPTY_DOUBT_MS)) return before;
    // An unsettled file is read once more by the next scan; the parser knows the same text again.
    const stamp = Math.abs(nowMs - file.modifiedMs) < RACY_MS ? 'unsettled' : file.stamp;
    let text: string;
    try {
      text = await readFileText(file.realPath);
    } catch (error) {
      // Tried again by the next scan: permissions of the folder may change without the file's stamp.
      return fails(unreadableProblem(file.path, error), 'unread');
    }
    try {
      const { objects, problems } = await this.#parser.parse(text, file.path);
      this.#doubtfulSinceMs.delete(file.path);
      if (objects !== undefined) return { path: file.path, stamp, objects, problems };
      return { path: file.path, stamp, objects: kept, problems: kept.length > 0 ? problems.map(sayKept) : problems };
    } catch (error) {
      // What ended the parser would end it again: tried once more only when the file changes.
      return fails(unparsableProblem(file.path, error), file.stamp);
    }
  }

  /** True until the file has been gone or empty for long enough to be believed. */
  #isInDoubt(path: string, nowMs: number, doubtMs = DOUBT_MS): boolean {
    const sinceMs = this.#doubtfulSinceMs.get(path) ?? nowMs;
    this.#doubtfulSinceMs.set(path, sinceMs);
    if (nowMs - sinceMs < doubtMs) return true;
    this.#doubtfulSinceMs.delete(path);
    return false;
  }

  /** The Snapshot before, the very same, when nothing changed. */
  async #build(files: ReadonlyMap<string, FileState>, folderProblems: readonly Problem[]): Promise<Snapshot> {
    const contents = [{ objects: [], problems: folderProblems }, ...[...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1))];
    const patterns = contents.flatMap(({ objects }) => objects.flatMap(({ regexes }) => (regexes ?? []).map(({ pattern }) => pattern)));
    const refused = await this.#regexes.ask(patterns);
    const { snapshot, effective } = buildSnapshot(contents, refused, this.#effective);
    this.#files = files;
    this.#effective = effective;
    return this.#snapshot === undefined ? snapshot : keepIdentity(this.#snapshot, snapshot);
  }
}

const unparsableProblem = (path: string, error: unknown): Problem =>
  problem({
    code: 'file-too-heavy',
    object: { kind: 'File', name: path },
    message: `it was given up: ${messageOf(error)}`,
    remedy: 'split it into smaller files',
    origin: { file: path },
  });

/** Whether an unreadable folder (or the file itself) hides what became of the file. */
const isBelow = (path: string, { unreadable }: Listing): boolean => unreadable.some((folder) => isIn(folder.path, path));

/** True for the folder itself and all below it, however the two are written. */
const isIn = (folder: string, path: string): boolean => relative(folder, path).split(sep)[0] !== '..';

/** `after` with the lists of `before` where they hold the same; `before` itself when all do. */
function keepIdentity(before: Snapshot, after: Snapshot): Snapshot {
  const keep = <T>(old: readonly T[], now: readonly T[]): readonly T[] => (old.length === now.length && old.every((item, i) => item === now[i]) ? old : now);
  const problems = JSON.stringify(before.problems) === JSON.stringify(after.problems) ? before.problems : after.problems;
  const kept: Snapshot = {
    serviceRoutes: keep(before.serviceRoutes, after.serviceRoutes),
    services: keep(before.services, after.services),
    endpointSlices: keep(before.endpointSlices, after.endpointSlices),
    pods: keep(before.pods, after.pods),
    nodes: keep(before.nodes, after.nodes),
    serviceAccounts: keep(before.serviceAccounts, after.serviceAccounts),
    tokenCodes: keep(before.tokenCodes, after.tokenCodes),
    problems,
  };
  return (Object.keys(kept) as (keyof Snapshot)[]).every((list) => kept[list] === before[list]) ? before : kept;
}
