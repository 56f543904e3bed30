import { basename, dirname, resolve } from 'node:path';
import { problemLine } from '../../model/problem.ts';
import type { CheckRegexes } from '../../model/proxy.ts';
import type { Snapshot } from '../../model/snapshot.ts';
import { FolderReader } from './folder-reader.ts';
import { FolderWatch } from './folder-watch.ts';
import { openParserThread } from './open-parser-thread.ts';

export interface FolderSourceOptions {
  /** Folder (or single file) of Kubernetes YAML. It may appear later (until then there is no Snapshot), vanish and come back. */
  readonly path: string;
  readonly globalNamespace: string;
  /** Asked for each regular expression once. */
  readonly checkRegexes?: CheckRegexes;
  /**
   * Called with each Snapshot that differs from the one before, the first time before `openFolderSource` resolves, unless the path
   * cannot be read: what nobody has seen yet must not be taken for empty. `changedAtMs`: when the change was seen (`performance.now()`).
   */
  readonly onSnapshot: (snapshot: Snapshot, changedAtMs: number) => void;
  /** Called by each scan as long as the path has never been read: one line that says why. */
  readonly onWaiting?: (why: string) => void;
  /** What hinders watching or checking; reading itself tells its troubles as Problems. */
  readonly onError: (error: Error) => void;
  /** False: YAML is parsed in the caller's thread. Default true. */
  readonly thread?: boolean;
  /** Period of the scan that finds what the watch missed (network file systems, changed links). Default 5000. */
  readonly rescanMs?: number;
}

export interface FolderSource {
  /** Scans now; resolves when what it found has been delivered. */
  rescan(): Promise<void>;
  /** Ends watching and parsing; no Snapshot is delivered after it was called. */
  close(): Promise<void>;
}

/** A burst of writes is over after this much silence; under endless writes a scan starts after the second time. */
const QUIET_MS = 25;
const LATEST_MS = 200;

/**
 * Opens a watched folder. Invariants: one scan runs at a time; a change during a scan leads to another one; a change is
 * seen within {@link LATEST_MS} plus the time of reading, or within `rescanMs` where the system does not tell.
 * @throws Error only when the CRD of this installation cannot be read
 */
export async function openFolderSource(options: FolderSourceOptions): Promise<FolderSource> {
  const { path, globalNamespace, onSnapshot, onError, thread = true, rescanMs = 5000 } = options;
  // Loaded only where it is used: the YAML and schema libraries cost the main thread 16 MB that the parser thread spends anyway.
  const parser = thread ? openParserThread(globalNamespace) : await (await import('./manifest-parser.ts')).openInlineParser(globalNamespace);
  const reader = new FolderReader(path, parser, options.checkRegexes, onError);
  const absolute = resolve(path);
  let closed = false;
  let everRead = false;
  let timer: NodeJS.Timeout | undefined;
  let dueMs = Infinity;
  let burstSinceMs: number | undefined;
  let running = Promise.resolve();

  /** Makes the next scan start after `delayMs`, or earlier if one is due earlier. */
  const scanIn = (delayMs: number, orEarlier = true): void => {
    if (closed || (orEarlier && dueMs <= Date.now() + delayMs)) return;
    dueMs = Date.now() + delayMs;
    clearTimeout(timer);
    timer = setTimeout(() => void scanNow(), delayMs);
  };

  /** A change was seen: wait for silence, but not for ever. */
  const touched = (): void => {
    const nowMs = performance.now();
    burstSinceMs ??= nowMs;
    scanIn(Math.max(0, Math.min(QUIET_MS, burstSinceMs + LATEST_MS - nowMs)), burstSinceMs + LATEST_MS <= nowMs);
  };

  const watch = new FolderWatch({ parent: dirname(absolute), name: basename(absolute) }, touched, onError);

  const scan = async (): Promise<void> => {
    if (closed) return;
    const changedAtMs = burstSinceMs ?? performance.now();
    burstSinceMs = undefined;
    dueMs = Infinity;
    const { snapshot, changed, listing, againMs } = await reader.scan(Date.now());
    if (closed) return;
    // What happened between listing a folder and watching it was not told: look again.
    const opened = watch.follow(listing.folders);
    const unreadable = everRead ? undefined : listing.unreadable.find((one) => one.path === path);
    everRead = unreadable === undefined;
    if (unreadable !== undefined) options.onWaiting?.(problemLine(unreadable.problem));
    else if (changed) onSnapshot(snapshot, changedAtMs);
    scanIn(rescanMs);
    if (againMs !== undefined) scanIn(againMs);
    if (opened) scanIn(QUIET_MS);
  };

  const scanNow = (): Promise<void> => {
    running = running.then(scan).catch((error: unknown) => {
      onError(error instanceof Error ? error : new Error(String(error)));
      scanIn(rescanMs);
    });
    return running;
  };

  await scanNow();
  return {
    rescan: scanNow,
    async close() {
      closed = true;
      clearTimeout(timer);
      watch.close();
      await parser.close();
      await running;
    },
  };
}
