import type { CallPlan, CallResult } from './chaos-client.ts';
import type { ChaosRoute } from './chaos-objects.ts';
import type { ChaosWorld } from './chaos-world.ts';
import type { EventLog } from './event-log.ts';
import { expectOutcome, type Expected } from './expect-outcome.ts';
import type { PodFleet } from './pod-fleet.ts';

/** A time in which HAProxy was dead: from its kill to the first call that was served again. */
export interface Outage {
  readonly fromMs: number;
  toMs: number;
}

export interface Violation {
  readonly kind: 'failed' | 'wrong';
  readonly text: string;
  readonly before: readonly string[];
}

const SHOWN = 20;
/** Refusals of a worker whose servers have all gone. */
const BEHIND: ReadonlySet<string> = new Set(['no-endpoints', 'connect-failed']);
const EVENTS_SHOWN = 25;

/** Compares each call with what the objects said while it ran, and counts. */
export class CallJudge {
  readonly outages: Outage[] = [];
  readonly violations: Violation[] = [];
  readonly perKind = new Map<string, number>();
  readonly outcomes = new Map<string, number>();
  calls = 0;
  failed = 0;
  wrong = 0;
  /** In flight inside a HAProxy that was killed. */
  cut = 0;
  /** Begun while it was dead. */
  unserved = 0;
  /** On a connection that was silent since before a reload: an old worker served it, with the servers of then. */
  behind = 0;
  slowest: { readonly ms: number; readonly what: string } = { ms: 0, what: '' };
  readonly #world: ChaosWorld;
  readonly #fleet: PodFleet;
  readonly #events: EventLog;
  readonly #wasReplaced: (fromMs: number, toMs: number) => boolean;

  /** `wasReplaced`: whether another worker came to serve between the two. */
  constructor(world: ChaosWorld, fleet: PodFleet, events: EventLog, wasReplaced: (fromMs: number, toMs: number) => boolean) {
    this.#world = world;
    this.#fleet = fleet;
    this.#events = events;
    this.#wasReplaced = wasReplaced;
  }

  judge(plan: CallPlan, result: CallResult): void {
    this.calls++;
    count(this.perKind, plan.kind);
    const expected = this.#expected(plan, result);
    const wrong = result.label === undefined ? undefined : this.#whyWrong(result.label, plan, result, expected);
    const end = result.label === undefined ? (result.reason ?? (isClosed(result) ? 'closed' : 'error')) : 'answered';
    const isRight = result.label === undefined ? expected.some(({ refusals }) => refusals.includes(end)) : wrong === undefined;
    count(this.outcomes, end);
    if (isRight) return this.#noteSlow(plan, result);
    const outage = this.outages.find(({ fromMs, toMs }) => result.startMs <= toMs && result.endMs >= fromMs);
    if (outage !== undefined && result.label === undefined) {
      if (result.startMs <= outage.fromMs) this.cut++;
      else this.unserved++;
      return;
    }
    if (result.sinceMs < result.startMs && BEHIND.has(result.reason ?? '') && this.#wasReplaced(result.sinceMs, result.startMs)) {
      this.behind++;
      this.#events.note(`behind: ${describe(plan)} got ${result.reason ?? ''}, connection idle since ${this.#events.at(result.sinceMs)}`);
      return;
    }
    this.#violated(plan, result, expected, wrong);
  }

  /** Everything that the objects may have meant while the call ran. */
  #expected(plan: CallPlan, { sinceMs, endMs }: CallResult): readonly Expected[] {
    const routes = this.#world.routesAt(plan.route, sinceMs, endMs);
    const callers = this.#world.callersAt(plan.from, sinceMs, endMs);
    return routes.flatMap((route: ChaosRoute | undefined) => callers.map((caller) => expectOutcome(route, caller, plan)));
  }

  /** Undefined when this pod may have answered. */
  #whyWrong(label: string, plan: CallPlan, { sinceMs, endMs }: CallResult, expected: readonly Expected[]): string | undefined {
    const [namespace = '', service = '', pod = ''] = label.split('/');
    if (plan.route.split('/')[0] !== namespace) return 'it is of another namespace';
    if (!expected.some(({ services }) => services.includes(service))) return expected.some(({ services }) => services.length > 0) ? 'it is of another version or route' : 'the call was to be refused';
    const address = this.#fleet.addressOf(label) ?? '';
    const listed = this.#world.podsAt(address, sinceMs, endMs);
    if (!listed.some((one) => one?.name === pod && one.service === service && one.namespace === namespace && one.state === 'ready')) return 'it was no ready endpoint any more, or not yet';
    return this.#fleet.livedAfter(address, label, sinceMs) ? undefined : 'it was dead';
  }

  #violated(plan: CallPlan, result: CallResult, expected: readonly Expected[], why: string | undefined): void {
    const kind = result.label === undefined ? 'failed' : 'wrong';
    this[kind]++;
    if (this[kind] > SHOWN) return;
    const got = result.label ?? `${result.status} ${result.reason ?? ''} ${result.error ?? ''}`;
    const awaited = expected.map(({ services, refusals }) => [...services, ...refusals].join('|')).join(' or ');
    const since = result.sinceMs === result.startMs ? '' : `, connection idle since ${this.#events.at(result.sinceMs)}`;
    const text = `${this.#events.at(result.startMs)} to ${this.#events.at(result.endMs)}${since}: ${describe(plan)} got ${got}${why === undefined ? '' : ` (${why})`}; right: ${awaited}`;
    this.#events.note(`${kind.toUpperCase()} ${text}`);
    this.violations.push({ kind, text, before: this.#events.last(EVENTS_SHOWN) });
  }

  #noteSlow(plan: CallPlan, { startMs, endMs }: CallResult): void {
    const ms = endMs - startMs;
    if (ms > this.slowest.ms) this.slowest = { ms, what: `${describe(plan)} at ${this.#events.at(startMs)}` };
  }
}

const describe = (plan: CallPlan): string =>
  `${plan.kind} ${plan.method} ${plan.route} (${plan.address}${plan.global ? ', global' : ''}) from ${plan.from}${plan.header === undefined ? '' : ` version ${plan.header}`} ${plan.path}`;

/** Nobody listens, or the connection ended before an answer began. */
const isClosed = ({ error }: CallResult): boolean => error !== undefined && /^(?:ECONNREFUSED|ECONNRESET|EPIPE|closed|socket hang up)/.test(error);

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
