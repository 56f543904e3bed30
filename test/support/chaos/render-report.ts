import type { ChaosResult } from './run-chaos.ts';

/** The end report for people. */
export function renderReport(result: ChaosResult): string {
  const { judge, long } = result;
  const table = (counts: ReadonlyMap<string, number>): string => [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([what, count]) => `    ${what.padEnd(36)}${String(count).padStart(8)}`).join('\n');
  const list = (title: string, lines: readonly string[]): readonly string[] => (lines.length === 0 ? [] : [`  ${title}:`, ...lines.map((line) => `    ${line}`)]);
  return [
    `chaos, seed ${result.seed}: ${judge.calls} calls in ${result.seconds} s, load average ${result.load.toFixed(1)}`,
    '  calls by kind:',
    table(judge.perKind),
    '  calls by end:',
    table(judge.outcomes),
    '  faults:',
    table(result.faults),
    `  failed ${judge.failed}, wrong ${judge.wrong}; apart: ${judge.cut} in flight inside a killed HAProxy, ${judge.unserved} while it was dead`,
    `  ${judge.behind} on kept connections that an old worker served with the servers of then`,
    `  served again after a kill of HAProxy within ${result.outagesMs.join(', ')} ms`,
    `  ${result.retries} retries of HAProxy (seen), ${result.reloads} reloads, at most ${result.mostOldWorkers} old workers, ${result.handOvers} hand-overs`,
    `  ${long.state.living} of ${long.state.opened} connections lived through ${long.reloads} reloads, ${long.state.echoes} echoes`,
    `  slowest call ${judge.slowest.ms} ms: ${judge.slowest.what}`,
    `  slowest change in effect after ${result.slowestEffectMs} ms`,
    ...list('long connections', long.state.faults),
    ...list('problems of the node', result.troubles),
    ...list('leaks', result.leaks),
    ...list('errors', result.errors),
    ...(['wrong', 'failed'] as const).flatMap((kind) =>
      judge.violations.filter((one) => one.kind === kind).flatMap(({ text, before }, i) => [`  ${kind} ${i + 1}: ${text}`, ...(i < 2 ? before.map((line) => `       ${line}`) : [])]),
    ),
  ].join('\n');
}
