import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { AgentFolders, AgentProcess, call, openNamedServer, simpleObjects } from '../support/agent-process.ts';

/** An agent that is started while its source is away: it serves what was in effect last. */
const NET = '127.66';
const POD = '127.88.66.2';
const CALLER = '127.88.66.1';
const own: { folders?: AgentFolders; agent?: AgentProcess; server?: Server } = {};
afterEach(async () => {
  await own.agent?.stop();
  own.server?.close();
  own.folders?.remove();
});

const get = (path: string) => call({ host: `${NET}.0.11`, port: 9810, path });
const until = (check: () => Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 120_000, interval: 50 });
const vipOf = async (name: string): Promise<string> => {
  const { routes } = JSON.parse((await get('/routes')).body) as { routes: { name: string; vip: string }[] };
  return routes.find((route) => route.name === name)?.vip ?? '';
};

describe('an agent whose source is away', { timeout: 400_000 }, () => {
  it('serves the stored snapshot, says so, and follows the source when it is back', async () => {
    const folders = (own.folders = new AgentFolders());
    own.server = await openNamedServer('cart', POD);
    const start = (): AgentProcess => (own.agent = new AgentProcess(folders, NET, ['--proxy=embedded']));
    folders.write('objects.yaml', simpleObjects('cart', POD, CALLER));
    const first = start();
    await until(async () => expect(await get('/readyz')).toMatchObject({ status: 200, body: 'ready\n' }));
    const vip = await vipOf('cart');
    await until(async () => expect(existsSync(join(folders.state, 'snapshot.jsonl'))).toBe(true));
    await first.stop('SIGKILL');

    renameSync(folders.objects, `${folders.objects}.away`);
    start();
    await until(async () => expect(await get('/readyz')).toMatchObject({ status: 200, body: expect.stringMatching(/^ready\nsource: serving the snapshot of \d{4}-.*ENOENT/) }));
    expect((await get('/metrics')).body).toMatch(/^onehop_snapshot_stale 1$/m);
    expect(JSON.parse((await get('/routes')).body)).toMatchObject({ stale: true });
    expect(await vipOf('cart')).toBe(vip);
    expect(await call({ host: vip, port: 8080, from: CALLER })).toMatchObject({ status: 200 });

    renameSync(`${folders.objects}.away`, folders.objects);
    folders.write('more.yaml', simpleObjects('late', '127.88.66.3', '127.88.66.4'));
    await until(async () => expect(await vipOf('late')).not.toBe(''));
    expect(await get('/readyz')).toMatchObject({ status: 200, body: 'ready\n' });
    expect((await get('/metrics')).body).toMatch(/^onehop_snapshot_stale 0$/m);
  });

  it('leaves a HAProxy that it adopts as it is: what runs may be newer than what was stored', async () => {
    const folders = (own.folders = new AgentFolders());
    const [stored, older] = [join(folders.state, 'snapshot.jsonl'), join(folders.root, 'older.jsonl')];
    own.server = await openNamedServer('late', '127.88.66.3');
    const start = (): AgentProcess => (own.agent = new AgentProcess(folders, NET, ['--proxy=haproxy']));
    folders.write('objects.yaml', simpleObjects('cart', POD, CALLER));
    const first = start();
    await until(async () => expect(existsSync(stored)).toBe(true));
    copyFileSync(stored, older);
    folders.write('more.yaml', simpleObjects('late', '127.88.66.3', '127.88.66.4'));
    const served = async (vip: string): Promise<void> => expect(await call({ host: vip, port: 8080, from: '127.88.66.4' })).toMatchObject({ status: 200, body: 'late' });
    await until(async () => expect(await vipOf('late')).not.toBe(''));
    const vip = await vipOf('late');
    await until(() => served(vip));
    expect((await get('/metrics')).body).toMatch(/^onehop_change_seconds_count [1-9]/m);
    await first.stop('SIGKILL');

    copyFileSync(older, stored);
    renameSync(folders.objects, `${folders.objects}.away`);
    start();
    await until(async () => expect(await get('/readyz')).toMatchObject({ status: 200, body: expect.stringMatching(/^ready\nsource: serving the snapshot/) }));
    await served(vip);

    renameSync(`${folders.objects}.away`, folders.objects);
    await until(async () => expect(await vipOf('late')).toBe(vip));
    await served(vip);
  });

  it('puts a torn snapshot aside, says so and waits for the source', async () => {
    const folders = (own.folders = new AgentFolders());
    renameSync(folders.objects, `${folders.objects}.away`);
    mkdirSync(folders.state);
    writeFileSync(join(folders.state, 'snapshot.jsonl'), '{"format":1}\n');
    const agent = (own.agent = new AgentProcess(folders, NET, ['--proxy=embedded']));
    await until(async () => expect(await get('/readyz')).toMatchObject({ status: 503, body: expect.stringMatching(/^source: .*ENOENT/m) }));
    await until(async () => expect(readdirSync(folders.state)).toContain('snapshot.jsonl.refused'));
    await until(async () => expect(agent.log).toMatch(/it is torn/));
  });
});
