import type { ChaosCaller, ChaosPod, ChaosRoute } from './chaos-objects.ts';
import { ADDRESS_OF_ROUTE } from './node-under-test.ts';

/**
 * What each host is for. On `wild` hosts pods die without a word: only calls that may be repeated go there. Pods of `calm` hosts end as
 * they should. Those of the `firm` host live as long as the run, for the connections that do.
 */
export const WILD_HOSTS = ['wild1', 'wild2', 'wild3', 'wild4', 'wild5', 'wild6'] as const;
export const CALM_HOSTS = ['calm1', 'calm2'] as const;
export const FIRM_HOST = 'firm';

export type RouteSort = 'wild' | 'calm' | 'firm';
export const NAMESPACES = ['shop', 'pay', 'blog', 'ops'] as const;

/** A route, and who may be where; which of its versions' pods are on other nodes. */
export interface RoutePlan extends Omit<ChaosRoute, 'vip' | 'globalVip'> {
  readonly sort: RouteSort;
  readonly global?: boolean;
  /** One pod of this node and the others of farther ones. */
  readonly far?: boolean;
}

const breaker = { threshold: 5_000, window: 10, breakTime: 5, connLimit: 5_000 };
const v = (route: string, ...weights: readonly number[]): ChaosRoute['to'] => weights.map((weight, i) => ({ name: `${route}-v${i + 1}`, weight }));
const h = (route: string, count: number, from = 1): ChaosRoute['to'] => Array.from({ length: count }, (_, i) => ({ name: `${route}-v${i + from}`, match: `^v${i + from}$` }));
const plain = (route: string, count = 1): ChaosRoute['to'] => Array.from({ length: count }, (_, i) => ({ name: `${route}-v${i + 1}` }));

const PLANS: readonly RoutePlan[] = [
  { namespace: 'shop', name: 'cart', sort: 'wild', protocol: 'http', type: 'Percentage', to: v('cart', 70, 30) },
  { namespace: 'shop', name: 'search', sort: 'wild', global: true, protocol: 'http', type: 'Header', prefer: 'search-v1', to: h('search', 3) },
  { namespace: 'shop', name: 'plain', sort: 'wild', protocol: 'http', type: '', to: plain('plain') },
  { namespace: 'shop', name: 'near', sort: 'wild', far: true, protocol: 'http', type: '', to: plain('near') },
  { namespace: 'shop', name: 'order', sort: 'calm', protocol: 'http', type: 'Percentage', to: v('order', 50, 50) },
  { namespace: 'shop', name: 'stream', sort: 'calm', protocol: 'tcp', type: 'Percentage', to: v('stream', 60, 40) },
  { namespace: 'shop', name: 'echo', sort: 'firm', protocol: 'tcp', type: '', to: plain('echo') },
  { namespace: 'shop', name: 'guarded', sort: 'wild', protocol: 'http', type: 'Percentage', to: v('guarded', 100, 0), acl: { defaultAllow: false, entries: [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }] } },
  { namespace: 'pay', name: 'ledger', sort: 'calm', protocol: 'http', type: 'Header', to: h('ledger', 2) },
  { namespace: 'pay', name: 'quote', sort: 'wild', protocol: 'http', type: 'Percentage', prefer: 'quote-v3', to: v('quote', 40, 30, 0).map((one) => ({ ...one, breaker })) },
  { namespace: 'pay', name: 'vault', sort: 'wild', global: true, protocol: 'http', type: '', to: plain('vault', 2), prefer: 'vault-v1', acl: { defaultAllow: true, entries: [{ name: 'web', namespace: 'front' }] } },
  { namespace: 'pay', name: 'wire', sort: 'calm', global: true, protocol: 'tcp', type: '', to: plain('wire'), acl: { defaultAllow: true, entries: [{ kind: 'ServiceAccount', name: 'web', namespace: 'blog' }] } },
  { namespace: 'blog', name: 'web', sort: 'wild', global: true, protocol: 'http', type: 'Percentage', to: v('web', 50, 25, 25).map((one) => ({ ...one, breaker: { connLimit: 5_000 } })) },
  { namespace: 'blog', name: 'live', sort: 'firm', protocol: 'http', type: '', to: plain('live') },
  { namespace: 'blog', name: 'feed', sort: 'wild', far: true, global: true, protocol: 'http', type: '', to: plain('feed', 2), more: { log: { mode: 'Errors' } } },
  { namespace: 'ops', name: 'files', sort: 'calm', global: true, protocol: 'http', type: 'Percentage', to: v('files', 90, 10), more: { locality: 'Cluster' } },
  { namespace: 'ops', name: 'part', sort: 'wild', protocol: 'http', type: 'Percentage', to: v('part', 60, 20) },
];

export interface PlannedRoute {
  readonly sort: RouteSort;
  readonly far: boolean;
  readonly route: ChaosRoute;
}

export const planRoutes = (): readonly PlannedRoute[] =>
  PLANS.map(({ sort, far = false, global = false, ...route }, i) => ({
    sort,
    far,
    route: { ...route, vip: ADDRESS_OF_ROUTE(2 * i + 1), ...(global ? { globalVip: ADDRESS_OF_ROUTE(2 * i + 2) } : {}) },
  }));

/** Routes that come and go; their versions' pods are those of `shop/plain`. */
export const FLEETING_ROUTES: readonly ChaosRoute[] = Array.from({ length: 6 }, (_, i) => ({
  namespace: 'shop',
  name: `fleeting-${i + 1}`,
  vip: ADDRESS_OF_ROUTE(101 + i),
  protocol: 'http',
  type: '',
  to: plain('plain'),
}));

const caller = (namespace: string, serviceAccount: string, index: number, app?: string): ChaosCaller => ({
  address: `127.88.98.${index}`,
  namespace,
  name: `caller-${index}`,
  serviceAccount,
  ...(app === undefined ? {} : { app }),
});

export const CALLERS: readonly ChaosCaller[] = [
  caller('shop', 'web', 1),
  caller('shop', 'batch', 2),
  caller('pay', 'web', 3),
  caller('pay', 'default', 4, 'web'),
  caller('blog', 'web', 5),
  caller('blog', 'default', 6),
  caller('ops', 'default', 7),
  caller('front', 'web', 8),
  caller('front', 'default', 9, 'web'),
];
export const STRANGER = '127.88.98.99';
/** An address that changes hands. */
export const MOVING = caller('shop', 'web', 10);

const FIRST_POD = 256 * 99;
const LAST_POD = 256 * 102 - 1;

/** Addresses of pods, each new one unused for as long as possible. */
export class PodNames {
  #next = FIRST_POD;
  #count = 0;

  make(namespace: string, service: string, host: string, node: ChaosPod['node']): ChaosPod {
    // No .0 and .255: they are addresses as others, and look like mistakes in a log.
    do {
      this.#next = this.#next >= LAST_POD ? FIRST_POD : this.#next + 1;
    } while ([0, 255].includes(this.#next % 256));
    return { namespace, service, name: `${service}-${++this.#count}`, address: `127.88.${Math.floor(this.#next / 256)}.${this.#next % 256}`, host, node, state: 'ready' };
  }
}
