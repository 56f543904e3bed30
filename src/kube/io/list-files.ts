import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import type { Stats } from 'node:fs';
import { byCodeUnit } from '../../model/names.ts';
import { problem } from '../../model/problem.ts';
import type { Problem } from '../../model/problem.ts';

/** Largest file that is read: a ServiceRoute has at most a few KB, a thousand slices of ten endpoints 2 MB. */
export const MAX_FILE_BYTES = 4 * 1024 * 1024;
const MAX_FILES = 10_000;
const MAX_DEPTH = 16;
const STATS_AT_ONCE = 32;

const isManifest = (path: string): boolean => /\.(?:ya?ml|json)$/.test(path);

/** One file of the folder. With `refused` it must not be read, for that reason. */
export interface ListedFile {
  /** Path as people see it: the folder as it was given, and the way inside it. */
  readonly path: string;
  /** Where its bytes are, links resolved; always inside the folder. */
  readonly realPath: string;
  /** Changes whenever the content may have changed. */
  readonly stamp: string;
  readonly modifiedMs: number;
  readonly size: number;
  readonly refused?: Problem;
}

export interface Listing {
  /** Sorted by path (code units). */
  readonly files: readonly ListedFile[];
  /** Every folder that was read: identity (device and inode) -> path. What is watched. */
  readonly folders: ReadonlyMap<string, string>;
  /** Folders that could not be read: what was below them is unknown, not gone. */
  readonly unreadable: readonly { readonly path: string; readonly problem: Problem }[];
}

/**
 * Lists the manifests under `root` (or `root` itself when it is a file): `.yaml`, `.yml`, `.json`, at any depth.
 * Hidden names are passed over, and with them editors' swap files and the `..data` of a ConfigMap volume, whose files are
 * reached by their links. Links count when they resolve inside the folder. Never throws.
 */
export async function listFiles(root: string): Promise<Listing> {
  const files = new Map<string, ListedFile>();
  const known = new Set<string>();
  const folders = new Map<string, string>();
  const unreadable: { path: string; problem: Problem }[] = [];

  const walk = async (folder: string, realFolder: string, depth: number): Promise<void> => {
    const { dev, ino } = await stat(realFolder);
    const identity = `${dev}:${ino}`;
    if (folders.has(identity)) return;
    if (depth > MAX_DEPTH) throw new Error(`folders are nested more than ${MAX_DEPTH} deep`);
    const entries = (await readdir(realFolder, { withFileTypes: true })).filter(({ name }) => !name.startsWith('.'));
    folders.set(identity, realFolder);
    entries.sort((a, b) => byCodeUnit(a.name, b.name));
    // Links last: a file reached both ways keeps its own name.
    for (const links of [false, true]) {
      const group = entries.filter((entry) => entry.isSymbolicLink() === links);
      for (let i = 0; i < group.length; i += STATS_AT_ONCE) {
        await Promise.all(
          group.slice(i, i + STATS_AT_ONCE).map(async ({ name }) => {
            const path = join(folder, name);
            await attempt(path, () => visit(path, join(realFolder, name), depth), isManifest(name));
          }),
        );
      }
    }
  };

  const visit = async (path: string, realEntry: string, depth: number): Promise<void> => {
    const manifest = isManifest(path);
    let target = realEntry;
    let found = await lstat(realEntry);
    if (found.isSymbolicLink()) {
      target = await realpath(realEntry);
      if (target !== realRoot && !target.startsWith(`${realRoot}${sep}`)) {
        if (manifest) files.set(path, refuse(path, target, 'it is a link to a place outside the folder', 'copy the file into the folder'));
        return;
      }
      found = await lstat(target);
    }
    if (found.isDirectory()) await attempt(path, () => walk(path, target, depth + 1), true);
    else if (manifest) addFile(path, target, found);
  };

  const addFile = (path: string, realPath: string, found: Stats): void => {
    if (known.has(realPath)) return;
    known.add(realPath);
    if (!found.isFile()) files.set(path, refuse(path, realPath, 'it is not a regular file', 'replace it by a file'));
    else if (found.size > MAX_FILE_BYTES) {
      files.set(path, refuse(path, realPath, `it has ${found.size} bytes, more than ${MAX_FILE_BYTES}`, 'split it into several files', found));
    } else if (files.size >= MAX_FILES) throw new Error(`the folder holds more than ${MAX_FILES} files`);
    else files.set(path, { path, realPath, ...stampOf(found) });
  };

  /** Something that cannot be read is a Problem; something that has just gone is nothing. */
  const attempt = async (path: string, action: () => Promise<void>, matters: boolean): Promise<void> => {
    try {
      await action();
    } catch (error) {
      const isGone = (error as NodeJS.ErrnoException).code === 'ENOENT';
      if (matters && (!isGone || path === root)) unreadable.push({ path, problem: unreadableProblem(path, error) });
    }
  };

  let realRoot = root;
  await attempt(
    root,
    async () => {
      realRoot = await realpath(root);
      const found = await stat(realRoot);
      if (found.isDirectory()) await walk(root, realRoot, 0);
      else addFile(root, realRoot, found);
    },
    true,
  );
  return { files: [...files.values()].sort((a, b) => byCodeUnit(order(root, a.path), order(root, b.path))), folders, unreadable };
}

const order = (root: string, path: string): string => relative(root, path);

const stampOf = (found: Stats): Pick<ListedFile, 'stamp' | 'modifiedMs' | 'size'> => ({
  stamp: `${found.dev}:${found.ino}:${found.size}:${found.mtimeMs}:${found.ctimeMs}`,
  modifiedMs: found.mtimeMs,
  size: found.size,
});

function refuse(path: string, realPath: string, message: string, remedy: string, found?: Stats): ListedFile {
  const refused = problem({ code: 'file-refused', object: { kind: 'File', name: path }, message, remedy, origin: { file: path } });
  return { path, realPath, stamp: `refused ${message} ${found?.mtimeMs ?? ''}`, modifiedMs: 0, size: 0, refused };
}

/** A file or folder that the system does not let us read: permissions, a missing folder, an I/O error. */
export function unreadableProblem(path: string, error: unknown): Problem {
  const { code, message } = error as NodeJS.ErrnoException;
  return problem({
    code: 'path-unreadable',
    object: { kind: 'File', name: path },
    message: `it cannot be read: ${code ?? message}`,
    remedy: code === 'ENOENT' ? 'create it' : 'let the user that Onehop runs as read it',
    origin: { file: path },
  });
}
