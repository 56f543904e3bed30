const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Parses a duration as ServiceRoutes write it (`250ms`, `60s`, `1m30s`) into milliseconds.
 * Undefined for any other text. A subset of Go's durations: no fractions, no sign, no unit below ms.
 */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:[0-9]{1,9}(?:ms|s|m|h)){1,4}$/.test(text)) return undefined;
  let totalMs = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|s|m|h)/g)) totalMs += Number(count) * (UNIT_MS[unit ?? ''] ?? 0);
  return totalMs;
}
