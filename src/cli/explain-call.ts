import { explainDecision, type CallLimits, type Decision, type DecisionStep } from '../embedded/decide.ts';
import { buildCallerIndex, identify, type CallerIdentity } from '../embedded/identify.ts';
import type { TableView } from '../desired/table-view.ts';
import type { BreakerState } from '../model/breaker.ts';
import type { RefusalCode } from '../model/refusal.ts';
import { identifyByToken } from '../embedded/identify-by-token.ts';
import { objectKey } from '../model/names.ts';
import type { Route, Version } from '../model/route-table.ts';
import type { TokenVerdict } from '../model/token.ts';

/** What is asked: a call of `host` from `from` with these headers (names in lower case). */
export interface CallQuestion {
  /** Host of the URL, or a name: `svc21`, `svc21.global`, `svc21.shop.route.internal`, `shop/svc21`, or an address. */
  readonly host: string;
  readonly port?: number;
  /** The port that a URL without one means. */
  readonly impliedPort?: number;
  /** `namespace/pod`, `pod`, an address, or `host` for a process of the node. */
  readonly from: string;
  readonly headers: ReadonlyMap<string, string>;
  /** What became of the token that it shows; absent: it shows none. */
  readonly tokenVerdict?: TokenVerdict;
}

/** One way the call can go; `share` in percent. Without a draw there is one. */
export interface Outcome {
  readonly share: number;
  readonly decision: Decision;
}

export interface Explanation {
  readonly route: Route;
  readonly arrivedOn: 'vip' | 'global';
  /** Name as DNS knows it, and its address. */
  readonly dnsName: string;
  readonly vip: string;
  readonly source: string;
  readonly identity: CallerIdentity;
  readonly steps: readonly DecisionStep[];
  readonly outcomes: readonly Outcome[];
}

export type ExplainResult = { readonly explanation: Explanation } | { readonly error: string };

/** Whether the PCRE is found in the value; throws when this machine cannot tell. */
export type MatchPattern = (pattern: string, value: string) => boolean;

/** Refusals that depend on the version that is drawn. */
const BY_VERSION: ReadonlySet<RefusalCode> = new Set(['no-version', 'breaker-open', 'conn-limit', 'no-endpoints']);

/** What the breaker of a version does; undefined: it has none, or the view is of a folder. */
export const breakerOf = ({ breakers }: TableView, route: Route, version: Version): BreakerState | undefined =>
  breakers.find((state) => state.namespace === route.namespace && state.route === route.name && route.versions[state.version] === version);

/** Answers the question with the code that decides calls in the embedded proxy. Pure. */
export function explainCall(view: TableView, question: CallQuestion, matches: MatchPattern): ExplainResult {
  const source = findSource(view, question.from);
  if (source === undefined) {
    const known = view.table.callers.pods.map((caller) => `${caller.namespace}/${caller.pod}`).slice(0, 8).join(', ');
    return { error: `there is no live pod '${question.from}' on node ${view.table.node}; pods here: ${known || 'none'} (--node-name asks for another node of a folder)` };
  }
  const bySource = identify(buildCallerIndex(view.table.callers), source);
  const identity = question.tokenVerdict === undefined ? bySource : identifyByToken(bySource, question.tokenVerdict, view.table.callers.trusted);
  // What a short name means, the resolver of the caller says: a token changes nothing there.
  const target = findRoute(view, question.host, bySource);
  if (target === undefined) return { error: notFound(view, question.host) };
  if (question.port !== undefined && question.port !== target.route.listen) {
    return { error: `route ${objectKey(target.route)} listens on port ${target.route.listen}, not ${question.port}` };
  }

  const { route } = target;
  // Rates and calls in flight are known to the serving process alone: the rules are shown, and taken as not exhausted.
  const limits: CallLimits = {
    takeRate: () => 0,
    breakerOpen: (version) => breakerOf(view, route, version)?.open ?? false,
    inFlight: () => 0,
  };
  const call = (draw: number) =>
    explainDecision(route, { identity, arrivedOn: target.arrivedOn, headerValue: (name) => question.headers.get(name.toLowerCase()), draw, matches, limits });
  const draws = drawsOf(route);
  const { steps } = call(draws[0]?.draw ?? 0);
  const outcomes = draws.map(({ draw, share }) => ({ share, decision: call(draw).decision }));
  const refusedAtOnce = outcomes.every(({ decision }) => decision.kind === 'refuse' && !BY_VERSION.has(decision.code));
  return { explanation: { ...target, source, identity, steps, outcomes: refusedAtOnce ? outcomes.slice(0, 1).map(({ decision }) => ({ share: 100, decision })) : outcomes } };
}

/** One draw for each share of a weighted choice, in the middle of it. */
function drawsOf({ choice }: Route): readonly { readonly draw: number; readonly share: number }[] {
  if (choice.kind !== 'weighted') return [{ draw: 0, share: 100 }];
  let from = 0;
  const draws: { draw: number; share: number }[] = [];
  for (const below of [...choice.shares.map((share) => share.below), choice.total]) {
    if (below > from) draws.push({ draw: (from + below) / 2 / choice.total, share: ((below - from) / choice.total) * 100 });
    from = below;
  }
  return draws;
}

/** Source address of `from`; undefined: no such pod. */
function findSource(view: TableView, from: string): string | undefined {
  if (from === 'host') return '127.0.0.1';
  if (/^[0-9.]+$/.test(from) || from.includes(':')) return from;
  return view.table.callers.pods.find((caller) => `${caller.namespace}/${caller.pod}` === from || caller.pod === from)?.address;
}

/** The route that callers of this identity mean by `host`; undefined: none, or more than one. */
export function findRoute(view: TableView, host: string, identity: CallerIdentity): Pick<Explanation, 'route' | 'arrivedOn' | 'dnsName' | 'vip'> | undefined {
  const { routes } = view.table;
  const own = (route: Route) => ({ route, arrivedOn: 'vip' as const, dnsName: `${route.name}.${route.namespace}.${view.zone}`, vip: route.vip });
  const global = (route: Route) => ({ route, arrivedOn: 'global' as const, dnsName: `${route.name}.${view.globalNamespace}.${view.zone}`, vip: route.globalVip ?? '' });

  for (const route of routes) {
    if (host === route.vip || host === route.vip6) return own(route);
    if (host === route.globalVip || host === route.globalVip6) return global(route);
  }
  const [name = '', namespace = identity.kind === 'pod' ? identity.caller.namespace : undefined] = shorten(host, view.zone);
  if (namespace === view.globalNamespace) {
    const holder = routes.find((route) => route.name === name && route.globalVip !== undefined);
    return holder === undefined ? undefined : global(holder);
  }
  const named = routes.filter((route) => route.name === name && (namespace === undefined || route.namespace === namespace));
  const [route, second] = named;
  return route === undefined || second !== undefined ? undefined : own(route);
}

/** Routes of that name elsewhere are named: the caller's namespace has none, or a process of the node has no namespace. */
export function notFound({ table, zone }: TableView, host: string): string {
  const [name] = shorten(host, zone);
  const others = table.routes.filter((route) => route.name === name).map((route) => objectKey(route));
  const more = others.length === 0 ? "see 'onehop routes'" : `there is ${others.slice(0, 5).join(', ')}${others.length > 5 ? ' and others' : ''}`;
  return `'${host}' is no route's name or address for this caller; ${more}`;
}

/** Name and namespace of `shop/svc`, `svc.shop`, `svc.shop.svc.cluster.local` or `svc.shop.<zone>`. */
function shorten(host: string, zone: string): readonly string[] {
  if (host.includes('/')) return host.split('/').toReversed();
  const name = host.toLowerCase().replace(/\.$/, '');
  const bare = name.endsWith(`.${zone}`) ? name.slice(0, -zone.length - 1) : name.replace(/\.svc(\..*)?$/, '');
  return bare.split('.');
}

/** The servers of a version in the order in which they are used, for people. */
export function describeServers(version: Version): readonly string[] {
  const row = (use: string) => (endpoint: Version['endpoints'][number]) =>
    `${use.padEnd(7)} ${endpoint.address}:${endpoint.port}  tier ${endpoint.tier}${endpoint.pod === undefined ? '' : `  pod ${endpoint.pod}`}${endpoint.node === undefined ? '' : `  on ${endpoint.node}`}`;
  return [...version.active.map(row('active')), ...version.backup.map(row('backup')), ...(version.spill?.tiers.slice(1).flat() ?? []).map(row('spill'))];
}
