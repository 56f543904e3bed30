import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Backoff } from '../../src/daemon/backoff.ts';
import { SerialRunner } from '../../src/daemon/serial-runner.ts';

type Event = { readonly kind: 'want'; readonly fails: boolean } | { readonly kind: 'pause'; readonly turns: number };

const events = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('want' as const), fails: fc.boolean() }),
    fc.record({ kind: fc.constant('pause' as const), turns: fc.integer({ min: 1, max: 12 }) }),
  ),
  { maxLength: 40 },
);

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve();
};

test('the runner applies in order, never two at once, and the latest value in the end', async () => {
  await fc.assert(
    fc.asyncProperty(events, fc.integer({ min: 0, max: 9 }), async (script: readonly Event[], applyTurns) => {
      const started: number[] = [];
      const succeeded: number[] = [];
      const failuresLeft = new Map<number, number>();
      let running = 0;
      let most = 0;
      const runner = new SerialRunner<number>({
        apply: async (value) => {
          started.push(value);
          most = Math.max(most, ++running);
          await turns(applyTurns);
          running--;
          const left = failuresLeft.get(value) ?? 0;
          failuresLeft.set(value, left - 1);
          if (left > 0) throw new Error('not now');
          succeeded.push(value);
        },
        onError: () => {
          throw new Error('the reporter fails too');
        },
        backoff: new Backoff({ baseMs: 1, maxMs: 8 }, () => 0.5),
        sleep: (ms) => turns(ms),
      });

      let latest = -1;
      for (const event of script) {
        if (event.kind === 'pause') await turns(event.turns);
        else {
          failuresLeft.set(++latest, event.fails ? 2 : 0);
          runner.want(latest);
        }
      }
      await runner.idle();

      expect(most).toBeLessThanOrEqual(1);
      expect(started).toEqual([...started].sort((a, b) => a - b));
      expect(new Set(succeeded).size).toBe(succeeded.length);
      expect(succeeded.at(-1) ?? -1).toBe(latest);
    }),
    { numRuns: 500 },
  );
});

test('a newer value ends the wait of a failed one', async () => {
  const seen: string[] = [];
  const runner = new SerialRunner<string>({
    apply: async (value) => {
      seen.push(value);
      if (value === 'bad') throw new Error('bad');
    },
    onError: () => {},
    backoff: new Backoff({ baseMs: 1, maxMs: 1 }, () => 0),
    sleep: (_ms, signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())), // for ever, unless ended
  });
  runner.want('bad');
  await turns(20);
  expect(seen).toEqual(['bad']);
  runner.want('good');
  await runner.idle();
  expect(seen).toEqual(['bad', 'good']);
});

test('closing waits for the apply that runs, aborts its signal and starts no other', async () => {
  const seen: string[] = [];
  const runner = new SerialRunner<string>({
    apply: async (value, signal) => {
      seen.push(`${value} starts`);
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      seen.push(`${value} ends`);
    },
    onError: () => {},
    backoff: new Backoff({ baseMs: 1, maxMs: 1 }, () => 0),
    sleep: () => Promise.resolve(),
  });
  runner.want('a');
  await turns(5);
  runner.want('b');
  await runner.close();
  runner.want('c');
  await runner.idle();
  expect(seen).toEqual(['a starts', 'a ends']);
});

test('an apply that gives way to a newer value is no failure; any other error still is one', async () => {
  const seen: string[] = [];
  const runner = new SerialRunner<string>({
    apply: async (value, _, overtaken) => {
      seen.push(value);
      if (value === 'last') return;
      await new Promise<void>((resolve) => overtaken.addEventListener('abort', () => resolve()));
      throw value === 'waits' ? overtaken.reason : new Error(value);
    },
    onError: (error) => seen.push(String(error)),
    backoff: new Backoff({ baseMs: 1, maxMs: 1 }, () => 0),
    sleep: () => Promise.resolve(),
  });
  for (const value of ['waits', 'breaks', 'last']) {
    runner.want(value);
    await turns(10);
  }
  await runner.idle();
  expect(seen).toEqual(['waits', 'breaks', 'Error: breaks', 'last']);
});

test('closing ends an apply that waits', async () => {
  const runner = new SerialRunner<string>({
    apply: (_value, _signal, overtaken) => new Promise((_, reject) => overtaken.addEventListener('abort', () => reject(overtaken.reason))),
    onError: () => expect.unreachable(),
    backoff: new Backoff({ baseMs: 1, maxMs: 1 }, () => 0),
    sleep: () => Promise.resolve(),
  });
  runner.want('a');
  await turns(5);
  await runner.close();
});
