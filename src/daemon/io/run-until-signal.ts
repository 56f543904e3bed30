import { closeInOrder } from '../close-in-order.ts';
import type { ClosedStep, CloseStep } from '../close-in-order.ts';
import { sleep } from './timers.ts';

const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
/** What a step that ran into the deadline may still take to remove what it must not leave behind. */
const GRACE_MS = 1_000;

export interface RunUntilSignalOptions {
  /** Read when the stop begins, in the order of closing. */
  readonly steps: () => readonly CloseStep[];
  readonly deadlineMs: number;
  /** Resolves or rejects when the process cannot go on by itself; the steps are closed all the same. */
  readonly failed?: Promise<unknown>;
  readonly onStop?: (reason: NodeJS.Signals | 'failed') => void;
  readonly onClosed?: (steps: readonly ClosedStep[]) => void;
}

/**
 * Waits for SIGTERM, SIGINT or SIGHUP (a closed terminal), then closes everything in order within the deadline. A second signal ends
 * the wait at once. Resolves with the exit code: 0 when asked to stop and everything closed, 3 otherwise.
 */
export async function runUntilSignal(options: RunUntilSignalOptions): Promise<0 | 3> {
  const signals = catchSignals();
  const failed = options.failed === undefined ? [] : [options.failed.then(asFailed, asFailed)];
  const reason = await Promise.race([signals.next(), ...failed]);
  options.onStop?.(reason);
  const closing = closeInOrder(options.steps(), { deadlineMs: options.deadlineMs, graceMs: GRACE_MS, now: () => performance.now(), sleep });
  const closed = await Promise.race([closing, signals.next()]);
  signals.release();
  if (typeof closed === 'string') return 3;
  options.onClosed?.(closed);
  return reason !== 'failed' && closed.every((step) => step.outcome === 'closed') ? 0 : 3;
}

const asFailed = (): 'failed' => 'failed';

/** `next` resolves with the next signal that arrives after the call. */
function catchSignals() {
  let tell: (signal: NodeJS.Signals) => void = () => {};
  const onSignal = (signal: NodeJS.Signals): void => tell(signal);
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return {
    next: () =>
      new Promise<NodeJS.Signals>((resolve) => {
        tell = resolve;
      }),
    release: () => {
      for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
    },
  };
}
