import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { AgentFolders, AgentProcess, call, killAll, processesWith, simpleObjects } from '../support/agent-process.ts';

/** What `/readyz` says while something is missing, with a real agent. */
const NET = '127.68';
const folders: AgentFolders[] = [];
const agents: AgentProcess[] = [];
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.stop();
  for (const one of folders.splice(0)) {
    killAll(processesWith(one.run));
    one.remove();
  }
});

function startAgent(flags: readonly string[], prepare: (folders: AgentFolders) => void) {
  const own = new AgentFolders();
  folders.push(own);
  prepare(own);
  const agent = new AgentProcess(own, NET, flags);
  agents.push(agent);
  const readyz = () => call({ host: agent.adminAddress, port: 9810, path: '/readyz' });
  const until = (check: () => void | Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 50_000, interval: 50 });
  return { own, readyz, until };
}

describe('/readyz', () => {
  it('waits for the HAProxy of another supervisor, sees one that hangs or ends, and says so', async () => {
    const { own, readyz, until } = startAgent(['--haproxy-attach', '--proxy=haproxy'], (one) => one.write('objects.yaml', simpleObjects('cart', '127.88.68.2', '127.88.68.1')));
    await until(async () => expect(await readyz()).toMatchObject({ status: 503, body: expect.stringMatching(/^proxy: no HAProxy answers/) }));
    expect(existsSync(join(own.run, 'haproxy.cfg'))).toBe(true);
    const launcher = spawn('daemonset/onehop-haproxy', [own.run], { stdio: 'ignore' });
    await until(async () => expect(await readyz()).toMatchObject({ status: 200, body: 'ready\n' }));

    const haproxys = processesWith(`${own.run}/master.sock,`);
    for (const pid of haproxys) process.kill(pid, 'SIGSTOP');
    await until(async () => expect(await readyz()).toMatchObject({ status: 503, body: expect.stringMatching(/^proxy: .*hangs/) }));
    for (const pid of haproxys) process.kill(pid, 'SIGCONT');
    await until(async () => expect(await readyz()).toMatchObject({ status: 200 }));

    const ended = once(launcher, 'exit');
    launcher.kill();
    expect((await ended)[0]).toBe(0);
    await until(async () => expect(await readyz()).toMatchObject({ status: 503, body: expect.stringMatching(/^proxy: no HAProxy answers/) }));
  }, 180_000);

  it('waits for a source that was never read, and says why', async () => {
    const { own, readyz, until } = startAgent(['--proxy=embedded'], (one) => rmSync(one.objects, { recursive: true }));
    await until(async () => expect(await readyz()).toMatchObject({ status: 503, body: expect.stringMatching(/^source: .*ENOENT/m) }));
    const other = new AgentFolders();
    folders.push(other);
    other.write('objects.yaml', simpleObjects('cart', '127.88.68.2', '127.88.68.1'));
    cpSync(other.objects, own.objects, { recursive: true });
    await until(async () => expect(await readyz()).toMatchObject({ status: 200 }));
  }, 60_000);
});
