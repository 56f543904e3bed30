import { median, pairedRatio } from './statistics.ts';

/** A route that has nothing to do with the regex, in one situation: a figure per round. */
export interface VictimFigures {
  readonly requestsPerSecond: readonly number[];
  readonly p99Ms: readonly number[];
  /** Calls per second that the neighbour made meanwhile. */
  readonly neighbourPerSecond: readonly number[];
}

/** One attack on one number of threads. */
export interface RegexCase {
  readonly threads: number;
  readonly attack: string;
  /** Nobody else calls. */
  readonly quiet: VictimFigures;
  /** The neighbour's regex is catastrophic; it calls as fast as it is answered. */
  readonly hostile: VictimFigures;
  /** The neighbour's regex is harmless; it calls as often as the hostile one did. */
  readonly innocent: VictimFigures;
}

/** What `npm run bench:regex` writes and the page in docs is made of. */
export interface RegexResult {
  readonly machine: string;
  readonly method: string;
  readonly cases: readonly RegexCase[];
}

export const LEAST_OF_VICTIM = 0.75;

/** What is left of the victim's requests per second: the regex's part (against the innocent neighbour), and all in all (against none). */
export function judgeRegex({ hostile, innocent, quiet }: RegexCase): { readonly toInnocent: number; readonly toQuiet: number; readonly kept: boolean } {
  const toInnocent = pairedRatio(hostile.requestsPerSecond, innocent.requestsPerSecond);
  return { toInnocent, toQuiet: pairedRatio(hostile.requestsPerSecond, quiet.requestsPerSecond), kept: toInnocent >= LEAST_OF_VICTIM };
}

export const REGEX_COLUMNS = ['attack', 'threads', 'attacker/s', 'innocent/s', 'victim/s: quiet', 'innocent', 'hostile', 'hostile to innocent', 'hostile to quiet', 'victim p99 ms: quiet', 'innocent', 'hostile'] as const;

/** `pattern` shows a pattern's name: a table in Markdown needs its bars escaped. */
export function regexRow(each: RegexCase, pattern: (text: string) => string): readonly string[] {
  const { quiet, innocent, hostile } = each;
  const { toInnocent, toQuiet, kept } = judgeRegex(each);
  const whole = (values: readonly number[]): string => median(values).toFixed(0);
  const p99 = ({ p99Ms }: VictimFigures): string => median(p99Ms).toFixed(1);
  return [
    pattern(each.attack),
    String(each.threads),
    whole(hostile.neighbourPerSecond),
    whole(innocent.neighbourPerSecond),
    ...[quiet, innocent, hostile].map(({ requestsPerSecond }) => whole(requestsPerSecond)),
    `${toInnocent.toFixed(2)}${kept ? '' : ' MISSED'}`,
    toQuiet.toFixed(2),
    ...[quiet, innocent, hostile].map(p99),
  ];
}
