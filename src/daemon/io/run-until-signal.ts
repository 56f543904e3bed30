import { closeInOrder } from '../close-in-order.ts';
import type { ClosedStep, CloseStep } from '../close-in-order.ts';
import { sleep } from './timers.ts';

const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
/** What a step that ran into the deadline may still take to remove what it must not leave behind. */
const GRACE_MS = 1_000;

/** Signals that ask the process to stop, kept from the moment on when they are caught. */
export interface StopSignals {
  /** Resolves with the next signal, at once when it has come already. */
  next(): Promise<NodeJS.Signals>;
  /** Gives the signals back their default effect. */
  release(): void;
}

export interface RunUntilSignalOptions {
  /** Caught earlier, so that a signal during the start is not lost; caught by the call itself unless given. */
  readonly signals?: StopSignals;
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
  const signals = options.signals ?? catchStopSignals();
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

/** How soon the end of the parent is seen. */
const PARENT_CHECK_MS = 200;

/**
 * Catches the stop signals: to be called before anything is opened that must not stay behind. While nobody waits for them (a start
 * that hangs), the second one ends the process at once.
 * `withParent`: the end of the parent counts as a SIGTERM, unless a signal came already. npm ends the shell between itself and this
 * process and passes nothing on, so `npx onehop agent` would outlive a SIGTERM to npx.
 */
export function catchStopSignals({ withParent = false }: { readonly withParent?: boolean } = {}): StopSignals {
  const kept: NodeJS.Signals[] = [];
  let waiting: ((signal: NodeJS.Signals) => void) | undefined;
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid !== parent) onSignal('SIGTERM');
  }, PARENT_CHECK_MS);
  watch.unref();
  if (!withParent) clearInterval(watch);
  const onSignal = (signal: NodeJS.Signals): void => {
    clearInterval(watch);
    if (waiting === undefined && kept.push(signal) > 1) process.exit(3);
    waiting?.(signal);
    waiting = undefined;
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return {
    next: () =>
      new Promise<NodeJS.Signals>((resolve) => {
        const early = kept.shift();
        if (early === undefined) waiting = resolve;
        else resolve(early);
      }),
    release: () => {
      clearInterval(watch);
      for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
    },
  };
}
