import type { BreakerMode, BreakerRef, BreakerState } from '../model/breaker.ts';
import type { FinishedCall } from './parse-log-line.ts';
import type { RouteTable } from '../model/route-table.ts';
import type { RenderOptions } from './render-options.ts';
import { hasBreaker } from './render-breakers.ts';
import { backendNames } from './section-names.ts';

/** What a worker's breaker was at one moment, in durations: no two workers share a clock. */
export interface WorkerBreaker {
  readonly mode: BreakerMode;
  readonly open: boolean;
  /** ms until it closes by itself; absent while closed or held. */
  readonly leftMs?: number;
  /** ms since each error, the oldest first. */
  readonly errorAgesMs: readonly number[];
}

const CLOSED: WorkerBreaker = { mode: 'auto', open: false, errorAgesMs: [] };

/** The breakers of a table by the name of their backend. */
export function breakersOf(table: RouteTable, options: RenderOptions): ReadonlyMap<string, BreakerRef> {
  return new Map(
    table.routes.flatMap((route) => {
      if (route.invalid || !route.versions.some((one) => hasBreaker(one, options))) return [];
      const names = backendNames(route);
      return route.versions.flatMap((one, version) =>
        hasBreaker(one, options) ? [[names[version] ?? '', { namespace: route.namespace, route: route.name, version }] as const] : [],
      );
    }),
  );
}

/** What a worker says of its breakers. */
export interface SaidBreakers {
  /** The agent has given it the state of the worker before. */
  readonly restored: boolean;
  /** By backend; breakers that are just closed are absent. */
  readonly breakers: ReadonlyMap<string, WorkerBreaker>;
}

/** Reads the answer to `onehop breakers`; undefined when it is none (a worker without breakers). */
export function parseBreakers(answer: string): SaidBreakers | undefined {
  const [head = '', ...lines] = answer.split('\n');
  if (head !== 'restored' && head !== 'fresh') return undefined;
  const breakers = new Map<string, WorkerBreaker>();
  for (const line of lines) {
    if (line === '') continue;
    const [, name = '', mode, state, left, ages = '-'] = /^(\S+) (auto|open|close) (open|closed) (-|\d+) (-|[\d,]+)$/.exec(line) ?? [];
    if (mode !== 'auto' && mode !== 'open' && mode !== 'close') continue;
    const errorAgesMs = ages === '-' ? [] : ages.split(',').map(Number);
    breakers.set(name, { mode, open: state === 'open', errorAgesMs, ...(left === '-' ? {} : { leftMs: Number(left) }) });
  }
  return { restored: head === 'restored', breakers };
}

/** The same breaker `ms` later, when nothing happened to it. */
export function aged(breaker: WorkerBreaker, ms: number): WorkerBreaker {
  const { leftMs } = breaker;
  if (leftMs !== undefined && leftMs <= ms) return CLOSED;
  return { ...breaker, errorAgesMs: breaker.errorAgesMs.map((age) => Math.round(age + ms)), ...(leftMs === undefined ? {} : { leftMs: Math.ceil(leftMs - ms) }) };
}

/** Below tune.bufsize (16 kB), the longest command. */
const AGES_AT_ONCE = 1000;

/** Commands that bring a breaker of a fresh worker to this state. */
export function breakerCommands(name: string, { mode, open, leftMs, errorAgesMs }: WorkerBreaker): readonly string[] {
  if (mode === 'open') return [`onehop breaker ${name} open`];
  if (open) return [`onehop breaker ${name} opened ${leftMs ?? 1}`];
  const chunks = Array.from({ length: Math.ceil(errorAgesMs.length / AGES_AT_ONCE) }, (_, i) => errorAgesMs.slice(i * AGES_AT_ONCE, (i + 1) * AGES_AT_ONCE));
  return [...(mode === 'close' ? [`onehop breaker ${name} close`] : []), ...chunks.map((ages) => `onehop breaker ${name} errors ${ages.join(',')}`)];
}

/**
 * Whether a finished call is an error that only the log tells: a server that ended in mid-answer after a good head; on tcp routes also a failed
 * connect. What HAProxy itself answered, and a 5xx, the worker has counted before.
 */
export function isLateError({ record, failure }: FinishedCall): boolean {
  if (record.protocol === 'tcp') return failure === 'connect-failed' || failure === 'aborted';
  return record.aborted === 'server' && record.reason === undefined && (record.status ?? 0) < 500;
}

/** What people and metrics see of each breaker. */
export const describeBreakers = (refs: ReadonlyMap<string, BreakerRef>, states: ReadonlyMap<string, WorkerBreaker>, epochMs: number): readonly BreakerState[] =>
  [...refs].map(([name, ref]) => {
    const { mode, open, leftMs, errorAgesMs } = states.get(name) ?? CLOSED;
    return { ...ref, mode, open, errors: errorAgesMs.length, ...(leftMs === undefined ? {} : { openUntilMs: Math.round(epochMs + leftMs) }) };
  });
