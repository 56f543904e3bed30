/** One thing to close at the end. */
export interface CloseStep {
  readonly name: string;
  /** `remainingMs`: what is left until the deadline, for the step's own draining; may be 0. */
  readonly close: (remainingMs: number) => Promise<void>;
}

export interface ClosedStep {
  readonly name: string;
  readonly outcome: 'closed' | 'failed' | 'late';
  readonly error?: unknown;
}

export interface CloseTiming {
  readonly deadlineMs: number;
  /** How long a step that starts at or runs into the deadline may still take: what it removes must not stay behind. */
  readonly graceMs: number;
  readonly now: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * Closes one step after the other. A step that fails or is late does not keep the next ones from running; a late one is left
 * running. Resolves with what became of each.
 */
export async function closeInOrder(steps: readonly CloseStep[], timing: CloseTiming): Promise<readonly ClosedStep[]> {
  const end = timing.now() + timing.deadlineMs;
  const closed: ClosedStep[] = [];
  for (const step of steps) {
    const remainingMs = Math.max(0, end - timing.now());
    closed.push(await closeWithin(step, remainingMs, timing));
  }
  return closed;
}

async function closeWithin(step: CloseStep, remainingMs: number, { graceMs, sleep }: CloseTiming): Promise<ClosedStep> {
  const { name } = step;
  const timer = new AbortController();
  const closing = async (): Promise<ClosedStep> => {
    try {
      await step.close(remainingMs);
      return { name, outcome: 'closed' };
    } catch (error) {
      return { name, outcome: 'failed', error };
    }
  };
  const late = async (): Promise<ClosedStep> => {
    await sleep(remainingMs + graceMs, timer.signal);
    return { name, outcome: 'late' };
  };
  const result = await Promise.race([closing(), late()]);
  timer.abort();
  return result;
}
