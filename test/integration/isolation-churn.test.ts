import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callOnce, Servers } from '../support/isolation/calls.ts';
import { expectedVerdict } from '../support/isolation/oracle.ts';
import type { Caller, Target } from '../support/isolation/oracle.ts';
import { podObject, routeObject, serviceObject, sliceObject } from '../support/isolation/world.ts';
import { AgentProcess } from '../support/scenes/agent-process.ts';
import type { RoutesView } from '../support/scenes/agent-process.ts';

/** Who has the address: a pod, or nobody. */
type Tenant = { readonly namespace: string; readonly account: string } | undefined;

const pod = (namespace: string, account: string): Tenant => ({ namespace, account });
/** Neighbours in this list follow each other: the address is free between them, or goes from one pod to the next at once. */
const TENANTS: readonly Tenant[] = [undefined, pod('a', 's1'), pod('b', 's2'), undefined, pod('a', 's2'), pod('a', 's1'), undefined, pod('b', 's2'), pod('a', 's2'), pod('b', 's1'), pod('a', 's1'), pod('b', 's1')];
const ROUNDS = 3;

const route = (key: string, more: Partial<Target> = {}): Target => {
  const [namespace = '', name = ''] = key.split('/');
  return { namespace, name, public: true, protocol: 'http', defaultAllow: true, entries: [], ...more };
};
const TARGETS: readonly Target[] = [
  route('a/private', { public: false }),
  route('b/private', { public: false }),
  route('a/white', { defaultAllow: false, entries: [{ kind: 'ServiceAccount', name: 's1' }, { kind: 'ServiceAccount', name: 's2', namespace: 'b' }] }),
  route('a/black', { entries: [{ kind: 'ServiceAccount', name: 's1' }, { kind: 'ServiceAccount', name: 's2', namespace: 'b' }] }),
  route('b/black', { public: false, entries: [{ kind: 'ServiceAccount', name: 's2' }] }),
];

/** Below the 2 s for which a stranger is held: nobody is refused as unknown before. */
const HELD_MS = 1_900;

describe.each([
  ['haproxy' as const, '127.72.88.0/22', '127.88.92'],
  ['embedded' as const, '127.73.88.0/22', '127.88.93'],
])('pods come, go, and inherit an address while they call, %s', (proxy, pool, pods) => {
  const address = `${pods}.200`;
  const [http, tcp] = [`${pods}.100`, `${pods}.101`];
  const servers = new Servers();
  let agent: AgentProcess;
  let view: RoutesView;
  /** Steps written so far, and those that were seen to be in effect. */
  let written = 0;
  let effective = 0;

  const tenantAt = (step: number): Tenant => TENANTS[step % TENANTS.length];
  const callerAt = (step: number): Caller => {
    const tenant = tenantAt(step);
    return { name: String(step), address, source: tenant === undefined ? { kind: 'unknown' } : { kind: 'pod', ...tenant, services: [] } };
  };
  const objectsAt = (step: number): readonly unknown[] => {
    const tenant = tenantAt(step);
    return [
      ...['a', 'b'].flatMap((namespace) => [serviceObject(namespace, 'server', undefined), sliceObject(namespace, 'server', http)]),
      ...TARGETS.map(routeObject),
      // The step's name stands among the callers that /routes shows, and nothing else changes with it.
      podObject({ namespace: 'a', name: `step-${step}`, serviceAccount: 'other', address: `${pods}.9` }),
      ...(tenant === undefined ? [] : [podObject({ namespace: tenant.namespace, name: `tenant-${step}`, serviceAccount: tenant.account, address })]),
    ];
  };
  const write = (step: number): Promise<void> => agent.writeFile('world.yaml', objectsAt(step).map((object) => JSON.stringify(object)).join('\n---\n'));
  const inEffect = (step: number): Promise<RoutesView> =>
    agent.eventually(`step ${step} is in effect`, async () => {
      const seen = await agent.get('/routes').catch(() => '');
      return seen.includes(`"a/step-${step}"`) ? (JSON.parse(seen) as RoutesView) : undefined;
    });

  beforeAll(async () => {
    await servers.open(http, tcp);
    agent = await AgentProcess.prepare(proxy, pool);
    await write(0);
    await agent.start();
    view = await inEffect(0);
  }, 60_000);
  afterAll(async () => {
    await agent.end();
    await agent.remove();
    servers.close();
  }, 60_000);

  it('is never given a verdict that neither the step before nor the step after has', async () => {
    const wrong: string[] = [];
    const seen = new Map<string, number>();
    const ended = new AbortController();
    const call = async (target: Target, via: 'own' | 'global'): Promise<void> => {
      const found = view.routes.find(({ namespace, name }) => namespace === target.namespace && name === target.name);
      const from = effective;
      const begun = performance.now();
      const verdict = await callOnce({ from: address, host: (via === 'own' ? found?.vip : found?.globalVip) ?? '', port: found?.listen ?? 0, protocol: 'http', id: 'churn' });
      const took = performance.now() - begun;
      // A call is decided at some moment between its begin and its end, in one of the steps of that time.
      const steps = Array.from({ length: written - from + 1 }, (_, i) => from + i);
      const right = new Set(steps.map((step) => expectedVerdict(callerAt(step), target, via)).map(String));
      const early = verdict === '403 caller-unknown' && took < HELD_MS;
      if (!right.has(verdict) || early) wrong.push(`${target.namespace}/${target.name} (${via}) in steps ${steps.join()}: ${verdict} after ${Math.round(took)} ms, right: ${[...right].join(', ')}`);
      seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
    };
    const lanes = TARGETS.flatMap((target) => (target.public ? (['own', 'global'] as const) : (['own'] as const)).map((via) => ({ target, via })));
    const loops = lanes.flatMap(({ target, via }) =>
      [1, 2].map(async () => {
        while (!ended.signal.aborted) await call(target, via);
      }),
    );
    for (let step = 1; step < TENANTS.length * ROUNDS; step++) {
      written = step;
      await write(step);
      await inEffect(step);
      effective = step;
      // Each step sees calls of its own, and those that it held are decided in the next.
      await Promise.all(lanes.slice(0, tenantAt(step) === undefined ? 0 : lanes.length).map(({ target, via }) => call(target, via)));
    }
    ended.abort();
    await Promise.all(loops);
    expect(wrong).toEqual([]);
    expect(['200', '403 namespace-isolated', '403 acl-denied'].filter((verdict) => (seen.get(verdict) ?? 0) < 100)).toEqual([]);
  }, 120_000);

  it('holds a new pod until it is known, and then serves it', async () => {
    const found = view.routes.find(({ namespace, name }) => namespace === 'a' && name === 'private');
    let step = TENANTS.length * ROUNDS;
    await write(step);
    await inEffect(step);
    expect(tenantAt(step)).toBeUndefined();
    const held = Array.from({ length: 20 }, () => callOnce({ from: address, host: found?.vip ?? '', port: found?.listen ?? 0, protocol: 'http', id: 'held' }));
    await write(++step);
    expect(new Set(await Promise.all(held))).toEqual(new Set(['200']));
  }, 30_000);
});
