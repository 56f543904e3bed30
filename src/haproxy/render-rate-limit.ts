import type { RefusalCode } from '../model/refusal.ts';
import type { Route } from '../model/route-table.ts';
import { frontendName } from './section-names.ts';

/** Why the call is refused for another reason: such a call is not counted. */
const REFUSED_VARIABLE = 'txn.refused';
/** Both counters of a table's entry have 32 bits; all sums are taken modulo that. */
const MODULUS = 2 ** 32;
/** Calls counted beyond the limit by threads that saw the last free place at once: at most one each. */
const OVERSHOOT = 64;
/** Callers of one route on one node that are told apart; the one that was idle longest is forgotten first. */
const MAX_CALLERS = 2048;
/**
 * Room for a table's only entry. Threads that meet a new bucket at once each take a place before they see which one stays: with room for one
 * the second call would be let through uncounted (seen on 3.0, in 4 of 100 new buckets).
 */
const ROOM_FOR_ONE = 128;
/** An idle caller is forgotten this long after its bucket was full again. */
const FORGET_SECONDS = 10;

/** Key of the rate in its map: no count of used calls is as high. */
const RATE_KEY = MODULUS;

/** The numbers of a route's rate, changed at run time: which counts of used calls are within the burst (1) and above it (2), and the rate. */
export const rateMap = (route: Route): string => `maps/${frontendName(route)}.rate.map`;

/** What a call counts. It stands in the rules and in the numbers: a rate in another unit waits for the reload (see planMaps). */
const unitOf = (requestsPerSecond: number): number => (requestsPerSecond < 1000 ? 1000 : 1);

/** {@link rateMap} */
export function renderRateNumbers({ requestsPerSecond, burst }: NonNullable<Route['rateLimit']>): string {
  const unit = unitOf(requestsPerSecond);
  const full = burst * unit;
  return `1:${full} 1\n${full + 1}:${full + OVERSHOOT * unit} 2\n${RATE_KEY} ${requestsPerSecond}\n`;
}

/** `spec.rateLimit` of a route: the rules that count a call (before any `use_backend`), and what refuses calls, in order. */
export interface RateLimitRules {
  readonly rules: readonly string[];
  readonly over: string;
  /** Stands in place of the rules for other reasons: http, whose conditions were read already. */
  readonly refusedBefore: readonly string[] | undefined;
}

/**
 * A token bucket in the frontend's own stick-table, exact with any number of threads.
 *
 * `clock` is what the rate has given since 1970. An entry holds how many calls it let through (`gpc0`, which only the atomic `sc_inc_gpc0`
 * changes) and the clock at which that number was zero (`gpt0`): used = calls + base - clock, this call included. When that is not between
 * nothing and the burst, the entry is new or its bucket is full again, and the base is set so that nothing is used. A call is counted when
 * there seems to be room; the number that its own increment gives decides. So in t seconds never more than burst + rate * t pass (clocks
 * of threads may differ by a few ms); two threads that count for one free place may both be refused, and the next token pays for that.
 *
 * Counted in thousandths of a call below 1,000 calls per second: a token comes 1/rate after the last one, not at whole seconds.
 * The numbers stand in {@link rateMap}. After a change the clock is another one, and buckets are full as after a reload.
 *
 * @param refusals what a call is refused for before, in order: reason and condition
 */
export function renderRateLimit(route: Route, refusals: readonly (readonly [code: RefusalCode, condition: string])[]): RateLimitRules | undefined {
  if (route.rateLimit === undefined) return undefined;
  const { requestsPerSecond, burst, per } = route.rateLimit;
  const http = route.protocol === 'http';
  const rule = http ? '  http-request' : '  tcp-request content';
  // A tcp connection that was refused does not get this far.
  const counted = http ? [`!{ var(${REFUSED_VARIABLE}) -m found }`] : [];
  const when = (...conditions: readonly string[]): string => (conditions.length + counted.length === 0 ? '' : ` if ${[...counted, ...conditions].join(' ')}`);
  const unit = unitOf(requestsPerSecond);
  const units = unit === 1 ? '' : `,mul(${unit})`;
  const wrap = `add(${MODULUS}),mod(${MODULUS})`;
  const numbers = `map_int_int(${rateMap(route)})`;
  const used = (kind: string): string => `{ var(txn.rate_used),${numbers} -m int ${kind} }`;
  const over = used('2');
  const table = per === 'Caller' ? `type ipv6 size ${MAX_CALLERS}` : `type integer size ${ROOM_FOR_ONE}`;
  return {
    rules: [
      `  stick-table ${table} expire ${forgetSeconds(burst / requestsPerSecond)}s store gpc0,gpt0`,
      // The last that holds stays, so the first in order comes last.
      ...(http ? refusals.toReversed().map(([code, condition]) => `${rule} set-var(${REFUSED_VARIABLE}) str(${code}) if ${condition}`) : []),
      `${rule} track-sc0 ${per === 'Caller' ? 'src' : 'int(1)'}${when()}`,
      `${rule} set-var(txn.rate) int(${RATE_KEY}),${numbers}${when()}`,
      `${rule} set-var(txn.rate_clock) date(0,ms),mul(txn.rate)${unit === 1 ? ',div(1000)' : ''},mod(${MODULUS})${when()}`,
      `${rule} set-var(txn.rate_calls) sc_get_gpc0(0)${units},mod(${MODULUS})${when()}`,
      `${rule} set-var(txn.rate_used) sc_get_gpt0(0),add(txn.rate_calls),add(${unit}),sub(txn.rate_clock),${wrap}${when('{ var(txn.rate_calls) -m int gt 0 }')}`,
      `${rule} sc-set-gpt0(0) var(txn.rate_clock),sub(txn.rate_calls),${wrap}${when(`!${used('1:2')}`)}`,
      `${rule} set-var(txn.rate_base) sc_get_gpt0(0)${when()}`,
      `${rule} set-var(txn.rate_used) sc_inc_gpc0(0)${units},add(txn.rate_base),sub(txn.rate_clock),${wrap}${when(`!${over}`)}`,
    ],
    over: [...counted, over].join(' '),
    refusedBefore: http ? [`  use_backend %[var(${REFUSED_VARIABLE})] if { var(${REFUSED_VARIABLE}) -m found }`] : undefined,
  };
}

/** How long an idle caller is remembered, in steps: another rate seldom needs another table. The clock turns round much later. */
function forgetSeconds(fillSeconds: number): number {
  let seconds = 64;
  while (seconds < fillSeconds + FORGET_SECONDS) seconds *= 2;
  return seconds;
}
