import type { CheckRegexes } from '../../model/proxy.ts';
import type { Snapshot } from '../../model/snapshot.ts';
import type { Problem } from '../../model/problem.ts';
import { buildSnapshot } from '../build-snapshot.ts';
import type { FileContent } from '../build-snapshot.ts';
import { parseManifest } from '../parse-manifest.ts';
import type { ParseContext } from '../parse-service-route.ts';
import { listFiles, unreadableProblem } from './list-files.ts';
import type { ListedFile } from './list-files.ts';
import { readRouteSchema } from './read-crd.ts';
import { readFileText } from './read-file-text.ts';

export interface ReadOptions {
  readonly globalNamespace: string;
  /** Asked once for all patterns; without it regular expressions are not compiled. */
  readonly checkRegexes?: CheckRegexes;
}

/**
 * Reads a folder of Kubernetes YAML (or one file) once. Whatever cannot be read is among the snapshot's problems.
 * @throws Error only when the CRD of this installation cannot be read, or `checkRegexes` rejects
 */
export const readFolder = (path: string, options: ReadOptions): Promise<Snapshot> => readPaths([path], options);

/**
 * Reads files and folders as one set of objects, as `onehop validate PATH...` does: the first of two objects with one name
 * counts. `objects` is how many count; references between objects are checked on `snapshot` by `routing`.
 */
export async function validatePaths(
  paths: readonly string[],
  options: ReadOptions,
): Promise<{ readonly objects: number; readonly problems: readonly Problem[]; readonly snapshot: Snapshot }> {
  const snapshot = await readPaths(paths, options);
  const { problems, ...lists } = snapshot;
  return { objects: Object.values(lists).reduce((sum, list) => sum + list.length, 0), problems, snapshot };
}

async function readPaths(paths: readonly string[], { globalNamespace, checkRegexes }: ReadOptions): Promise<Snapshot> {
  const context: ParseContext = { schema: await readRouteSchema(), globalNamespace };
  const contents: FileContent[] = [];
  const seen = new Set<string>();
  for (const path of paths) {
    const { files, unreadable } = await listFiles(path);
    contents.push({ objects: [], problems: unreadable.map(({ problem }) => problem) });
    for (const file of files) {
      // A file named beside its folder is read once.
      if (!seen.has(file.realPath)) contents.push(await readContent(file, context));
      seen.add(file.realPath);
    }
  }
  const patterns = new Set(contents.flatMap(({ objects }) => objects.flatMap(({ regexes }) => (regexes ?? []).map(({ pattern }) => pattern))));
  const refused = patterns.size === 0 ? undefined : await checkRegexes?.([...patterns]);
  return buildSnapshot(contents, refused ?? new Map()).snapshot;
}

async function readContent(file: ListedFile, context: ParseContext): Promise<FileContent> {
  if (file.refused !== undefined) return { objects: [], problems: [file.refused] };
  try {
    const { objects, problems } = parseManifest(await readFileText(file.realPath), file.path, context).manifest;
    return { objects: objects ?? [], problems };
  } catch (error) {
    return { objects: [], problems: [unreadableProblem(file.path, error)] };
  }
}
