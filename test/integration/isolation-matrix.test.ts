import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callOnce, runAll, Servers } from '../support/isolation/calls.ts';
import { expectedVerdict, TRUSTED_FLAG } from '../support/isolation/oracle.ts';
import type { Caller, Target } from '../support/isolation/oracle.ts';
import { buildTokenCallers } from '../support/isolation/token-callers.ts';
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
  const tokens = buildTokenCallers(pods, world.callers);
  const callers = [...world.callers, ...tokens.callers];
  const servers = new Servers();
  let agent: AgentProcess;
  let view: RoutesView;

  beforeAll(async () => {
    await servers.open(world.http, world.tcp);
    agent = await AgentProcess.prepare(proxy, pool);
    const jwks = join(agent.folder, 'jwks.json');
    await writeFile(jwks, tokens.jwks);
    await agent.writeFile('world.yaml', [...world.objects, ...tokens.objects].map((object) => JSON.stringify(object)).join('\n---\n'));
    await agent.start(TRUSTED_FLAG, '--token-jwks', jwks, ...tokens.flags);
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
      callers.map((caller) => ({ id: `${caller.name} -> ${via} ${target.namespace}/${target.name}`, caller, target, via })),
    ),
  );

  const callCell = ({ id, caller, target, via }: Cell): Promise<string> => {
    const route = view.routes.find(({ namespace, name }) => namespace === target.namespace && name === target.name);
    const host = via === 'own' ? route?.vip : route?.globalVip;
    const token = caller.token === undefined ? {} : { 'x-onehop-token': caller.token.text };
    return callOnce({ from: caller.address, host: host ?? '', port: route?.listen ?? 0, protocol: target.protocol, id, headers: token });
  };

  /** A token that was never seen is refused when the agent does not answer HAProxy in time, as on a busy machine: each is shown once before it counts. */
  const meetTokens = async (): Promise<void> => {
    const first = TARGETS.find(({ name }) => name === 'public');
    for (const caller of tokens.callers.filter(({ token }) => token?.names !== undefined)) {
      if (first === undefined) throw new Error('no public route');
      await agent.eventually(`${caller.name} is known`, async () => (await callCell({ id: 'first', caller, target: first, via: 'own' })) !== '401 bad-token' || undefined);
    }
    servers.reached.delete('first');
  };

  it('gets the verdict of the design, and what is refused reaches no server', async () => {
    expect(cells.length).toBeGreaterThan(1_000);
    await meetTokens();
    const seen = await runAll(cells, AT_ONCE, callCell);
    const expected = cells.map(({ caller, target, via }) => {
      const verdict = expectedVerdict(caller, target, via);
      return target.protocol === 'tcp' && verdict !== '200' ? 'closed' : verdict;
    });
    const table = (verdicts: readonly string[]): readonly string[] => cells.map(({ id }, i) => `${id}: ${verdicts[i]}`);
    expect(table(seen)).toEqual(table(expected));
    expect([...servers.reached].sort()).toEqual(cells.filter((_, i) => expected[i] === '200').map(({ id }) => id).sort());
    // The table says something: every verdict stands in it many times.
    const often = ['200', '403 caller-unknown', '403 namespace-isolated', '403 acl-denied', '503 route-invalid', '401 bad-token', '403 bad-token'];
    expect(often.filter((verdict) => expected.filter((one) => one === verdict).length < 15)).toEqual([]);
  }, 90_000);
});
