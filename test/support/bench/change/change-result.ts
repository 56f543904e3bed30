import { percentile } from '../statistics.ts';
import type { CallCounts } from './call-load.ts';
import type { DnsCounts } from './dns-load.ts';
import type { RollingUpdateResult } from './rolling-update.ts';

/** What one part of the run (quiet, churn, hand-over) counted. */
export interface PhaseResult {
  readonly name: string;
  readonly calls: CallCounts;
  readonly dns: DnsCounts;
}

export interface ChangeResult {
  readonly phases: readonly PhaseResult[];
  readonly reloads: number;
  readonly changes: number;
  /** From the event, or the changed file, to the first call that reached the new endpoint; sorted. */
  readonly effectsMs: readonly number[];
  /** Changes whose endpoint was never reached. */
  readonly unseen: number;
  /** Calls that reached a pod more than a second after it had gone. */
  readonly late: number;
  readonly rollingUpdate: RollingUpdateResult;
  /** CPU seconds during the churn, and its length. */
  readonly cpu: { readonly seconds: number; readonly agent: number; readonly haproxy: number };
  /** RSS in MB after the churn; `agentOwn`: without the pages of programs, which all processes that run them share. */
  readonly memory: { readonly agent: number; readonly agentOwn: number; readonly agentPeak: number; readonly haproxy: number };
  readonly startMs: number;
  readonly startFromSnapshotMs: number;
}

export interface Verdict {
  readonly what: string;
  readonly value: string;
  readonly wanted: string;
  readonly kept: boolean;
  /** A broken must fails the run; an aim is printed as met or missed. */
  readonly kind: 'must' | 'aim';
}

/** Every promise of design section 8 that this run can tell about. */
export function judge(result: ChangeResult): readonly Verdict[] {
  const { phases, effectsMs, rollingUpdate, cpu, memory } = result;
  const none = (what: string, count: number): Verdict => ({ what, value: String(count), wanted: '0', kept: count === 0, kind: 'must' });
  const below = (what: string, value: number, limit: number, unit: string, digits = 0): Verdict => ({ what, value: `${value.toFixed(digits)} ${unit}`, wanted: `below ${limit} ${unit}`, kept: value < limit, kind: 'aim' });
  const sum = (count: (phase: PhaseResult) => number): number => phases.reduce((total, phase) => total + count(phase), 0);
  return [
    none('reloads', result.reloads),
    none('failed calls', sum(({ calls }) => calls.failed) + rollingUpdate.failed),
    none('calls answered by a wrong pod', sum(({ calls }) => calls.wrong)),
    none('changes that never took effect', result.unseen),
    none('DNS queries without an answer, or with a wrong one', sum(({ dns }) => dns.lost + dns.wrong)),
    below('change to effect, p99', percentile(effectsMs, 0.99), 100, 'ms'),
    below('last call of an old pod of a rolling update after it stopped being ready, longest', rollingUpdate.lastCallsMs.at(-1) ?? Infinity, 100, 'ms'),
    ...phases.map(({ name, dns }) => below(`DNS ${name}, p99`, percentile(dns.latenciesMs, 0.99), 5, 'ms', 2)),
    below('agent RSS', memory.agent, 100, 'MB'),
    below('HAProxy RSS', memory.haproxy, 120, 'MB'),
    below('start from the snapshot to ready', result.startFromSnapshotMs, 2000, 'ms'),
    { what: 'agent CPU during the churn', value: share(cpu.agent, cpu.seconds), wanted: 'below 50 % of a core', kept: cpu.agent / cpu.seconds < 0.5, kind: 'aim' },
  ];
}

const share = (cpu: number, seconds: number): string => `${((cpu / seconds) * 100).toFixed(1)} %`;

export const describeVerdict = ({ what, value, wanted, kept, kind }: Verdict): string =>
  `${what}: ${value} (${kind === 'must' ? `must be ${wanted}` : `aim ${wanted}`}: ${kept ? 'met' : kind === 'must' ? 'BROKEN' : 'missed'})`;

export const PHASE_COLUMNS = ['', 'calls', 'failed', 'p50', 'p99', 'p99 to quiet', 'DNS queries', 'lost', 'p50', 'p99', 'p99 to quiet'] as const;

/** One row per phase; ratios are to the first one, which had no changes. */
export function tabulatePhases(phases: readonly PhaseResult[]): readonly (readonly string[])[] {
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  const [quiet] = phases;
  const columns = (latenciesMs: readonly number[], quietMs: readonly number[] | undefined): readonly string[] => {
    const p99 = percentile(latenciesMs, 0.99);
    return [ms(percentile(latenciesMs, 0.5)), ms(p99), (p99 / percentile(quietMs ?? [], 0.99)).toFixed(2)];
  };
  return phases.map(({ name, calls, dns }) => [
    name,
    String(calls.calls),
    String(calls.failed),
    ...columns(calls.latenciesMs, quiet?.calls.latenciesMs),
    String(dns.sent),
    String(dns.lost + dns.wrong),
    ...columns(dns.latenciesMs, quiet?.dns.latenciesMs),
  ]);
}

/** The figures beside the table, a line each. */
export function describeFigures({ effectsMs, changes, late, rollingUpdate, cpu, memory, startMs, startFromSnapshotMs }: ChangeResult): readonly string[] {
  const at = (share: number): string => `${percentile(effectsMs, share).toFixed(0)} ms`;
  return [
    `${changes} changes, ${effectsMs.length} of them brought an endpoint into use: p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, longest ${at(1)} from the change to the first call that reached it`,
    `calls that reached a pod more than a second after it had gone: ${late}`,
    `rolling update of five versions of ten pods: ${rollingUpdate.calls} calls, ${rollingUpdate.failed} failed; last calls of ${rollingUpdate.lastCallsMs.length} old pods after they had stopped being ready: ` +
      `p50 ${percentile(rollingUpdate.lastCallsMs, 0.5).toFixed(0)} ms, p90 ${percentile(rollingUpdate.lastCallsMs, 0.9).toFixed(0)} ms, longest ${percentile(rollingUpdate.lastCallsMs, 1).toFixed(0)} ms`,
    `CPU: agent ${share(cpu.agent, cpu.seconds)} of a core (${((cpu.agent / changes) * 1000).toFixed(1)} ms per change), HAProxy ${share(cpu.haproxy, cpu.seconds)}`,
    `RSS: agent ${memory.agent.toFixed(0)} MB (of it ${memory.agentOwn.toFixed(0)} MB its own, peak ${memory.agentPeak.toFixed(0)} MB), HAProxy ${memory.haproxy.toFixed(0)} MB`,
    `start to ready: ${startMs.toFixed(0)} ms with the source, ${startFromSnapshotMs.toFixed(0)} ms from the snapshot without it`,
  ];
}
