import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosContext, DrawFault, Fault } from './chaos-context.ts';
import { renderRoute, routeKey, type AclEntry, type ChaosRoute, type ChaosVersion } from './chaos-objects.ts';
import { FLEETING_ROUTES, type PlannedRoute } from './make-world.ts';
import type { Random } from './random.ts';

type Edit = (route: ChaosRoute, random: Random, context: ChaosContext, planned: PlannedRoute) => ChaosRoute | undefined;

/** Draws one of the routes for which the edit makes sense. */
const edit =
  (change: Edit, suits: (route: ChaosRoute, planned: PlannedRoute) => boolean): DrawFault =>
  (context) => {
    const { random, world, planned, effect, events } = context;
    const [drawn] = random.shuffle(planned).filter((one) => one.sort !== 'firm' && suits(world.routes.get(routeKey(one.route)) ?? one.route, one));
    if (drawn === undefined) return undefined;
    const key = routeKey(drawn.route);
    return {
      locks: [`edit ${key}`],
      run: async () => {
        const next = change(world.routes.get(key) ?? drawn.route, random, context, drawn);
        if (next === undefined) return;
        world.routes.set(key, next);
        events.note(`${key}: ${JSON.stringify({ type: next.type, prefer: next.prefer, to: next.to.map(({ name, weight, match }) => `${name} ${weight ?? match ?? ''}`), global: next.globalVip !== undefined, acl: next.acl, more: next.more })}`);
        world.write(next.namespace);
        await effect.inEffect();
      },
    };
  };

/** Shares in whole per cent; some get none, and the sum stays what it was. */
function draw(to: readonly ChaosVersion[], random: Random): readonly ChaosVersion[] {
  const sum = to.reduce((total, { weight = 0 }) => total + weight, 0);
  const cuts = [0, ...Array.from({ length: to.length - 1 }, () => (random.chance(0.3) ? 0 : random.whole(0, sum))).sort((a, b) => a - b), sum];
  return to.map((version, i) => ({ ...version, weight: (cuts[i + 1] ?? sum) - (cuts[i] ?? 0) }));
}

export const moveSplit = edit(
  (route, random) => ({ ...route, to: draw(route.to, random) }),
  ({ type }) => type === 'Percentage',
);

export const moveHeaders = edit(
  (route, random) => {
    const matches = random.shuffle(['^v1$', '^v2$', '^v3$', '^v4$', '^v(2|4)$', '^(?:v1|none)$', 'v']);
    return { ...route, to: route.to.map((version, i) => ({ ...version, match: matches[i] ?? '^never$' })) };
  },
  ({ type }) => type === 'Header',
);

const ACL_ENTRIES: readonly (readonly AclEntry[])[] = [
  [],
  [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }],
  [{ name: 'web', namespace: 'front' }, { kind: 'ServiceAccount', name: 'batch', namespace: 'shop' }],
  [{ kind: 'Service', name: 'web', namespace: 'pay' }, { kind: 'ServiceAccount', name: 'web', namespace: 'blog' }],
  [{ kind: 'ServiceAccount', name: 'default', namespace: 'ops' }, { name: 'default', namespace: 'blog' }, { name: 'web', namespace: 'pay' }],
];

export const changeAcl = edit(
  (route, random) => ({ ...route, acl: { defaultAllow: random.chance(0.5), entries: random.pick(ACL_ENTRIES) } }),
  ({ acl, name }) => acl !== undefined || name === 'cart' || name === 'web',
);

const FIELDS: readonly Readonly<Record<string, unknown>>[] = [
  {},
  { timeout: { connect: '300ms', request: '45s' } },
  { timeout: { connect: '500ms', request: '50s' }, log: { mode: 'Errors' } },
  { log: { mode: 'Sampled', percent: 1 } },
  { retries: { attempts: 4 } },
];

/** Something about a route that HAProxy reads from its file alone. */
export const changeField = edit(
  (route, random) => ({ ...route, more: { ...(route.more?.['locality'] === undefined ? {} : { locality: route.more['locality'] }), ...random.pick(FIELDS) } }),
  () => true,
);

/** One more version, or one less: a Service of the same namespace and sort. */
export const changeVersions = edit(
  (route, random, { planned }, { sort }) => {
    const [last, ...before] = [...route.to].reverse();
    if (last !== undefined && before.length > 0 && route.prefer !== last.name && random.chance(0.5)) {
      const left = before.reverse();
      return { ...route, to: route.type === 'Percentage' ? left.map((version, i) => (i === 0 ? { ...version, weight: (version.weight ?? 0) + (last.weight ?? 0) } : version)) : left };
    }
    if (route.to.length >= 5) return undefined;
    const others = planned.filter((one) => one.sort === sort && one.route.namespace === route.namespace && one.route.protocol === route.protocol && one.route.name !== route.name).flatMap(({ route }) => route.to);
    const more = random.shuffle(others).find(({ name }) => !route.to.some((one) => one.name === name));
    if (more === undefined) return undefined;
    const added = { name: more.name, ...(route.type === 'Percentage' ? { weight: 0 } : {}), ...(route.type === 'Header' ? { match: '^v4$' } : {}) };
    const to = [...route.to, added];
    return { ...route, to: route.type === 'Percentage' ? draw(to, random) : to };
  },
  ({ name }) => name !== 'near' && name !== 'plain',
);

/** The global name goes, or comes back. */
export const toggleGlobal = edit(
  (route, _random, _context, planned) => {
    const { globalVip, ...rest } = route;
    const own = planned.route.globalVip;
    return globalVip === undefined && own !== undefined ? { ...rest, globalVip: own } : rest;
  },
  (_route, planned) => planned.route.globalVip !== undefined,
);

/** A route appears, or goes away with its address. */
export const toggleRoute: DrawFault = ({ random, world, effect, events }) => {
  const route = random.pick(FLEETING_ROUTES);
  const key = routeKey(route);
  return {
    locks: [`edit ${key}`],
    run: async () => {
      if (!world.routes.delete(key)) world.routes.set(key, route);
      events.note(`${key} ${world.routes.has(key) ? 'appears' : 'goes'}`);
      world.write(route.namespace);
      await effect.inEffect();
    },
  };
};

const GARBAGE = ['{ this is: [not YAML', '\u0000\u0001\u0002', 'kind: ServiceRoute\n\tmetadata: tabs\n', '- - - ]\n---\n%', '"unterminated', 'a: b: c: d\n', '\ufeff<html>502</html>: {', '&a [*a, *b]\n: :'];

/** A whole file is no YAML for a while: what stood in it goes on. */
export const breakFile: DrawFault = ({ random, world, effect, events }): Fault => {
  const route = random.pick([...world.routes.values()]);
  const text = random.pick(GARBAGE);
  const forMs = random.whole(200, 2_500);
  return {
    locks: ['source', `file ${route.namespace}`],
    run: async () => {
      events.note(`${route.namespace}.yaml becomes ${JSON.stringify(text)}`);
      world.breakFile(route.namespace, text);
      await sleep(forMs);
      events.note(`${route.namespace}.yaml is mended`);
      world.breakFile(route.namespace, undefined);
      await effect.inEffect();
    },
  };
};

const BAD_SPECS: readonly Readonly<Record<string, unknown>>[] = [
  { rule: { type: 'Nonsense' } },
  { to: [] },
  { rule: { type: 'Percentage', prefer: 'nobody' } },
  { rule: { type: 'Percentage' }, to: [{ name: 'a', balance: { rule: 70 } }, { name: 'b', balance: { rule: 70 } }] },
  { rule: { type: 'Header', header: 'X Bad' } },
  { rule: { type: 'Header', header: 'X-V' }, to: [{ name: 'a', balance: { rule: '(((' } }] },
  { timeout: { connect: 'never' } },
  { to: 'all', rule: 7 },
];

/** The spec of one route becomes invalid for a while: what was good of it goes on. */
export const breakRoute: DrawFault = ({ random, world, planned, effect, events }) => {
  const { route } = random.pick(planned.filter(({ sort }) => sort !== 'firm'));
  const bad = random.pick(BAD_SPECS);
  const forMs = random.whole(200, 2_000);
  return {
    locks: ['source', `edit ${routeKey(route)}`],
    run: async () => {
      const now = world.routes.get(routeKey(route)) ?? route;
      const object = renderRoute(now) as { readonly spec: object };
      events.note(`${routeKey(route)} gets ${JSON.stringify(bad)}`);
      world.breakRoute(now, { ...object, spec: { ...object.spec, ...bad } });
      await effect.inEffect();
      await sleep(forMs);
      events.note(`${routeKey(route)} is mended`);
      world.breakRoute(now, undefined);
      await effect.inEffect();
    },
  };
};
