import { setTimeout as delay } from 'node:timers/promises';

/** Resolves after `ms`, or early when `signal` aborts; never rejects. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch {
    // Aborted: the wait is over, which is all that the caller asked for.
  }
}
