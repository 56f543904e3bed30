import { parseStatus, type ApiError } from './api-error.ts';
import { isRecord, valueAt } from './field-path.ts';

/** One line of a watch (https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes). */
export type WatchEvent =
  | { readonly type: 'changed' | 'deleted'; readonly object: Readonly<Record<string, unknown>>; readonly resourceVersion: string }
  /** Everything up to here has been told. */
  | { readonly type: 'bookmark'; readonly resourceVersion: string }
  | { readonly type: 'error'; readonly error: ApiError };

/** Reads one line; undefined when it is none of the API server's. Types that do not exist yet count as that, too. */
export function parseWatchEvent(line: string): WatchEvent | undefined {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return undefined;
  }
  const object = valueAt(event, ['object']);
  const type = valueAt(event, ['type']);
  if (type === 'ERROR') return { type: 'error', error: parseStatus(0, object) };
  const resourceVersion = valueAt(object, ['metadata', 'resourceVersion']);
  if (!isRecord(object) || typeof resourceVersion !== 'string' || resourceVersion === '') return undefined;
  if (type === 'BOOKMARK') return { type: 'bookmark', resourceVersion };
  if (type === 'ADDED' || type === 'MODIFIED') return { type: 'changed', object, resourceVersion };
  return type === 'DELETED' ? { type: 'deleted', object, resourceVersion } : undefined;
}
