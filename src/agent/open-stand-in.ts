import process from 'node:process';
import type { Logger } from '../daemon/io/logger.ts';
import { logPlace } from '../haproxy/describe-refusal.ts';
import { readHaproxyUid } from '../haproxy/io/held-listeners.ts';
import { NO_CALLS, type CallCounts } from '../model/call-counts.ts';
import type { OnTokensChanged } from '../model/token.ts';
import type { Settings } from '../settings/settings.ts';
import { STAND_IN_TIMING } from './judge-stand-in.ts';
import type { EmbeddedNodeProxy, HaproxyNodeProxy, NodeProxy, ProxyParts } from './node-proxy.ts';
import { StandIn, type Substitute } from './stand-in.ts';

export interface OpenStandInParts {
  readonly settings: Settings;
  readonly parts: ProxyParts;
  readonly log: Logger;
  readonly openHaproxy: (holdsRestarts: () => boolean) => Promise<HaproxyNodeProxy>;
  readonly openSubstitute: (onTokensChanged: OnTokensChanged) => Promise<EmbeddedNodeProxy>;
}

/**
 * HAProxy, with the embedded proxy in its place while it is gone and not coming back (`--proxy auto`).
 * What both count is one sum: it falls when HAProxy ends, as ever, and at no hand-over.
 * @throws CodedError when HAProxy cannot be opened
 */
export async function openStandIn({ settings, parts, log, openHaproxy, openSubstitute }: OpenStandInParts): Promise<NodeProxy> {
  const substitutes = new Substitutes(parts.onTokensChanged, openSubstitute);
  let holdsRestarts = (): boolean => false;
  const haproxy = await openHaproxy(() => holdsRestarts());
  let uid: number | undefined;
  /** HAProxy's sockets and ours can be side by side if they are one user's. Its own is seen while its socket is there. */
  const obstacle = async (): Promise<string | undefined> => {
    uid = (await readHaproxyUid(settings.runDir)) ?? uid;
    if (uid !== undefined && uid !== process.getuid?.()) return `HAProxy runs as another user (uid ${uid}) and could not come back beside it; run both as one user`;
    return (await parts.siblingServes()) ? 'the HAProxy of another generation serves this node' : undefined;
  };
  const proxy = new StandIn({
    haproxy: haproxy.proxy,
    look: async () => {
      const sight = await haproxy.look();
      return typeof sight === 'string' ? sight : 'serves';
    },
    attach: settings.haproxyAttach,
    open: () => substitutes.open(),
    obstacle,
    remedy: `mend HAProxy, it takes over by itself; its messages are in ${logPlace(settings.runDir, settings.haproxyAttach)}`,
    onChange: (why) => parts.onStandIn(why),
    log,
    drainMs: settings.drainTimeoutSeconds * 1000,
    timing: STAND_IN_TIMING,
  });
  holdsRestarts = () => proxy.holdsRestarts;
  return {
    proxy,
    adopt: (table) => proxy.adopt(table),
    checkRegexes: haproxy.checkRegexes,
    counters: () => {
      const { times, living } = proxy.status();
      return { ...haproxy.counters(), standing_in: proxy.kind === 'embedded' ? 1 : 0, stand_ins: times, stand_ins_living: living };
    },
    calls: async () => sum(await haproxy.calls(), ...substitutes.calls()),
    lostCalls: () => haproxy.lostCalls() + substitutes.lostCalls(),
    prepareClose: () => proxy.keepOut(),
  };
}

/** Every embedded proxy that stands in or has: what they have counted, and who hears of new keys. */
class Substitutes {
  readonly #open: OpenStandInParts['openSubstitute'];
  readonly #living = new Map<EmbeddedNodeProxy, () => void>();
  #past: CallCounts = NO_CALLS;
  #pastLost = 0;

  constructor(onTokensChanged: OnTokensChanged, open: OpenStandInParts['openSubstitute']) {
    this.#open = open;
    onTokensChanged(() => {
      for (const forget of this.#living.values()) forget();
    });
  }

  async open(): Promise<Substitute> {
    let forget = (): void => {};
    const opened = await this.#open((listener) => (forget = listener));
    this.#living.set(opened, forget);
    const { proxy } = opened;
    return {
      apply: (table) => proxy.apply(table),
      listeners: () => proxy.listeners(),
      breakers: () => proxy.breakers(),
      setBreaker: (ref, mode) => proxy.setBreaker(ref, mode),
      close: async (how) => {
        await proxy.close(how);
        if (!this.#living.delete(opened)) return;
        this.#pastLost += opened.lostCalls();
        this.#past = sum(this.#past, countsOf(opened));
      },
    };
  }

  calls(): readonly CallCounts[] {
    return [this.#past, ...[...this.#living.keys()].map(countsOf)];
  }

  lostCalls(): number {
    return [...this.#living.keys()].reduce((lost, one) => lost + one.lostCalls(), this.#pastLost);
  }
}

function countsOf({ proxy }: EmbeddedNodeProxy): CallCounts {
  const { refused, forwarded, left } = proxy.status();
  return { routes: [], refused, answered: forwarded, left };
}

/** Routes are those of the first, which alone counts by route. */
const sum = (first: CallCounts, ...others: readonly CallCounts[]): CallCounts =>
  others.reduce(({ routes, refused, answered, left }, more) => ({ routes, refused: add(refused, more.refused), answered: add(answered, more.answered), left: add(left, more.left) }), first);

function add(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  const total: Record<string, number> = { ...a };
  for (const [key, value] of Object.entries(b)) total[key] = (total[key] ?? 0) + value;
  return total;
}
