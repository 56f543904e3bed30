import type { Route } from '../model/route-table.ts';

/** Set by a rule that refuses for another reason: such a call is not counted. */
const REFUSED_VARIABLE = 'txn.refused';
/** Both counters of a table's entry have 32 bits; all sums are taken modulo that. */
const MODULUS = 2 ** 32;
/** Calls counted beyond the limit by threads that saw the last free place at once: at most one each. */
const OVERSHOOT = 64;
/** Callers of one route on one node that are told apart; the one that was idle longest is forgotten first. */
const MAX_CALLERS = 2048;
/** An idle caller is forgotten this long after its bucket was full again. */
const FORGET_SECONDS = 10;

/** `spec.rateLimit` of a route: the rules that count a call (before any `use_backend`), and the condition under which it is refused. */
export interface RateLimitRules {
  readonly rules: readonly string[];
  readonly over: string;
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
 *
 * @param refusals conditions under which the call is refused for a reason that comes before
 */
export function renderRateLimit(route: Route, refusals: readonly string[]): RateLimitRules | undefined {
  if (route.rateLimit === undefined) return undefined;
  const { requestsPerSecond, burst, per } = route.rateLimit;
  const http = route.protocol === 'http';
  const rule = http ? '  http-request' : '  tcp-request content';
  // A tcp connection that was refused does not get this far.
  const counted = http ? [`!{ var(${REFUSED_VARIABLE}) -m found }`] : [];
  const when = (...conditions: readonly string[]): string => (conditions.length + counted.length === 0 ? '' : ` if ${[...counted, ...conditions].join(' ')}`);
  const unit = requestsPerSecond < 1000 ? 1000 : 1;
  const units = unit === 1 ? '' : `,mul(${unit})`;
  const wrap = `add(${MODULUS}),mod(${MODULUS})`;
  const full = burst * unit;
  const end = (burst + OVERSHOOT) * unit;
  const over = `{ var(txn.rate_used) -m int ${full + 1}:${end} }`;
  const expire = Math.ceil(burst / requestsPerSecond) + FORGET_SECONDS;
  const table = per === 'Caller' ? `type ipv6 size ${MAX_CALLERS}` : 'type integer size 1';
  return {
    rules: [
      `  stick-table ${table} expire ${expire}s store gpc0,gpt0`,
      ...(http ? refusals.map((condition) => `${rule} set-var(${REFUSED_VARIABLE}) bool(true) if ${condition}`) : []),
      `${rule} track-sc0 ${per === 'Caller' ? 'src' : 'int(1)'}${when()}`,
      `${rule} set-var(txn.rate_clock) date(0,ms),mul(${requestsPerSecond})${unit === 1 ? ',div(1000)' : ''},mod(${MODULUS})${when()}`,
      `${rule} set-var(txn.rate_calls) sc_get_gpc0(0)${units},mod(${MODULUS})${when()}`,
      `${rule} set-var(txn.rate_used) sc_get_gpt0(0),add(txn.rate_calls),add(${unit}),sub(txn.rate_clock),${wrap}${when('{ var(txn.rate_calls) -m int gt 0 }')}`,
      `${rule} sc-set-gpt0(0) var(txn.rate_clock),sub(txn.rate_calls),${wrap}${when(`!{ var(txn.rate_used) -m int 1:${end} }`)}`,
      `${rule} set-var(txn.rate_base) sc_get_gpt0(0)${when()}`,
      `${rule} set-var(txn.rate_used) sc_inc_gpc0(0)${units},add(txn.rate_base),sub(txn.rate_clock),${wrap}${when(`!${over}`)}`,
    ],
    over: [...counted, over].join(' '),
  };
}
