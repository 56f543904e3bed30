import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { STAND_IN_TIMING, type Seen } from '../../../src/agent/judge-stand-in.ts';
import { StandIn, type Substitute } from '../../../src/agent/stand-in.ts';
import type { BreakerMode, BreakerRef } from '../../../src/model/breaker.ts';
import { problem, type Problem } from '../../../src/model/problem.ts';
import type { Proxy } from '../../../src/model/proxy.ts';
import type { RouteTable } from '../../../src/model/route-table.ts';
import { aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const route = aRoute('cart', { vip: '127.93.5.1', listen: 8080, versions: [aVersion('a', []), aVersion('b', [])] });
const table = aTable([route]);
const GONE: Problem = problem({ code: 'haproxy-failed', object: { kind: 'Node', name: 'node-1' }, message: 'it does not start', remedy: 'mend it' });
const DENIED: Problem = problem({ code: 'port-denied', object: { kind: 'ServiceRoute', namespace: 'shop', name: 'cart' }, message: 'port 80 is privileged', remedy: 'NET_BIND_SERVICE' });

beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout', 'performance', 'Date'] }));
afterEach(() => void vi.useRealTimers());

/** A proxy that notes what it is told. */
function fake(name: string, said: string[]) {
  const one = {
    kind: 'haproxy' as const,
    problems: [] as readonly Problem[],
    open: new Set(['127.93.5.1:8080']),
    applied: [] as RouteTable[],
    closed: Promise.withResolvers<void>(),
    /** Each apply waits for a reload until it is overtaken. */
    waits: false,
    apply: (wanted: RouteTable, overtaken?: AbortSignal): Promise<readonly Problem[]> => {
      one.applied.push(wanted);
      if (!one.waits) return Promise.resolve(one.problems);
      return new Promise((_, reject) => {
        overtaken?.addEventListener('abort', () => reject(overtaken.reason as Error), { once: true });
        if (overtaken?.aborted === true) reject(overtaken.reason as Error);
      });
    },
    listeners: (): ReadonlySet<string> => one.open,
    breakers: () => Promise.resolve([]),
    setBreaker: ({ version }: BreakerRef, mode: BreakerMode) => {
      said.push(`${name}: breaker ${version} ${mode}`);
      return Promise.resolve();
    },
    close: ({ drainMs, idle }: { drainMs: number; idle?: string }) => {
      said.push(`${name}: close ${drainMs}${idle === undefined ? '' : ` ${idle}`}`);
      if (drainMs === 0) one.closed.resolve();
      return name === 'haproxy' ? Promise.resolve() : one.closed.promise;
    },
  };
  return one satisfies Proxy & Substitute;
}

function world({ attach = false, obstacle }: { readonly attach?: boolean; readonly obstacle?: string } = {}) {
  const said: string[] = [];
  const haproxy = fake('haproxy', said);
  const substitutes: ReturnType<typeof fake>[] = [];
  const state = { seen: 'serves' as Seen, obstacle, denied: false };
  const log = pino({ level: 'info', base: null, timestamp: false }, { write: (line: string) => void said.push((JSON.parse(line) as { msg: string }).msg) });
  const proxy = new StandIn({
    haproxy,
    look: () => Promise.resolve(state.seen),
    attach,
    open: () => {
      const one = fake(`embedded ${substitutes.length + 1}`, said);
      if (state.denied) one.open = new Set();
      if (state.denied) one.problems = [DENIED];
      substitutes.push(one);
      return Promise.resolve(one);
    },
    obstacle: () => Promise.resolve(state.obstacle),
    remedy: 'mend HAProxy',
    onChange: (why) => said.push(`change: ${why ?? 'over'}`),
    log,
    drainMs: 60_000,
    timing: STAND_IN_TIMING,
  });
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
  const fall = async (): Promise<void> => {
    state.seen = 'gone';
    haproxy.problems = [GONE];
    await pass(4_000);
  };
  const rise = async (): Promise<void> => {
    state.seen = 'serves';
    haproxy.problems = [];
    await pass(4_500);
  };
  return { said, haproxy, substitutes, state, proxy, pass, fall, rise };
}

describe('a HAProxy that is gone', () => {
  it('is stood in for, with a Problem that is no error, and gets back what it had', async () => {
    const { said, substitutes, proxy, fall, rise } = world();
    expect(await proxy.apply(table)).toEqual([]);
    await fall();
    expect([proxy.kind, proxy.holdsRestarts, said]).toEqual(['embedded', true, ['HAProxy is gone and not coming back: the embedded proxy stands in (nobody answers on its socket)', 'change: nobody answers on its socket']]);
    expect(await proxy.apply(table)).toMatchObject([{ code: 'standing-in', severity: 'warning', object: { kind: 'Node' } }]);
    expect(proxy.status()).toEqual({ times: 1, living: 1 });
    await rise();
    expect(proxy.kind).toBe('haproxy');
    expect(said.slice(2)).toEqual(['HAProxy serves again: the embedded proxy takes no new connections and ends with those that it has', 'embedded 1: close 60000 keep', 'change: over']);
    expect(await proxy.apply(table)).toEqual([]);
    expect(proxy.status()).toEqual({ times: 1, living: 1 });
    substitutes[0]?.closed.resolve();
    await vi.advanceTimersByTimeAsync(0);
    expect(proxy.status()).toEqual({ times: 1, living: 0 });
  });

  it('keeps no pass waiting that it hangs in when the stand-in begins', async () => {
    const { haproxy, state, proxy, pass } = world();
    await proxy.apply(table);
    haproxy.apply = () => new Promise(() => undefined);
    state.seen = 'gone';
    const applied = proxy.apply(table);
    await pass(4_000);
    expect(await applied).toMatchObject([{ code: 'standing-in' }]);
  });

  it('is tried more and more rarely, and is not given back anything before it has the newest table', async () => {
    const { haproxy, state, substitutes, proxy, pass, fall } = world();
    await proxy.apply(table);
    await fall();
    const tries = haproxy.applied.length;
    await pass(60_000);
    expect(haproxy.applied.length - tries).toBeLessThanOrEqual(6);
    const newest = aTable([route]);
    await proxy.apply(newest);
    expect(substitutes[0]?.applied.at(-1)).toBe(newest);
    // It serves, and refuses what is wanted.
    state.seen = 'serves';
    await pass(10_000);
    expect(proxy.kind).toBe('embedded');
    haproxy.problems = [];
    await pass(1_000);
    expect([haproxy.applied.at(-1), proxy.kind]).toEqual([newest, 'haproxy']);
  });

  it('that another supervisor starts is written for at each pass', async () => {
    const { haproxy, proxy, fall } = world({ attach: true });
    await proxy.apply(table);
    await fall();
    for (let i = 0; i < 3; i++) {
      const newest = aTable([route]);
      await proxy.apply(newest);
      await vi.advanceTimersByTimeAsync(0);
      expect(haproxy.applied.at(-1)).toBe(newest);
    }
  });

  it('again and again leaves at most two that drain', async () => {
    const { said, proxy, fall, rise, pass } = world();
    await proxy.apply(table);
    for (let i = 0; i < 4; i++) {
      await fall();
      await rise();
      // Its falls are forgotten.
      await pass(60_000);
    }
    expect(proxy.status()).toEqual({ times: 4, living: 2 });
    expect(said.filter((line) => line.endsWith('close 0'))).toEqual(['embedded 1: close 0', 'embedded 2: close 0']);
  });
});

describe('nothing stands in', () => {
  it('while there is an obstacle, which is said once', async () => {
    const { said, state, proxy, pass, fall } = world({ obstacle: 'another generation serves' });
    await proxy.apply(table);
    await fall();
    await pass(10_000);
    expect([proxy.kind, said]).toEqual(['haproxy', ['HAProxy does not serve, and the embedded proxy does not stand in: another generation serves']]);
    state.obstacle = undefined;
    await pass(1_000);
    expect(proxy.kind).toBe('embedded');
  });

  it('for an agent that ends', async () => {
    const { said, proxy, fall } = world();
    await proxy.apply(table);
    proxy.keepOut();
    await fall();
    await proxy.close({ drainMs: 1_000, leaveRunning: true });
    expect(said).toEqual(['haproxy: close 1000']);
  });

  it('before the first table', async () => {
    const { substitutes, fall } = world();
    await fall();
    expect(substitutes).toEqual([]);
  });

  it('that was adopted as it is: not brought to a table that may be older, but stood in for with it', async () => {
    const { haproxy, substitutes, proxy, pass, fall, rise } = world({ attach: true });
    expect(await proxy.adopt(table)).toEqual([]);
    await pass(10_000);
    expect(haproxy.applied).toEqual([]);
    await fall();
    expect([proxy.kind, substitutes[0]?.applied, haproxy.applied]).toEqual(['embedded', [table], []]);
    expect(await proxy.adopt(table)).toMatchObject([{ code: 'standing-in' }]);
    expect(proxy.holdsRestarts).toBe(false);
    // It comes back with its own files, which may be newer.
    await rise();
    expect([proxy.kind, haproxy.applied]).toEqual(['haproxy', []]);
    const newest = aTable([route]);
    expect(await proxy.apply(newest)).toEqual([]);
    expect(haproxy.applied.at(-1)).toBe(newest);
  });

  it('that can open no port: said once, tried again later, and gone when HAProxy is back', async () => {
    const { said, state, substitutes, proxy, pass, fall, rise } = world();
    await proxy.apply(table);
    state.denied = true;
    await fall();
    expect([proxy.kind, proxy.status(), said]).toEqual(['haproxy', { times: 0, living: 0 }, ['embedded 1: close 0', expect.stringMatching(/cannot stand in: .*port 80 is privileged/)]]);
    expect(await proxy.apply(table)).toMatchObject([{ code: 'haproxy-failed' }, { code: 'stand-in-failed', severity: 'error', object: { kind: 'Node' }, message: expect.stringContaining('privileged') }]);
    await pass(31_000);
    expect([substitutes.length, said.filter((line) => line.includes('cannot stand in')).length]).toEqual([2, 1]);
    await rise();
    expect(await proxy.apply(table)).toEqual([]);
  });
});

it('what an operator holds is held by the one that serves, and by the next', async () => {
  const { said, proxy, fall, rise } = world();
  const ref = (version: number): BreakerRef => ({ namespace: 'shop', route: 'cart', version });
  const breakers = () => said.filter((line) => line.includes('breaker'));
  await proxy.apply(table);
  await proxy.setBreaker(ref(0), 'open');
  await proxy.setBreaker(ref(1), 'open');
  await proxy.setBreaker(ref(1), 'auto');
  said.length = 0;
  // By the version's name: its place may have changed.
  await proxy.apply(aTable([{ ...route, versions: [...route.versions].reverse() }]));
  await fall();
  expect(breakers()).toEqual(['embedded 1: breaker 1 open']);
  await proxy.setBreaker(ref(1), 'auto');
  await proxy.setBreaker(ref(0), 'close');
  said.length = 0;
  await rise();
  expect(breakers()).toEqual(['haproxy: breaker 1 auto', 'haproxy: breaker 0 close']);
});

describe('a HAProxy that waits for a reload', () => {
  it('gives up when its pass is overtaken, and is given the next table at once', async () => {
    const { haproxy, proxy } = world();
    await proxy.apply(table);
    haproxy.waits = true;
    const overtake = new AbortController();
    const first = proxy.apply(aTable([route]), overtake.signal);
    overtake.abort(new Error('overtaken'));
    await expect(first).rejects.toBe(overtake.signal.reason);
    haproxy.waits = false;
    const newest = aTable([route]);
    expect(await proxy.apply(newest)).toEqual([]);
    expect(haproxy.applied.at(-1)).toBe(newest);
  });

  it('goes on with the newest table when that comes while a stand-in serves', async () => {
    const { haproxy, proxy, fall } = world({ attach: true });
    await proxy.apply(table);
    await fall();
    haproxy.waits = true;
    await proxy.apply(aTable([route]));
    const newest = aTable([route]);
    haproxy.waits = false;
    await proxy.apply(newest);
    await vi.advanceTimersByTimeAsync(0);
    expect(haproxy.applied.at(-1)).toBe(newest);
  });
});
