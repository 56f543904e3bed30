import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';

/**
 * Watches folders one by one: Node's own recursive watch loses folders that are replaced, as an atomic update does.
 * It only says that something changed; what it was is found by scanning.
 */
export class FolderWatch {
  readonly #onChange: () => void;
  readonly #onError: (error: Error) => void;
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #root: { readonly parent: string; readonly name: string };
  #hasFailed = false;

  /** `root` is watched from its parent too: it may be a file, may not be there yet, or may be replaced. */
  constructor(root: { readonly parent: string; readonly name: string }, onChange: () => void, onError: (error: Error) => void) {
    this.#root = root;
    this.#onChange = onChange;
    this.#onError = onError;
  }

  /**
   * Watches exactly these folders: identity -> path. A folder replaced by another one of the same name has a new identity.
   * @returns whether a watch was opened
   */
  follow(folders: ReadonlyMap<string, string>): boolean {
    const { parent, name } = this.#root;
    const wanted = new Map([[`parent ${parent}`, parent], ...[...folders].map(([identity, path]) => [`${identity} ${path}`, path] as const)]);
    for (const [key, watcher] of this.#watchers) {
      if (wanted.has(key)) continue;
      watcher.close();
      this.#watchers.delete(key);
    }
    let opened = false;
    for (const [key, path] of wanted) {
      if (this.#watchers.has(key)) continue;
      const matters = path === parent && key.startsWith('parent ') ? (file: string) => file === name : isOfInterest;
      opened = this.#open(key, path, matters) || opened;
    }
    return opened;
  }

  close(): void {
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #open(key: string, path: string, matters: (file: string) => boolean): boolean {
    try {
      const watcher = watch(path, (_event, file) => {
        if (file === null || matters(file)) this.#onChange();
      });
      watcher.on('error', () => {
        // The folder is gone, or the system gave up on it: the scan that follows finds out.
        watcher.close();
        this.#watchers.delete(key);
        this.#onChange();
      });
      this.#watchers.set(key, watcher);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Said once: the periodic scan goes on without it.
      if (code !== 'ENOENT' && code !== 'EACCES' && !this.#hasFailed) {
        this.#hasFailed = true;
        this.#onError(new Error(`folder ${path} cannot be watched (${code ?? String(error)}); it is scanned from time to time`, { cause: error }));
      }
      return false;
    }
  }
}

/** Editors' files are written all the time; `..data` is how a ConfigMap volume is updated. */
const isOfInterest = (file: string): boolean => file === '..data' || !(file.startsWith('.') || file.endsWith('~') || file.endsWith('#'));
