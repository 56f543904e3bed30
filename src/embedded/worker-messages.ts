import type { Problem } from '../model/problem.ts';
import type { TableChange } from './serve-table.ts';

/** What the worker is started with. */
export interface WorkerSettings {
  readonly tokenHeader: string;
  readonly counters: SharedArrayBuffer;
}

/** Agent to worker. Each is answered by one WorkerAnswer with the same `id`; the worker serves them one after the other. */
export type WorkerOrder =
  | { readonly kind: 'apply'; readonly id: number; readonly change: TableChange }
  | { readonly kind: 'close'; readonly id: number; readonly drainMs: number };

export interface WorkerAnswer {
  readonly id: number;
  readonly problems: readonly Problem[];
  /** Keys of all listeners open now. */
  readonly listeners: readonly string[];
}
