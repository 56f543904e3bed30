import { objectKey } from '../model/names.ts';
import { printable } from '../model/problem.ts';
import { CONTRADICTED_STATUS, type RefusalCode } from '../model/refusal.ts';
import { isWithinReach } from '../model/regex-reach.ts';
import type { Route, Version } from '../model/route-table.ts';
import type { CallerIdentity } from './identify.ts';

/** One call as the decision sees it. On tcp routes `headerValue` is never asked. */
export interface Call {
  readonly identity: CallerIdentity;
  /** Which of the route's addresses was called: its own VIP or its global one. */
  readonly arrivedOn: 'vip' | 'global';
  /** Value of the last line of that header (any case), trimmed; undefined when the header is absent. */
  readonly headerValue: (name: string) => string | undefined;
  /** Uniform in [0, 1). */
  readonly draw: number;
  /** Whether the PCRE `pattern` is found in `value`. */
  readonly matches: (pattern: string, value: string) => boolean;
  readonly limits: CallLimits;
}

/** How far the calls before this one have used up what a route allows. Nothing is asked that the route does not limit. */
export interface CallLimits {
  /** Counts the call against the rate: 0 when it is within, else whole seconds (at least 1) until one may pass again. */
  readonly takeRate: () => number;
  readonly breakerOpen: (version: Version) => boolean;
  /** Calls now with the servers of a version. */
  readonly inFlight: (version: Version) => number;
}

/** What happens to a call. `reason` is one printable line for people; `status`: another one than the code's own. */
export type Decision =
  | { readonly kind: 'refuse'; readonly code: RefusalCode; readonly reason: string; readonly retryAfterSeconds?: number; readonly status?: number }
  | { readonly kind: 'forward'; readonly version: Version; readonly index: number; readonly reason: string };

/** One rule that was tried on the way to a decision. */
export interface DecisionStep {
  readonly rule: 'route' | 'token' | 'caller' | 'isolation' | 'acl' | 'rateLimit' | 'version' | 'breaker' | 'connLimit' | 'endpoints';
  readonly passed: boolean;
  readonly detail: string;
}

type Verdict = { readonly detail: string; readonly refusal?: RefusalCode; readonly retryAfterSeconds?: number; readonly status?: number };
type Chosen = { readonly version?: number; readonly reason: string };

const refuse = (refusal: RefusalCode, detail: string): Verdict => ({ refusal, detail });

/**
 * Decides one call in the order of the design (section 3, "Refusals"): route-invalid, bad-token, caller-unknown, namespace-isolated, acl-denied,
 * rate-limited, no-version, breaker-open, conn-limit, no-endpoints. `onStep` sees each rule as it is tried (for `explain`); the decision is the same with and without it.
 */
export function decide(route: Route, call: Call, onStep?: (step: DecisionStep) => void): Decision {
  let chosen: Chosen = { reason: '' };
  const version = (): Version | undefined => route.versions[chosen.version ?? -1];
  const rules: readonly (readonly [DecisionStep['rule'], () => Verdict | undefined])[] = [
    ['route', () => (route.invalid ? refuse('route-invalid', 'the ServiceRoute is invalid') : { detail: 'the ServiceRoute is valid' })],
    ['token', () => checkToken(call)],
    ['caller', () => checkCaller(call)],
    ['isolation', () => checkIsolation(route, call)],
    ['acl', () => checkAcl(route, call)],
    ['rateLimit', () => checkRate(route, call)],
    ['version', () => {
      chosen = chooseVersion(route, call);
      return chosen.version === undefined ? refuse('no-version', chosen.reason) : { detail: chosen.reason };
    }],
    ['breaker', () => checkBreaker(version(), call)],
    ['connLimit', () => checkConnLimit(version(), call)],
    ['endpoints', () => checkEndpoints(version())],
  ];
  for (const [rule, check] of rules) {
    const verdict = check();
    if (verdict === undefined) continue;
    const { refusal, detail, ...more } = verdict;
    onStep?.({ rule, passed: refusal === undefined, detail });
    if (refusal !== undefined) return { kind: 'refuse', code: refusal, reason: detail, ...more };
  }
  const forwardTo = version();
  if (forwardTo === undefined) return { kind: 'refuse', code: 'no-version', reason: 'the chosen version does not exist' };
  return { kind: 'forward', version: forwardTo, index: chosen.version ?? -1, reason: chosen.reason };
}

/** The decision with every rule that was tried, in order; the last step is the one that decided. */
export function explainDecision(route: Route, call: Call): { readonly decision: Decision; readonly steps: readonly DecisionStep[] } {
  const steps: DecisionStep[] = [];
  const decision = decide(route, call, (step) => steps.push(step));
  return { decision, steps };
}

function describeCaller(identity: CallerIdentity): string {
  if (identity.kind === 'account') return `ServiceAccount ${identity.namespace}/${identity.serviceAccount}, by its token`;
  if (identity.kind !== 'pod') return identity.kind === 'host' ? 'the host' : 'an unknown source';
  const { namespace, pod, serviceAccount } = identity.caller;
  return `pod ${namespace}/${pod} (ServiceAccount ${serviceAccount})`;
}

/** Nothing is said of a caller that shows no token. */
function checkToken({ identity }: Call): Verdict | undefined {
  if (identity.kind === 'bad-token') return { ...refuse('bad-token', identity.why), ...(identity.contradicts ? { status: CONTRADICTED_STATUS } : {}) };
  if (identity.kind === 'pod') return identity.proven === true ? { detail: `it names the pod's own ServiceAccount ${identity.caller.serviceAccount}` } : undefined;
  return identity.kind === 'account' ? { detail: `it names ServiceAccount ${identity.namespace}/${identity.serviceAccount}` } : undefined;
}

function checkCaller({ identity }: Call): Verdict {
  return identity.kind === 'unknown' ? refuse('caller-unknown', 'the source address is no live pod of this node') : { detail: describeCaller(identity) };
}

function checkIsolation(route: Route, { identity, arrivedOn }: Call): Verdict {
  if (arrivedOn === 'global') return { detail: 'called by its global name: open to every known caller' };
  if (identity.kind === 'host') return { detail: 'host callers cross namespaces' };
  if (identity.kind === 'unknown' || identity.kind === 'bad-token') return refuse('caller-unknown', 'the source address is no live pod of this node');
  const caller = identity.kind === 'account' ? identity : identity.caller;
  if (caller.namespace === route.access.namespace) return { detail: `caller and route are both in ${route.access.namespace}` };
  if (caller.trusted) return { detail: 'named by --trusted-callers' };
  return refuse('namespace-isolated', `a caller of ${caller.namespace} may not call the private name of a route of ${route.access.namespace}`);
}

function checkAcl(route: Route, { identity }: Call): Verdict {
  const { defaultAllow, exceptions, accounts, hasEntries } = route.access;
  const excepted =
    (identity.kind === 'pod' && exceptions.includes(identity.caller.address)) ||
    (identity.kind === 'account' && accounts.includes(objectKey({ namespace: identity.namespace, name: identity.serviceAccount })));
  const detail = !hasEntries ? `no entries, defaultAllow ${defaultAllow}` : `${excepted ? 'an entry matches' : 'no entry matches'}, defaultAllow ${defaultAllow}`;
  return excepted === defaultAllow ? refuse('acl-denied', detail) : { detail };
}

function chooseVersion(route: Route, call: Call): Chosen {
  const { choice, versions } = route;
  switch (choice.kind) {
    case 'fixed':
      return { version: choice.version, reason: versions.length === 1 ? 'only version' : 'preferred' };
    case 'weighted': {
      const drawn = Math.floor(call.draw * choice.total);
      const share = choice.shares.find(({ below }) => drawn < below);
      const what = `${route.rule.type === 'Percentage' ? 'percentage' : 'endpoint'} ${drawn} of ${choice.total}`;
      if (share !== undefined) return { version: share.version, reason: `${what} < ${share.below}` };
      return otherwise(choice.otherwise, `${what} falls to no version`);
    }
    case 'header':
      return chooseByHeader(route, choice, call);
    case 'none':
      return { reason: 'the policy leaves no version to choose' };
  }
}

function chooseByHeader(route: Route, choice: { readonly header: string; readonly otherwise?: number }, call: Call): Chosen {
  const header = printable(choice.header, 80);
  const value = call.headerValue(choice.header);
  if (value === undefined) return otherwise(choice.otherwise, `header ${header} is absent`);
  if (!isWithinReach(route.versions, value.length)) return otherwise(choice.otherwise, `header ${header} of ${value.length} bytes is longer than its expressions are matched against`);
  const version = route.versions.findIndex(({ match }) => match !== undefined && match !== '' && call.matches(match, value));
  if (version < 0) return otherwise(choice.otherwise, `header ${header} matches no version`);
  return { version, reason: `header ${header} matches ${printable(route.versions[version]?.match ?? '', 100)}` };
}

function otherwise(version: number | undefined, why: string): Chosen {
  return version === undefined ? { reason: `${why}; none is preferred` } : { version, reason: `preferred: ${why}` };
}

/** Undefined here and below: the route has no such rule. */
function checkRate({ rateLimit }: Route, { limits }: Call): Verdict | undefined {
  if (rateLimit === undefined) return undefined;
  const { requestsPerSecond, burst, per } = rateLimit;
  const detail = `at most ${requestsPerSecond} a second ${per === 'Caller' ? 'from each caller' : 'in all'}, ${burst} at once`;
  const retryAfterSeconds = limits.takeRate();
  return retryAfterSeconds === 0 ? { detail } : { ...refuse('rate-limited', detail), retryAfterSeconds };
}

function checkBreaker(version: Version | undefined, { limits }: Call): Verdict | undefined {
  if (version === undefined || (version.breaker?.threshold ?? 0) === 0) return undefined;
  const { name } = version;
  return limits.breakerOpen(version) ? refuse('breaker-open', `the breaker of ${name} is open`) : { detail: `the breaker of ${name} is closed` };
}

function checkConnLimit(version: Version | undefined, { limits }: Call): Verdict | undefined {
  const connLimit = version?.breaker?.connLimit ?? 0;
  if (version === undefined || connLimit === 0) return undefined;
  const detail = `at most ${connLimit} at once with ${version.name}`;
  return limits.inFlight(version) >= connLimit ? refuse('conn-limit', detail) : { detail };
}

function checkEndpoints(version: Version | undefined): Verdict {
  if (version === undefined) return refuse('no-version', 'the chosen version does not exist');
  const { active, backup, spill } = version;
  if (active.length === 0) return refuse('no-endpoints', `version ${version.name} has no usable endpoint`);
  const farther = (spill?.tiers ?? []).map(([server]) => server?.tier);
  const above = spill === undefined ? '' : `; from ${spill.at} calls at once for each server on: ${farther.length === 0 ? 'no other tier has a server' : `tier ${farther.join(', then ')}`}`;
  return { detail: `version ${version.name}: ${active.length} active (tier ${active[0]?.tier}), ${backup.length} backup${above}` };
}
