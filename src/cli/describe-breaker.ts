import type { BreakerState } from '../model/breaker.ts';
import type { Version } from '../model/route-table.ts';

/** What a breaker does now, in a few words: `closed, 2 of 5 errors in 10 s`, `open until 12:00:05`, `held open by hand`. Times are UTC. */
export function describeBreaker({ mode, open, openUntilMs, errors }: BreakerState, { breaker }: Version): string {
  const counted = `${errors} of ${breaker?.threshold ?? 0} errors in ${breaker?.windowSeconds ?? 0} s`;
  if (mode === 'open') return 'held open by hand';
  if (mode === 'close') return `held closed by hand, ${counted}`;
  if (!open) return `closed, ${counted}`;
  return openUntilMs === undefined ? 'open' : `open until ${new Date(openUntilMs).toISOString().slice(11, 19)}`;
}
