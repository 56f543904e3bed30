import type { RouteState } from '../kube/parse-route-state.ts';
import { objectKey } from '../model/names.ts';
import { printable, type Problem } from '../model/problem.ts';
import type { Condition, RouteStatus } from '../model/route-status.ts';
import type { VersionSpec } from '../model/service-route.ts';
import { pairedVip6 } from '../model/vip-pool.ts';
import { globalKey } from '../routing/allocate-vips.ts';
import type { VipAssignment } from '../routing/assign-vips.ts';
import type { ControllerOptions, Note, Observed, Step } from './observed.ts';
import type { PointConflict } from './plan-access-points.ts';
import type { NodeCount, ReportIndex } from './report-index.ts';

/** The conditions that the controller writes, in this order. `Conflict` is there only while there is one. */
export const CONDITIONS = ['Accepted', 'ResolvedRefs', 'Programmed', 'Conflict'] as const;
type ConditionType = (typeof CONDITIONS)[number];

/** What a condition says, without when. */
export type Verdict = Pick<Condition, 'status' | 'reason' | 'message'>;

/** What was found out about one route. */
export interface Findings {
  /** About the route alone and its Services. */
  readonly problems: readonly Problem[];
  readonly assignment: VipAssignment;
  readonly conflicts: readonly PointConflict[];
  readonly reports: ReportIndex;
}

const MAX_MESSAGE = 1_000;
const MAX_VERSIONS = 200;
/** Nodes that a message names. */
const MAX_NAMED = 3;
/** What is wrong with references to other objects; everything else is wrong with the route itself. */
const REFERENCE_REASONS: ReadonlyMap<string, string> = new Map([
  ['service-not-found', 'ServiceNotFound'],
  ['port-unresolved', 'PortUnresolved'],
  ['protocol-mismatch', 'ProtocolMismatch'],
  ['listen-unknown', 'PortUnresolved'],
]);

/**
 * The status that a route should have, as a step when it differs from the one it has. Undefined also while an address of it is not in
 * the ledger yet: the ledger comes first.
 */
export function planStatus(state: RouteState, findings: Findings, observed: Observed, options: ControllerOptions, nowMs: number): Step | undefined {
  const { status: before } = state;
  const key = objectKey(state);
  const vip = findings.assignment.vips.get(key);
  const globalVip = findings.assignment.globalVips.get(key);
  if (!isWritten(observed, vip, key) || !isWritten(observed, globalVip, globalKey(state.name))) return undefined;

  const changeVersion = chooseChangeVersion(state, vip, globalVip);
  const programmed = findings.reports.count(key, changeVersion);
  const verdicts: Readonly<Partial<Record<ConditionType, Verdict>>> = {
    Accepted: accept(findings, vip),
    ...(state.route?.spec === undefined ? {} : { ResolvedRefs: resolve(findings.problems) }),
    ...(state.route === undefined ? {} : { Programmed: describeNodes(programmed, vip) }),
    ...conflict(findings, key),
  };
  const pair = (name: 'vip6' | 'globalVip6', address: string | undefined): Partial<RouteStatus> => {
    const paired = address === undefined ? undefined : pairedVip6(options.pool, address);
    return paired === undefined ? {} : { [name]: paired };
  };
  const after: RouteStatus = {
    ...(vip === undefined ? {} : { vip }),
    ...pair('vip6', vip),
    ...(globalVip === undefined ? {} : { globalVip }),
    ...pair('globalVip6', globalVip),
    observedGeneration: state.generation,
    ...(state.route?.spec === undefined ? {} : { versions: describeVersions(state.route.spec.to) }),
    ...(changeVersion === undefined ? {} : { changeVersion }),
    ...(state.route === undefined ? {} : { programmed: `${programmed.count}/${programmed.of}` }),
    conditions: CONDITIONS.flatMap((type) => {
      const verdict = verdicts[type];
      return verdict === undefined ? [] : [stamp(type, verdict, before.conditions.find((one) => one.type === type), state.generation, nowMs)];
    }),
  };
  if (sameStatus(before, after)) return undefined;
  const { namespace, name, uid, resourceVersion } = state;
  return {
    kind: 'write-status',
    target: { namespace, name, uid, resourceVersion },
    status: after,
    isUrgent: !sameStatus(withoutCount(before), withoutCount(after)),
    notes: findTransitions(before, after),
  };
}

/** For people who list routes: names, with their shares where they have some. */
const describeVersions = (to: readonly VersionSpec[]): string =>
  printable(to.map(({ name, weight }) => (weight === undefined ? name : `${name} ${weight}%`)).join(', '), MAX_VERSIONS);

/** True when `vip` may stand in a status: the ledger in effect says that `key` holds it. */
function isWritten({ records }: Observed, vip: string | undefined, key: string): boolean {
  if (vip === undefined) return true;
  const record = records.get(vip);
  return record !== undefined && record.key === key && record.freed === undefined;
}

/**
 * From which resourceVersion on a node has this in effect. A write of addresses drops it, so that the next pass takes the version which
 * that write made; other writes of ours carry it on, so that they do not set every node back, nor does another controller.
 */
function chooseChangeVersion({ status, generation, resourceVersion }: RouteState, vip: string | undefined, globalVip: string | undefined): string | undefined {
  if (vip === undefined || vip !== status.vip || globalVip !== status.globalVip) return undefined;
  return (status.observedGeneration === generation ? status.changeVersion : undefined) ?? resourceVersion;
}

function describeNodes({ count, of, refusals }: NodeCount, vip: string | undefined): Verdict {
  if (vip === undefined) return { status: 'False', reason: 'NoAddress', message: 'the route has no address yet' };
  if (of === 0) return { status: 'Unknown', reason: 'NoReports', message: 'no node has reported within 3 minutes' };
  const message = `in effect on ${count} of ${of} nodes`;
  if (count === of) return { status: 'True', reason: 'Programmed', message };
  if (refusals.length === 0) return { status: 'False', reason: 'Pending', message };
  const more = refusals.length > MAX_NAMED ? ` and ${refusals.length - MAX_NAMED} more` : '';
  return { status: 'False', reason: 'Refused', message: `${message}; ${refusals.slice(0, MAX_NAMED).join(', ')}${more}; 'onehop routes' on the node says more` };
}

const isError = (one: Problem): boolean => one.severity === 'error';

function accept({ problems, assignment }: Findings, vip: string | undefined): Verdict {
  const own = problems.filter((one) => isError(one) && !REFERENCE_REASONS.has(one.code));
  if (own.length > 0) return { status: 'False', reason: 'Invalid', message: linesOf(own) };
  if (vip !== undefined) return { status: 'True', reason: 'Accepted', message: 'the route is valid' };
  return { status: 'False', reason: 'NoAddress', message: linesOf(assignment.problems.filter((one) => one.code === 'vip-exhausted').slice(0, 1)) || 'there is no address for it' };
}

function resolve(problems: readonly Problem[]): Verdict {
  const open = problems.filter((one) => isError(one) && REFERENCE_REASONS.has(one.code));
  const [first] = open;
  if (first === undefined) return { status: 'True', reason: 'ResolvedRefs', message: 'all Services and ports are there' };
  return { status: 'False', reason: REFERENCE_REASONS.get(first.code) ?? 'Unresolved', message: linesOf(open) };
}

function conflict({ assignment, conflicts }: Findings, key: string): { readonly Conflict?: Verdict } {
  const global = assignment.problems.filter(({ object, code, field }) => `${object.namespace ?? ''}/${object.name}` === key && (code === 'global-name-conflict' || field === 'status.globalVip'));
  const reasons = [...global.map(({ code }) => (code === 'global-name-conflict' ? 'GlobalNameTaken' : 'NoGlobalAddress')), ...conflicts.map(({ reason }) => reason)];
  const [reason] = reasons;
  if (reason === undefined) return {};
  const message = [...global.map(lineOf), ...conflicts.map((one) => one.message)].join('. ');
  return { Conflict: { status: 'True', reason, message: printable(message, MAX_MESSAGE) } };
}

const lineOf = ({ field, message, remedy }: Problem): string => `${field === undefined ? '' : `${field}: `}${message}; ${remedy}`;

const linesOf = (problems: readonly Problem[]): string => printable(problems.map(lineOf).join('. '), MAX_MESSAGE);

/** `lastTransitionTime` moves only when `status` does. */
function stamp(type: ConditionType, verdict: Verdict, before: Condition | undefined, generation: number, nowMs: number): Condition {
  const lastTransitionTime = before?.status === verdict.status ? before.lastTransitionTime : `${new Date(nowMs).toISOString().slice(0, 19)}Z`;
  return { type, ...verdict, observedGeneration: generation, lastTransitionTime };
}

/** Whether what the controller writes is the same; conditions of others do not count. */
function sameStatus(a: RouteStatus, b: RouteStatus): boolean {
  return textOf(a) === textOf(b);
}

function textOf({ vip, vip6, globalVip, globalVip6, versions, observedGeneration, changeVersion, programmed, conditions }: RouteStatus): string {
  const own = CONDITIONS.map((type) => {
    const one = conditions.find((condition) => condition.type === type);
    return one === undefined ? undefined : [one.status, one.reason, one.message, one.observedGeneration, one.lastTransitionTime];
  });
  return JSON.stringify([vip, vip6, globalVip, globalVip6, versions, observedGeneration, changeVersion, programmed, own]);
}

/** What is left when the count of nodes may differ. */
function withoutCount(status: RouteStatus): RouteStatus {
  return { ...status, programmed: '', changeVersion: '', conditions: status.conditions.filter(({ type }) => type !== 'Programmed') };
}

/** Events for conditions whose status or reason changed; a first verdict that is good goes without saying. */
function findTransitions(before: RouteStatus, after: RouteStatus): readonly Note[] {
  return CONDITIONS.flatMap((type): Note[] => {
    const [was, is] = [before, after].map(({ conditions }) => conditions.find((one) => one.type === type));
    if (is === undefined) return type === 'Conflict' && was !== undefined ? [{ type: 'Normal', reason: 'ConflictResolved', note: 'the route has all its names' }] : [];
    if (was?.status === is.status && was.reason === is.reason) return [];
    const isGood = (is.status === 'True') !== (type === 'Conflict');
    // Waiting for nodes is no news: it is how every change begins.
    if (is.reason === 'Pending' || is.reason === 'NoReports' || (was === undefined && isGood && type !== 'Programmed')) return [];
    return [{ type: isGood ? 'Normal' : 'Warning', reason: is.reason, note: is.message }];
  });
}
