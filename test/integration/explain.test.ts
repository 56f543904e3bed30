import type { Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/cli/main.ts';
import { AgentFolders, AgentProcess, call, openNamedServer, type RoutesView } from '../support/agent-process.ts';

/** `onehop explain` beside real calls through a real proxy: what it says is what happens, for every caller and route of a small world. */
const CALLERS: Readonly<Record<string, string>> = { 'shop/web': '127.88.66.1', 'front/web': '127.88.66.2', 'front/batch': '127.88.66.3', host: '127.0.0.1', '127.88.66.99': '127.88.66.99' };
const SERVERS: Readonly<Record<string, string>> = { v1: '127.88.66.11', v2: '127.88.66.12' };
const HEADERS: readonly (string | undefined)[] = [undefined, 'beta', 'BETA', 'x'];
const NAMES = ['plain.shop', 'plain.global', 'private.shop', 'guarded.global', 'header.global', 'empty.shop', 'strict.shop', 'broken.shop'] as const;

const pod = (key: string, address: string): string => {
  const [namespace = '', name = ''] = key.split('/');
  return `{ apiVersion: v1, kind: Pod, metadata: { name: ${name}, namespace: ${namespace} }, spec: { nodeName: n1, serviceAccountName: ${name} }, status: { phase: Running, podIP: ${address} } }`;
};
const version = (name: string, address: string): string => `{ apiVersion: v1, kind: Service, metadata: { name: ${name}, namespace: shop }, spec: { ports: [{ port: 80, targetPort: 8080 }] } }
---
{ apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: { name: ${name}-x, namespace: shop, labels: { kubernetes.io/service-name: ${name} } }, addressType: IPv4, ports: [{ port: 8080 }], endpoints: [{ addresses: ["${address}"], nodeName: n1 }] }`;
const route = (name: string, spec: string): string => `{ apiVersion: paas.io/v1, kind: ServiceRoute, metadata: { name: ${name}, namespace: shop }, spec: ${spec} }`;

const OBJECTS = [
  ...Object.entries(CALLERS).filter(([key]) => key.includes('/')).map(([key, address]) => pod(key, address)),
  ...Object.entries(SERVERS).map(([name, address]) => version(name, address)),
  '{ apiVersion: v1, kind: Service, metadata: { name: none, namespace: shop }, spec: { ports: [{ port: 80 }] } }',
  route('plain', '{ global: true, rule: { type: "" }, to: [{ name: v1 }] }'),
  route('private', '{ rule: { type: "", prefer: v2 }, to: [{ name: v1 }, { name: v2 }] }'),
  route('guarded', '{ global: true, rule: { type: "" }, acl: { defaultAllow: false, entries: [{ kind: ServiceAccount, name: batch, namespace: front }] }, to: [{ name: v1 }] }'),
  route('header', '{ global: true, rule: { type: Header, header: X-Ring, prefer: v1 }, to: [{ name: v1 }, { name: v2, balance: { rule: "^(?:beta|x)$" } }] }'),
  route('empty', '{ rule: { type: "" }, to: [{ name: none }] }'),
  route('strict', '{ rule: { type: Header, header: X-Ring }, to: [{ name: v2, balance: { rule: "(?i)^beta$" } }] }'),
  route('broken', '{ rule: { type: Nonsense }, to: [{ name: v1 }] }'),
].join('\n---\n');

interface Explained {
  readonly outcomes: readonly { readonly decision: { readonly kind: 'refuse'; readonly code: string } | { readonly kind: 'forward'; readonly version: { readonly name: string } } }[];
  readonly dns: string;
  readonly vip: string;
}

async function run(command: string, argv: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const texts = { out: '', err: '' };
  const code = await runCommand(command, argv, {
    out: (text) => (texts.out += text),
    err: (text) => (texts.err += text),
    env: {},
    workingDirectory: '/',
    hostname: 'test',
    version: 'test',
  });
  return { code, ...texts };
}

describe.each([
  ['haproxy', '127.65'],
  ['embedded', '127.64'],
] as const)('explain beside %s', (proxy, net) => {
  let folders: AgentFolders;
  let agent: AgentProcess;
  let view: RoutesView;
  const servers: Server[] = [];

  beforeAll(async () => {
    folders = new AgentFolders();
    folders.write('objects.yaml', OBJECTS);
    // Both proxies' suites run one after the other: the servers are the same.
    for (const [name, address] of Object.entries(SERVERS)) servers.push(await openNamedServer(name, address));
    agent = new AgentProcess(folders, net, [`--proxy=${proxy}`]);
    view = await agent.until('all routes', ({ routes }) => routes.length === 7);
  });
  afterAll(async () => {
    await agent.stop();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
    folders.remove();
  });

  const vipOf = (name: string): string => {
    const [route = '', where = ''] = name.split('.');
    const found = view.routes.find((one) => one.name === route);
    return (where === 'global' ? found?.globalVip : found?.vip) ?? '';
  };

  it.each(NAMES.flatMap((name) => Object.keys(CALLERS).map((from) => [name, from] as const)))('%s from %s: what it says is what happens', async (name, from) => {
    const headers = name.startsWith('header') || name.startsWith('strict') ? HEADERS : [undefined];
    for (const ring of headers) {
      const argv = [name, '--from', from, '--run-dir', folders.run, '--json', ...(ring === undefined ? [] : ['-H', `X-Ring: ${ring}`])];
      const { code, out, err } = await run('explain', argv);
      expect(err).toBe('');
      const said = JSON.parse(out) as Explained;
      const decision = said.outcomes[0]?.decision;
      const answer = await call({ host: vipOf(name), port: 8080, from: CALLERS[from] ?? '', headers: ring === undefined ? {} : { 'X-Ring': ring } });
      const happened = answer.status === 200 ? answer.body : answer.reason;
      expect(decision?.kind === 'forward' ? decision.version.name : decision?.code).toBe(happened);
      expect(code).toBe(answer.status === 200 ? 0 : 1);
      expect([said.vip, said.dns]).toEqual([vipOf(name), vipOf(name)]);
    }
  });

  it('tells a person the caller, the verdict, the version, its servers and the problems', async () => {
    const { out } = await run('explain', ['header.global', '--from', 'front/web', '-H', 'X-Ring: beta', '--run-dir', folders.run]);
    expect(out).toMatch(/caller .*pod front\/web, ServiceAccount web/);
    expect(out).toMatch(/version +passed: header x-ring matches/);
    expect(out).toMatch(/active +127\.88\.66\.12:8080 +tier node/);
    expect(/haproxy +its map gives shop\.header\.v2/.test(out)).toBe(proxy === 'haproxy');
    const broken = await run('explain', ['broken.shop', '--from', 'shop/web', '--run-dir', folders.run]);
    expect([broken.code, broken.out]).toEqual([1, expect.stringContaining('field-invalid')]);
  });

  it('routes shows every route and problem', async () => {
    const { code, out } = await run('routes', ['--run-dir', folders.run]);
    expect(code).toBe(0);
    for (const { name, vip } of view.routes) expect(out).toMatch(new RegExp(`shop +${name} +${vip.replaceAll('.', '\\.')}`));
    expect(out).toContain('field-invalid');
    const json = await run('routes', ['--run-dir', folders.run, '--json']);
    expect((JSON.parse(json.out) as RoutesView).routes).toHaveLength(7);
  });

  it('doctor finds this node in order, and a missing agent with its remedy', async () => {
    const flags = [`--vip-pool=${net}.0.0/16`, `--dns-listen=${net}.0.10:5353`, `--admin-listen=${net}.0.11:9810`, '--http-port=8080', `--proxy=${proxy}`];
    const good = await run('doctor', [...flags, `--run-dir=${folders.run}`]);
    expect([good.code, good.out]).toEqual([0, expect.stringContaining('all is well')]);
    const bad = await run('doctor', [...flags, '--run-dir=/nowhere']);
    expect([bad.code, bad.out]).toEqual([1, expect.stringMatching(/FAIL agent .*\n.*--run-dir/)]);
  });

  it('no agent: one line with its remedy, exit code 3', async () => {
    expect(await run('routes', ['--run-dir', '/nowhere'])).toMatchObject({ code: 3, err: expect.stringContaining('--run-dir') });
  });
});
