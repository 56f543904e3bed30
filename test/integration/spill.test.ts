import net from 'node:net';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Endpoint, Route, Spill, Version } from '../../src/model/route-table.ts';
import { aCaller, aRoute, aTable, aVersion } from '../support/route-tables.ts';
import { CALLER, get as getNow, load, OPEN, SpillServer, THREADS, until, VIP } from '../support/spill-world.ts';
import type { Answered, Serving } from '../support/spill-world.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** Calls that leave a saturated tier, on real servers. */
const near = new SpillServer('127.88.91.11', 'node');
const second = new SpillServer('127.88.91.12', 'node');
const zone = new SpillServer('127.88.91.21', 'zone');
const more = [22, 23].map((last) => new SpillServer(`127.88.91.${last}`, 'zone'));
const any = new SpillServer('127.88.91.31', 'any');
const SERVERS = [near, second, zone, ...more, any];
const NEAR = near.endpoint.address;
const ZONE = zone.endpoint.address;
const ANY = any.endpoint.address;

/** A connect that a loaded machine is slow with is no reason to leave a tier. */
const PATIENT = { connectMs: 20_000, requestMs: 60_000 };

/** A version whose tiers are these, nearest first. */
function tiered(name: string, at: number, tiers: readonly (readonly Endpoint[])[], more: Partial<Version> = {}): Version {
  const [active = [], ...farther] = tiers;
  const spill: Spill = { at, tiers: farther };
  return aVersion(name, active, { backup: farther[0] ?? [], ...(at === 0 ? {} : { spill }), ...more });
}
const tiersOf = (...servers: readonly SpillServer[]): readonly (readonly Endpoint[])[] => {
  const endpoints = servers.map(({ endpoint }) => endpoint);
  return [...Map.groupBy(endpoints, ({ tier }) => tier).values()];
};

describe.each(['haproxy', 'embedded'] as const)('spill-over with %s', (kind) => {
  let serving: Serving;

  beforeAll(async () => {
    for (const server of SERVERS) await server.listen();
    serving = await OPEN[kind]();
  });
  afterAll(async () => {
    await serving.close();
    for (const server of SERVERS) await server.die();
  });
  beforeEach(async () => {
    await until('all servers are up', async () => !(await serving.hasDown()));
    for (const server of SERVERS) server.forget();
  });
  afterEach(() => {
    for (const server of SERVERS) server.release();
  });

  const serve = async (versions: readonly Version[], more: Partial<Route> = {}): Promise<void> => {
    expect(await serving.proxy.apply(aTable([aRoute('cart', { vip: VIP, listen: 8080, versions, timeout: PATIENT, ...more })], [aCaller(CALLER)]))).toEqual([]);
  };
  const serveAt = (at: number, ...servers: readonly SpillServer[]): Promise<void> => serve([tiered('v', at, tiersOf(...servers))]);
  const held: Promise<unknown>[] = [];
  /** One GET, when no call counts any more but those that wait. */
  const get = async (...args: Parameters<typeof getNow>): Promise<Answered> => {
    await until('answered calls count no more', () => serving.countsAtMost(held.length));
    return getNow(...args);
  };
  /** Begins calls that wait at their servers. */
  const hold = async (count: number, where: SpillServer): Promise<void> => {
    const before = where.held;
    for (let i = 0; i < count; i++) {
      await until('answered calls count no more', () => serving.countsAtMost(held.length));
      held.push(getNow('/held'));
      await until(`${i + 1} calls wait at ${where.endpoint.address}`, () => where.held === before + i + 1);
    }
  };
  const letGo = async (): Promise<void> => {
    for (const server of SERVERS) server.release();
    for (const answer of await Promise.all(held.splice(0))) expect(answer).toMatchObject({ status: 200 });
  };

  it('keeps 8 callers on the node at a limit of 16', async () => {
    await serveAt(16, near, zone);
    const { by, failed } = await load(8, 400);
    expect(failed).toEqual([]);
    expect(Object.fromEntries(by)).toEqual({ [NEAR]: 400 });
    expect(zone.reached).toBe(0);
  });

  it('sends what is above the limit on, and nothing fails', async () => {
    await serveAt(16, near, zone, ...more);
    const before = await serving.counts();
    const { by, failed } = await load(64, 3000);
    expect(failed).toEqual([]);
    const far = 3000 - (by.get(NEAR) ?? 0);
    // Two threads of HAProxy may count at the same moment.
    expect(near.most).toBeGreaterThanOrEqual(16);
    expect(near.most).toBeLessThanOrEqual(kind === 'haproxy' ? 16 + THREADS - 1 : 16);
    for (const one of [zone, ...more]) expect(one.most).toBeGreaterThan(8);
    const after = await serving.counts();
    expect((after.left.saturated ?? 0) - (before.left.saturated ?? 0)).toBe(far);
    expect((after.answered.zone ?? 0) - (before.answered.zone ?? 0)).toBe(far);
    expect((after.answered.node ?? 0) - (before.answered.node ?? 0)).toBe(by.get(NEAR));
  });

  it('one caller above the limit moves one call, over connections that stay', async () => {
    await serveAt(16, near, zone);
    await load(17, 100);
    for (const server of SERVERS) server.forget();
    const { by, failed } = await load(17, 2000);
    expect(failed).toEqual([]);
    expect(zone.most).toBeLessThanOrEqual(2);
    expect(near.reached).toBeGreaterThan(1700);
    expect(by.get(ZONE)).toBe(zone.reached);
    expect(zone.connections).toBeLessThanOrEqual(4);
  });

  it('goes from tier to tier, and back to the nearest when all are full: refused is nobody', async () => {
    await serveAt(1, near, second, zone, any);
    // Two near servers: twice the limit.
    held.push(getNow('/held'), getNow('/held'));
    await until('two calls wait near', () => near.held + second.held === 2);
    await hold(1, zone);
    await hold(1, any);
    const answer = await get();
    expect(answer.status).toBe(200);
    expect([NEAR, second.endpoint.address]).toContain(answer.by);
    await letGo();
    await until('the node has room again', async () => [NEAR, second.endpoint.address].includes((await get()).by));
  });

  it('nobody waits or is refused when all tiers are full: the nearest takes them', async () => {
    await serveAt(2, near, zone);
    const { by, failed } = await load(32, 1500);
    expect(failed).toEqual([]);
    expect(zone.most).toBeLessThanOrEqual(kind === 'haproxy' ? 2 + THREADS - 1 : 2);
    expect(near.most).toBeGreaterThan(16);
    expect(by.get(NEAR)).toBeGreaterThan(by.get(ZONE) ?? 0);
  });

  it('does not count calls at servers that are gone', async () => {
    await serveAt(2, near, second, zone);
    held.push(...Array.from({ length: 4 }, () => getNow('/held')));
    await until('four calls wait near', () => near.held + second.held === 4);
    await serveAt(2, near, zone);
    near.release();
    await until('a call goes near', async () => (await get()).by === NEAR);
    expect(second.held).toBeGreaterThan(0);
    await letGo();
  });

  it('returns to the near tier with the first free place', async () => {
    await serveAt(2, near, zone);
    await hold(2, near);
    expect(await get()).toEqual({ status: 200, by: ZONE });
    near.release(1);
    await until('a call goes near', async () => (await get()).by === NEAR);
    await letGo();
  });

  it('another limit and other servers of any tier are in force at once, without a reload', async () => {
    await serveAt(1, near, zone);
    const { count } = serving.reloads();
    await hold(1, near);
    expect((await get()).by).toBe(ZONE);
    await serveAt(2, near, zone);
    expect((await get()).by).toBe(NEAR);
    await serveAt(1, near, any);
    expect((await get()).by).toBe(ANY);
    await serveAt(1, near);
    expect((await get()).by).toBe(NEAR);
    await serveAt(1, near, second, zone);
    expect((await get()).by).toBe(second.endpoint.address);
    await serveAt(1, near, zone, any);
    await hold(1, zone);
    expect((await get()).by).toBe(ANY);
    await serveAt(1, zone, any);
    expect([ZONE, ANY]).toContain((await get()).by);
    await serveAt(1, near, zone);
    await letGo();
    expect(serving.reloads().count).toBe(count);
  });

  it('a lone near server that dies under load fails no GET, and comes back', async () => {
    await serveAt(4, near, zone);
    let deaths = 0;
    const { failed } = await load(24, 3000, (count) => {
      if (count === 1000 && deaths++ === 0) void near.die();
    });
    expect(failed).toEqual([]);
    expect(deaths).toBe(1);
    await near.listen();
    await until('a call goes near', async () => (await get()).by === NEAR);
  });

  it('one of two near servers dies, then the farther tier: no GET fails', async () => {
    await serveAt(4, near, second, zone);
    const dying = [near, zone];
    const { failed } = await load(24, 3000, (count) => {
      if (count % 1000 === 0 && count < 3000) void dying.shift()?.die();
    });
    expect(failed).toEqual([]);
    expect(dying).toEqual([]);
    await near.listen();
    await zone.listen();
  });

  it('the farther tier goes away under load: no GET fails', async () => {
    await serveAt(4, near, zone);
    const { count } = serving.reloads();
    let change = Promise.resolve();
    const { failed } = await load(24, 2000, (answered) => {
      if (answered === 500) change = serveAt(4, near);
      if (answered === 1200) change = change.then(() => serveAt(4, near, any));
    });
    await change;
    expect(failed).toEqual([]);
    expect(any.reached).toBeGreaterThan(0);
    expect(serving.reloads().count).toBe(count);
  });

  it('a route that begins or stops to spill says so in the reason of its reload', async () => {
    await serveAt(0, near, zone);
    await hold(2, near);
    expect((await get()).by).toBe(NEAR);
    await serveAt(2, near, zone);
    expect(serving.reloads().reason).toBe(kind === 'haproxy' ? 'changed shop/cart' : undefined);
    await letGo();
  });

  it('each version of a route spills for itself', async () => {
    const versions = [tiered('a', 1, tiersOf(near, zone), { match: 'a' }), tiered('b', 1, tiersOf(second, any), { match: 'b' })];
    await serve(versions, { rule: { type: 'Header', header: 'x-v', prefer: 'b' }, choice: { kind: 'header', header: 'x-v', otherwise: 1 } });
    held.push(getNow('/held', undefined, { 'x-v': 'a' }));
    await until('a call of a waits', () => near.held === 1);
    expect((await get('/', undefined, { 'x-v': 'a' })).by).toBe(ZONE);
    expect((await get('/', undefined, { 'x-v': 'b' })).by).toBe(second.endpoint.address);
    expect((await get()).by).toBe(second.endpoint.address);
    held.push(getNow('/held'));
    await until('a call of b waits', () => second.held === 1);
    expect((await get()).by).toBe(ANY);
    await serve(versions, { rule: { type: 'Percentage' }, choice: { kind: 'weighted', total: 100, shares: [{ below: 100, version: 1 }] } });
    // The reload that the other rule needed begins to count anew.
    if (kind === 'haproxy') await hold(1, second);
    expect((await get()).by).toBe(ANY);
    await letGo();
    await until('b has room again', async () => (await get()).by === second.endpoint.address);
  });

  it('the connection limit of a version counts all its tiers', async () => {
    await serve([tiered('v', 1, tiersOf(near, zone, any), { breaker: { threshold: 0, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 3 } })]);
    await hold(1, near);
    await hold(1, zone);
    await hold(1, any);
    expect(await get()).toEqual({ status: 503, by: 'conn-limit' });
    await letGo();
    await until('a call passes', async () => (await get()).status === 200);
  });

  it('the breaker of a version counts the errors of all its tiers, and is open for all', async () => {
    await serve([tiered('v', 1, tiersOf(near, zone), { breaker: { threshold: 3, windowSeconds: 600, breakTimeSeconds: 600, connLimit: 0 } })]);
    expect((await get('/500')).status).toBe(500);
    await hold(1, near);
    for (let i = 0; i < 2; i++) expect(await get('/500')).toEqual({ status: 500, by: ZONE });
    expect(await get()).toEqual({ status: 503, by: 'breaker-open' });
    await letGo();
    await until('the near call has ended', () => near.now === 0);
    expect(await get()).toEqual({ status: 503, by: 'breaker-open' });
  });

  it('connections of a tcp route spill too', async () => {
    await serve([tiered('v', 1, tiersOf(near, zone))], { protocol: 'tcp', listen: 8081 });
    const connect = async (): Promise<net.Socket> => {
      const socket = net.connect({ host: VIP, port: 8081, localAddress: CALLER });
      await once(socket, 'connect');
      socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
      return socket;
    };
    const by = async (socket: net.Socket): Promise<string> => /127\.88\.91\.\d+/.exec(String(await once(socket, 'data')))?.[0] ?? '';
    const before = await serving.counts();
    const first = await connect();
    expect(await by(first)).toBe(NEAR);
    const other = await connect();
    expect(await by(other)).toBe(ZONE);
    first.destroy();
    await until('a connection goes near', async () => {
      const socket = await connect();
      const who = await by(socket);
      socket.destroy();
      return who === NEAR;
    });
    other.destroy();
    const after = await serving.counts();
    expect((after.left.saturated ?? 0) - (kind === 'haproxy' ? 0 : (before.left.saturated ?? 0))).toBeGreaterThanOrEqual(1);
    expect((after.answered.node ?? 0) - (kind === 'haproxy' ? 0 : (before.answered.node ?? 0))).toBeGreaterThanOrEqual(2);
  });

  it('servers that speak HTTP/2 are counted by requests', async () => {
    const h2 = await new SpillServer('127.88.91.41', 'node', 'h2').listen();
    const far = await new SpillServer('127.88.91.42', 'zone', 'h2').listen();
    await serve([tiered('v', 2, tiersOf(h2, far), { serverProtocol: 'h2' })]);
    await hold(2, h2);
    expect((await get()).by).toBe(far.endpoint.address);
    h2.release();
    await letGo();
    await h2.die();
    await far.die();
  });
});
