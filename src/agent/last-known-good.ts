import type { Logger } from '../daemon/io/logger.ts';
import type { Metrics } from '../daemon/metrics.ts';
import type { Readiness } from '../daemon/readiness.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { SnapshotFile } from '../state/io/open-snapshot-file.ts';

/** A source that says nothing for this long is not there. */
export const SILENCE_MS = 1_000;

export interface LastKnownGoodParts {
  readonly file: SnapshotFile;
  readonly readiness: Readiness;
  readonly log: Logger;
  /** The stored Snapshot is to be brought into effect. */
  readonly serve: (snapshot: Snapshot) => void;
}

/**
 * Starts from the Snapshot on disk when the source does not answer: at its first trouble, or after a second of silence. Once the
 * source has delivered, what is on disk is never served again by this process, only kept up to date.
 */
export class LastKnownGood {
  readonly #parts: LastKnownGoodParts;
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> | undefined;
  #delivered = false;
  #stale: { readonly snapshot: Snapshot; readonly savedAtMs: number } | undefined;
  /** What the source said last, and whether it denies: then a node that serves is still not ready. */
  #waiting: { readonly why: string; readonly refused: boolean } | undefined;

  constructor(parts: LastKnownGoodParts) {
    this.#parts = parts;
    this.#timer = setTimeout(() => this.#look(), SILENCE_MS);
  }

  /** The source has a trouble and has not delivered yet. */
  waiting(why: string, refused: boolean): void {
    if (this.#waiting?.why !== why) this.#parts.log.warn(`waiting for the source: ${why}`);
    this.#waiting = { why, refused };
    if (this.#stale === undefined) this.#parts.readiness.pending('source', why);
    this.#settle();
    this.#look();
  }

  /** The source delivered its first Snapshot. */
  delivered(): void {
    if (this.#delivered) return;
    this.#delivered = true;
    clearTimeout(this.#timer);
    if (this.#stale !== undefined) this.#parts.log.info('the source answers: its objects take the place of the stored ones');
  }

  /** `snapshot` is in effect: kept, unless it came from the disk. */
  inEffect(snapshot: Snapshot): void {
    if (snapshot !== this.#stale?.snapshot) {
      this.#stale = undefined;
      this.#parts.file.keep(snapshot);
    }
    this.#settle();
  }

  isStale(snapshot: Snapshot): boolean {
    return snapshot === this.#stale?.snapshot;
  }

  addMetrics(metrics: Metrics): void {
    metrics.gauge({ name: 'onehop_snapshot_stale', help: '1 while the node serves the stored snapshot because its source does not answer' }, () => [{ value: this.#stale === undefined ? 0 : 1 }]);
    metrics.gauge({ name: 'onehop_snapshot_saved_timestamp_seconds', help: 'When the snapshot on disk was written' }, () => {
      const savedAtMs = this.#stale?.savedAtMs ?? this.#parts.file.savedAtMs;
      return savedAtMs === undefined ? [] : [{ value: savedAtMs / 1000 }];
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#looking;
    await this.#parts.file.close();
  }

  #look(): void {
    clearTimeout(this.#timer);
    this.#looking ??= this.#parts.file.read().then((stored) => {
      if (stored === undefined || this.#delivered) return;
      this.#stale = stored;
      this.#parts.log.warn({ savedAt: new Date(stored.savedAtMs).toISOString() }, `the source does not answer: serving the stored snapshot until it does${this.#why()}`);
      this.#parts.serve(stored.snapshot);
    });
  }

  /** What `/readyz` says of the source. */
  #settle(): void {
    const { readiness } = this.#parts;
    if (this.#stale === undefined && !this.#delivered) return;
    if (this.#stale !== undefined && this.#waiting?.refused === true) readiness.pending('source', this.#waiting.why);
    else readiness.done('source');
    readiness.note('source', this.#stale === undefined ? undefined : `serving the snapshot of ${new Date(this.#stale.savedAtMs).toISOString()}${this.#why()}`);
  }

  #why(): string {
    return this.#waiting === undefined ? '' : ` (${this.#waiting.why})`;
  }
}
