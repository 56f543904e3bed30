import { describe, expect, it } from 'vitest';
import { explainCall, type CallQuestion } from '../../../src/cli/explain-call.ts';
import type { TableView } from '../../../src/desired/table-view.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { buildTable } from '../../../src/routing/build-table.ts';
import { pod, service, serviceRoute, slice, snapshot } from '../../support/objects.ts';

const pool = parseVipPool('127.77.0.0/16');
const { table } = buildTable(
  snapshot({
    serviceRoutes: [
      serviceRoute('shop/cart', { to: [{ name: 'v1', weight: 30 }, { name: 'v2', weight: 20 }], rule: { type: 'Percentage' }, global: true }),
      serviceRoute('shop/login', { to: [{ name: 'v1' }] }),
      serviceRoute('front/login', { to: [{ name: 'v1' }] }),
      serviceRoute('shop/split', { to: [{ name: 'v1', match: '^a$' }, { name: 'v2', match: '^b$' }], rule: { type: 'Header', header: 'X-V', prefer: 'v1' } }),
    ],
    services: [service('shop/v1'), service('shop/v2'), service('front/v1')],
    endpointSlices: ['shop/v1', 'shop/v2', 'front/v1'].map((key, i) => slice(key, [`127.88.0.${i}@n1`])),
    pods: [pod('shop/web', '127.88.1.1'), pod('front/web', '127.88.1.2')],
  }),
  { nodeName: 'n1', ownAddresses: [], pool, vips: 'allocate', globalNamespace: 'global', trustedCallers: [], httpPort: 8080 },
  {},
  0,
);
const view: TableView = { generation: 1, proxy: 'embedded', zone: 'route.internal', globalNamespace: 'global', pool, dnsListen: [], table, applyProblems: [], breakers: [] };
const matches = (pattern: string, value: string): boolean => new RegExp(pattern).test(value);

function ask(host: string, from: string, more: Partial<CallQuestion> = {}): string {
  const result = explainCall(view, { host, from, headers: new Map(), ...more }, matches);
  if ('error' in result) return result.error;
  const { route, arrivedOn, outcomes } = result.explanation;
  const answers = outcomes.map(({ share, decision }) => `${share} ${decision.kind === 'forward' ? decision.version.name : decision.code}`);
  return `${route.namespace}/${route.name} ${arrivedOn}: ${answers.join(', ')}`;
}
const vipOf = (key: string): string => table.routes.find(({ namespace, name }) => `${namespace}/${name}` === key)?.vip ?? '';

describe('a call', () => {
  it.each([
    ['cart', 'shop/web'],
    ['cart.shop', 'host'],
    ['shop/cart', 'host'],
    ['cart.shop.route.internal', 'host'],
    ['Cart.Shop.route.internal.', '127.0.0.1'],
    ['cart.shop.svc.cluster.local', 'shop/web'],
    [vipOf('shop/cart'), '127.88.1.1'],
  ])('of %s by %s reaches the route by its own name, each share an outcome', (host, from) => {
    expect(ask(host, from)).toBe('shop/cart vip: 30 v1, 20 v2, 50 no-version');
  });

  it('by the global name crosses namespaces, by the own name it does not', () => {
    expect(ask('cart.global', 'front/web')).toBe('shop/cart global: 30 v1, 20 v2, 50 no-version');
    expect(ask('cart.shop', 'front/web')).toBe('shop/cart vip: 100 namespace-isolated');
    expect(ask('cart.shop', '127.88.9.9')).toBe('shop/cart vip: 100 caller-unknown');
  });

  it('goes where its header says', () => {
    expect(ask('split', 'shop/web', { headers: new Map([['x-v', 'b']]) })).toBe('shop/split vip: 100 v2');
    expect(ask('split', 'shop/web')).toBe('shop/split vip: 100 v1');
  });
});

describe('what cannot be explained is said with what there is', () => {
  it.each([
    ['login', 'host', "'login' is no route's name or address for this caller; there is front/login, shop/login"],
    ['cart', 'front/web', "'cart' is no route's name or address for this caller; there is shop/cart"],
    ['nosuch.shop', 'host', "'nosuch.shop' is no route's name or address for this caller; see 'onehop routes'"],
    ['cart', 'shop/gone', "there is no live pod 'shop/gone' on node n1; pods here: shop/web, front/web (--node-name asks for another node of a folder)"],
  ])('%s by %s', (host, from, error) => {
    expect(ask(host, from)).toBe(error);
  });

  it('another port', () => {
    expect(ask('cart', 'shop/web', { port: 81 })).toBe('route shop/cart listens on port 8080, not 81');
  });
});
