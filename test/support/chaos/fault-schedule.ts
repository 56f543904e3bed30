import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../../src/model/coded-error.ts';
import { ALONE, type ChaosContext, type DrawFault } from './chaos-context.ts';

export interface Schedule {
  readonly kinds: Readonly<Record<string, { readonly draw: DrawFault; readonly weight: number }>>;
  /** Faults that run at the same time. */
  readonly atOnce: number;
  /** No fault begins once this says so. */
  readonly isOver: () => boolean;
  /** Of the pause between two faults. */
  readonly longestPauseMs: number;
}

/** Runs faults until it is over: first each kind once, then as they are drawn. What goes wrong inside a fault is an error of the run. */
export async function runFaults(context: ChaosContext, { kinds, atOnce, isOver, longestPauseMs }: Schedule): Promise<readonly string[]> {
  const { random, events } = context;
  const errors: string[] = [];
  const locks = new Set<string>();
  const running = new Set<Promise<void>>();
  const weighted = Object.entries(kinds).flatMap(([kind, { weight }]) => Array.from({ length: weight }, () => kind));
  const first = random.shuffle(Object.keys(kinds));
  while (!isOver() && errors.length === 0) {
    await sleep(random.whole(20, longestPauseMs));
    if (running.size >= atOnce || locks.has(ALONE)) await Promise.race(running);
    const kind = first[0] ?? random.pick(weighted);
    const fault = kinds[kind]?.draw(context);
    if (fault === undefined || fault.locks.some((lock) => locks.has(lock))) {
      // To the end of the row: its place is taken now.
      if (first.length > 0) first.push(first.shift() ?? kind);
      continue;
    }
    first.shift();
    if (fault.locks.includes(ALONE)) await Promise.all(running);
    for (const lock of fault.locks) locks.add(lock);
    events.add(kind);
    const done = fault
      .run()
      .catch((error: unknown) => {
        errors.push(`${kind}: ${messageOf(error)}`);
        events.note(`FAULT FAILED ${kind}: ${messageOf(error)}`);
      })
      .finally(() => {
        for (const lock of fault.locks) locks.delete(lock);
        running.delete(done);
      });
    running.add(done);
  }
  await Promise.all(running);
  return errors;
}
