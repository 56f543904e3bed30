import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callOnce, runAll, Servers } from '../support/isolation/calls.ts';
import { expectedVerdict, TRUSTED_FLAG } from '../support/isolation/oracle.ts';
import type { Caller, Target } from '../support/isolation/oracle.ts';
import { buildWorld, TARGETS } from '../support/isolation/world.ts';
import { AgentProcess } from '../support/scenes/agent-process.ts';
import type { RoutesView } from '../support/scenes/agent-process.ts';

/** Each cell is called; strangers are held for 2 s each, so many wait together. */
const AT_ONCE = 60;

describe.each([
  ['haproxy' as const, '127.72.80.0/21', '127.88.90'],
  ['embedded' as const, '127.73.80.0/21', '127.88.91'],
])('every caller and every route, %s', (proxy, pool, pods) => {
  const world = buildWorld(pods);
  const servers = new Servers();
  let agent: AgentProcess;
  let view: RoutesView;

  beforeAll(async () => {
    await servers.open(world.http, world.tcp);
    agent = await AgentProcess.prepare(proxy, pool);
    await agent.writeFile('world.yaml', world.objects.map((object) => JSON.stringify(object)).join('\n---\n'));
    await agent.start(TRUSTED_FLAG);
    view = await agent.eventually('all routes are served', async () => {
      const seen = await agent.routes();
      return seen.routes.length === TARGETS.length ? seen : undefined;
    });
  }, 60_000);
  afterAll(async () => {
    await agent.end();
    await agent.remove();
    servers.close();
  }, 60_000);

  interface Cell {
    readonly id: string;
    readonly caller: Caller;
    readonly target: Target;
    readonly via: 'own' | 'global';
  }
  const cells: readonly Cell[] = TARGETS.flatMap((target) =>
    (target.public && target.invalid !== true ? (['own', 'global'] as const) : (['own'] as const)).flatMap((via) =>
      world.callers.map((caller) => ({ id: `${caller.name} -> ${via} ${target.namespace}/${target.name}`, caller, target, via })),
    ),
  );

  it('gets the verdict of the design, and what is refused reaches no server', async () => {
    expect(cells.length).toBeGreaterThan(500);
    const seen = await runAll(cells, AT_ONCE, async ({ id, caller, target, via }) => {
      const route = view.routes.find(({ namespace, name }) => namespace === target.namespace && name === target.name);
      const host = via === 'own' ? route?.vip : route?.globalVip;
      const token = caller.token === undefined ? {} : { 'x-onehop-token': caller.token.text };
      return callOnce({ from: caller.address, host: host ?? '', port: route?.listen ?? 0, protocol: target.protocol, id, headers: token });
    });
    const expected = cells.map(({ caller, target, via }) => {
      const verdict = expectedVerdict(caller, target, via);
      return target.protocol === 'tcp' && verdict !== '200' ? 'closed' : verdict;
    });
    const table = (verdicts: readonly string[]): readonly string[] => cells.map(({ id }, i) => `${id}: ${verdicts[i]}`);
    expect(table(seen)).toEqual(table(expected));
    expect([...servers.reached].sort()).toEqual(cells.filter((_, i) => expected[i] === '200').map(({ id }) => id).sort());
    // The table says something: every verdict stands in it many times.
    const often = ['200', '403 caller-unknown', '403 namespace-isolated', '403 acl-denied', '503 route-invalid'];
    expect(often.filter((verdict) => expected.filter((one) => one === verdict).length < 15)).toEqual([]);
  }, 90_000);
});
