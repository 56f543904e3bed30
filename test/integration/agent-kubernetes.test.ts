import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Terminal } from '../../src/cli/command.ts';
import { doctor } from '../../src/cli/doctor.ts';
import { AgentFolders, AgentProcess, call } from '../support/agent-process.ts';
import { answer, fakeList, openFakeApiServer, type FakeApiServer } from '../support/fake-api-server.ts';

/** How the agent begins when the API server is away, wrong or slow to answer. With a real one: test/cluster. */
const NET = '127.67';
let folders: AgentFolders;
let agent: AgentProcess | undefined;
let server: FakeApiServer | undefined;
afterEach(async () => {
  await agent?.stop();
  agent = undefined;
  await server?.close();
  server = undefined;
  folders.remove();
});

const kubeconfig = (url: string): string =>
  JSON.stringify({ 'current-context': 'x', contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }], clusters: [{ name: 'c', cluster: { server: url } }], users: [{ name: 'u', user: { token: 't' } }] });

function start(config: string): AgentProcess {
  folders = new AgentFolders();
  const path = join(folders.root, 'kubeconfig');
  writeFileSync(path, config);
  agent = new AgentProcess(folders, NET, [`--kubeconfig=${path}`, '--proxy=embedded'], 'kubernetes');
  return agent;
}

const readyz = () => call({ host: `${NET}.0.11`, port: 9810, path: '/readyz' });
const until = (check: () => Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 40_000, interval: 50 });

describe('source kubernetes', { timeout: 60_000 }, () => {
  it('ends at once, with the remedy, when the kubeconfig cannot be used', async () => {
    const one = start('{}');
    expect(await one.exit()).toBe(3);
    expect(one.log).toMatch(/it has no current-context \[kubeconfig\]; choose one: kubectl config use-context NAME/);
  });

  it('waits for an API server that is away, says so, and binds no DNS meanwhile', async () => {
    const one = start(kubeconfig('http://127.0.0.1:1'));
    await until(async () => expect(await readyz()).toMatchObject({ status: 503, body: expect.stringMatching(/source: 127\.0\.0\.1:1 cannot be reached: .*see that http:\/\/127\.0\.0\.1:1 can be reached from this node/) }));
    expect(one.log.match(/cannot be reached/g)?.length).toBeLessThan(8);
    expect(one.log).not.toContain('DNS answers');
  });

  it('is ready when all was listed, shows the source in its metrics, and reports', async () => {
    const bodies: string[] = [];
    server = await openFakeApiServer((request, response, raw) => {
      if (request.searchParams.get('watch') === 'true') response.writeHead(200).flushHeaders();
      else if (raw.method === 'PATCH') raw.on('data', (part: Buffer) => bodies.push(part.toString())).on('end', () => answer(response, {}));
      else if (request.pathname.startsWith('/api/v1/nodes/')) answer(response, { metadata: { uid: 'node-uid' } });
      else answer(response, fakeList([], 77));
    });
    const one = start(kubeconfig(server.access.server.href));
    await until(async () => expect(await readyz()).toMatchObject({ status: 200 }));
    await until(async () => expect(bodies.join('')).toContain('"onehop.paas.io/resource-version":"77"'));
    expect(server.requests.find((line) => line.startsWith('PATCH'))).toBe('PATCH /apis/coordination.k8s.io/v1/namespaces/onehop-system/leases/onehop-node-n1?fieldManager=onehop-agent&force=true');
    const { body } = await call({ host: one.adminAddress, port: 9810, path: '/metrics' });
    expect(body).toContain('onehop_source_synced{resource="serviceroutes.paas.io"} 1');
    expect(body).toMatch(/onehop_source_last_event_age_seconds\{resource="pods"\} \d/);
    expect(server.requests.find((line) => line.includes('/pods?'))).toContain('fieldSelector=spec.nodeName%3Dn1');
  });

  it('doctor says what may not be listed', async () => {
    server = await openFakeApiServer((request, response) => (request.pathname.endsWith('nodes') ? answer(response, { message: 'no' }, 403) : answer(response, fakeList([], 1))));
    folders = new AgentFolders();
    const path = join(folders.root, 'kubeconfig');
    writeFileSync(path, kubeconfig(server.access.server.href));
    let out = '';
    const terminal: Terminal = { out: (text) => void (out += text), err: () => undefined, env: {}, hostname: 'n1', workingDirectory: folders.root, version: '0' };
    await doctor.run([`--kubeconfig=${path}`, `--vip-pool=${NET}.0.0/16`, '--proxy=embedded', `--run-dir=${folders.run}`], terminal);
    expect(out).toMatch(/FAIL source {9}may not list nodes: no\n +-> allow list and watch of nodes in the ClusterRole of this account/);
  });
});
