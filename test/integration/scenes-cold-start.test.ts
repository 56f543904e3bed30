import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { afterEach, beforeAll, afterAll, describe, expect, it } from 'vitest';
import { AgentProcess } from '../support/scenes/agent-process.ts';
import { TURN_MS } from '../support/scenes/describe-scenes.ts';
import { changeWorld, EMPTY_WORLD, expandWorld, listPods } from '../support/scenes/expand-world.ts';
import { makeCall } from '../support/scenes/scene-client.ts';
import type { Result } from '../support/scenes/scene-client.ts';
import { SceneServers } from '../support/scenes/scene-servers.ts';
import { takeTurn } from '../support/scenes/take-turns.ts';

/** What an agent finds when it starts: ports that are taken, objects that are bad, a folder that is empty. */
const PODS = '127.88.78';
const CLIENT = `${PODS}.1`;

const route = (name: string, spec: object): object => ({ apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { name, namespace: 'b' }, spec: { rule: { type: '' }, to: [{ kind: 'Service', name: 'v' }], ...spec } });

describe.each([
  ['embedded', '127.76.192.0/18', 18_478],
  ['haproxy', '127.75.192.0/18', 18_479],
] as const)('a cold start on %s', (proxy, pool, port) => {
  const servers = new SceneServers();
  let giveBack = async (): Promise<void> => {};
  let agent: AgentProcess | undefined;
  let foreign: Server | undefined;
  beforeAll(async () => {
    giveBack = await takeTurn(`${PODS}.255`);
  }, TURN_MS);
  afterAll(() => giveBack());
  afterEach(async () => {
    await agent?.end();
    await agent?.remove();
    foreign?.close();
    servers.close();
  });

  async function objectsOf(routes: readonly object[]): Promise<readonly unknown[]> {
    const world = changeWorld(EMPTY_WORLD, { pods: { 'b/client': { address: CLIENT } }, services: { 'b/v': {} }, routes });
    const pods = listPods(world, () => `${PODS}.2`);
    await servers.open([...pods.values()].filter(({ ports }) => ports.length > 0));
    return expandWorld(world, pods);
  }

  async function callRoute(name: string): Promise<Result> {
    const found = (await agent?.routes())?.routes.find((one) => one.name === name);
    return makeCall({ via: 'http', from: CLIENT, address: found?.vip ?? '', port: found?.listen ?? 0, method: 'GET', headers: [] });
  }

  it('with a port that a wildcard listener holds: that route is a problem, the others are served', async () => {
    foreign = createServer((socket) => socket.destroy()).listen(port, '0.0.0.0');
    await once(foreign, 'listening');
    agent = await AgentProcess.prepare(proxy, pool);
    await agent.write(await objectsOf([route('taken', { port: { listen: port } }), route('served', {})]), `${PODS}.254`, 'first');
    await agent.start();

    const { problems, proxy: serving } = await agent.routes();
    expect(serving).toBe(proxy);
    expect(problems).toMatchObject([{ code: 'port-taken', severity: 'error', object: { kind: 'ServiceRoute', namespace: 'b', name: 'taken' } }]);
    expect(problems[0]?.remedy).toContain('spec.port.listen');
    expect(await agent.get('/metrics')).toContain('onehop_route_problems{namespace="b",route="taken",code="port-taken"} 1\n');
    expect(await callRoute('served')).toMatchObject({ status: 200, answered: { pod: 'b/v-1' } });
    expect(await agent.lookUp('taken.b')).toMatch(/^127\./);

    foreign.close();
    await agent.bring(await objectsOf([route('taken', { port: { listen: port } }), route('served', {})]), `${PODS}.254`, 'second');
    expect((await agent.routes()).problems).toEqual([]);
    expect(await callRoute('taken')).toMatchObject({ status: 200, answered: { pod: 'b/v-1' } });
  });

  it('with a bad route and a regex that does not compile: each is a problem, the others are served', async () => {
    const header = { rule: { type: 'Header', header: 'X-V' }, to: [{ kind: 'Service', name: 'v', balance: { rule: '(' } }] };
    agent = await AgentProcess.prepare(proxy, pool);
    await agent.write(await objectsOf([route('bad', { to: [] }), route('regex', header), route('served', {})]), `${PODS}.254`, 'first');
    await agent.start();
    expect((await agent.routes()).problems.map(({ code, object }) => `${code} ${object.name}`).sort()).toEqual(['field-invalid bad', 'regex-invalid regex']);
    expect(await callRoute('served')).toMatchObject({ status: 200 });
    expect(await callRoute('bad')).toMatchObject({ status: 503, headers: { 'x-onehop-reason': 'route-invalid' } });
    expect(await callRoute('regex')).toMatchObject({ status: 503, headers: { 'x-onehop-reason': 'route-invalid' } });
  });

  it('with an empty folder: it is ready, DNS answers, and the first route is served', async () => {
    agent = await AgentProcess.prepare(proxy, pool);
    await agent.start();
    expect(await agent.routes()).toMatchObject({ routes: [], problems: [] });
    expect(await agent.lookUp('served.b')).toBe('NXDOMAIN');
    await agent.bring(await objectsOf([route('served', {})]), `${PODS}.254`, 'first');
    expect(await callRoute('served')).toMatchObject({ status: 200 });
  });

  it('again with its state: routes keep their addresses, and it says that it stopped cleanly', async () => {
    agent = await AgentProcess.prepare(proxy, pool);
    await agent.write(await objectsOf([route('served', {}), route('public', { global: true })]), `${PODS}.254`, 'first');
    await agent.start();
    const before = (await agent.routes()).routes.map(({ name, vip, globalVip }) => ({ name, vip, globalVip }));
    expect(await agent.end()).toBe(0);
    await agent.start();
    expect((await agent.routes()).routes.map(({ name, vip, globalVip }) => ({ name, vip, globalVip }))).toEqual(before);
    expect(await callRoute('served')).toMatchObject({ status: 200 });
  });
});
