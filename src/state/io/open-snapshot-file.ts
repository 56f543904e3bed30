import { mkdir, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as breathe, setTimeout as delay } from 'node:timers/promises';
import { messageOf, systemCode } from '../../model/coded-error.ts';
import type { Snapshot } from '../../model/snapshot.ts';
import { parseSnapshot, renderSnapshot, withoutPodsOf, type SnapshotOwner } from '../snapshot-lines.ts';
import { replaceFile } from './replace-file.ts';

/** The newest Snapshot that was in effect, on disk: what an agent starts from when its source does not answer. */
export interface SnapshotFile {
  /** What is on disk. A torn or foreign file is put aside and said; undefined: there is none that can be used. */
  read(): Promise<{ readonly snapshot: Snapshot; readonly savedAtMs: number } | undefined>;
  /** Writes it soon. Many calls cost little: the last one counts. */
  keep(snapshot: Snapshot): void;
  /** When the file was written last, in ms since the epoch; undefined: not by this process. */
  readonly savedAtMs: number | undefined;
  /** Writes what is still to be written. */
  close(): Promise<void>;
}

export interface SnapshotFileOptions {
  readonly stateDir: string;
  readonly owner: SnapshotOwner;
  /** One line: a file that was put aside, a disk that is full (once until it is well again). */
  readonly onTrouble: (line: string) => void;
}

/** Above it nothing is kept: a hundred times what design section 8 asks for. */
const MAX_BYTES = 256 * 1024 * 1024;
/** After a change: a burst of them is one writing. */
const QUIET_MS = 1_000;
/** Writing takes at most this part of the time. */
const SHARE = 1 / 50;

/** Opens the file in `stateDir`; nothing is read or written yet, and no trouble with it ever stops the caller. */
export function openSnapshotFile(options: SnapshotFileOptions): SnapshotFile {
  return new DiskSnapshot(options);
}

/** Invariants: one writing at a time; what was given to `keep` last is on disk at most `QUIET_MS` plus the share's pause after it. */
class DiskSnapshot implements SnapshotFile {
  readonly #options: SnapshotFileOptions;
  readonly #path: string;
  #next: Snapshot | undefined;
  #written: Snapshot | undefined;
  #savedAtMs: number | undefined;
  #writing: Promise<void> | undefined;
  readonly #closing = new AbortController();
  #trouble = '';

  constructor(options: SnapshotFileOptions) {
    this.#options = options;
    this.#path = join(options.stateDir, 'snapshot.jsonl');
  }

  get savedAtMs(): number | undefined {
    return this.#savedAtMs;
  }

  async read(): Promise<{ readonly snapshot: Snapshot; readonly savedAtMs: number } | undefined> {
    const { owner, onTrouble } = this.#options;
    try {
      const { size } = await stat(this.#path);
      const found = size > MAX_BYTES ? { refused: `it has ${size} bytes` } : parse(await readFile(this.#path, 'utf8'), owner);
      if ('refused' in found) {
        await rename(this.#path, `${this.#path}.refused`);
        onTrouble(`${this.#path} cannot be used (${found.refused}) and was put aside as ${this.#path}.refused`);
        return undefined;
      }
      const sameBoot = found.bootId !== '' && found.bootId === (await readBootId());
      return { snapshot: sameBoot ? found.snapshot : withoutPodsOf(owner.node, found.snapshot), savedAtMs: found.savedAtMs };
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') onTrouble(`${this.#path} cannot be read: ${messageOf(error)}`);
      return undefined;
    }
  }

  keep(snapshot: Snapshot): void {
    if (snapshot === this.#written || this.#closing.signal.aborted) return;
    this.#next = snapshot;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
      // Given after the last look and before this.
      if (this.#next !== undefined) this.keep(this.#next);
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    const pause = (ms: number): Promise<void> => delay(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    for (let pauseMs = QUIET_MS; this.#next !== undefined; ) {
      await pause(pauseMs);
      const snapshot = this.#next;
      this.#next = undefined;
      const startedAt = performance.now();
      try {
        await this.#write(snapshot);
        this.#tell('');
      } catch (error) {
        this.#tell(`${this.#path} cannot be written: ${messageOf(error)}; without the source a restarted agent would start from an older state. Make room, or choose another --state-dir`);
      }
      pauseMs = Math.max(QUIET_MS, (performance.now() - startedAt) / SHARE);
    }
  }

  async #write(snapshot: Snapshot): Promise<void> {
    const { stateDir, owner } = this.#options;
    const savedAtMs = Date.now();
    const pieces = bounded(renderSnapshot({ snapshot, savedAtMs, bootId: await readBootId() }, owner));
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    await replaceFile(this.#path, pieces);
    this.#written = snapshot;
    this.#savedAtMs = savedAtMs;
  }

  #tell(trouble: string): void {
    if (trouble !== '' && this.#trouble === '') this.#options.onTrouble(trouble);
    this.#trouble = trouble;
  }
}

/** Lets other work in between pieces: rendering a large Snapshot at once would hold DNS and probes up. */
async function* bounded(pieces: Iterable<string>): AsyncGenerator<string> {
  let bytes = 0;
  for (const piece of pieces) {
    bytes += piece.length;
    if (bytes > MAX_BYTES) throw new Error(`it would have more than ${MAX_BYTES} bytes`);
    yield piece;
    await breathe();
  }
}

function parse(text: string, owner: SnapshotOwner): ReturnType<typeof parseSnapshot> {
  try {
    return parseSnapshot(text, owner);
  } catch (error) {
    return { refused: `it cannot be parsed: ${messageOf(error)}` };
  }
}

/** Of Linux; empty where there is none, which is then no boot's. */
const readBootId = async (): Promise<string> => (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
