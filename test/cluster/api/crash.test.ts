import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { closeCluster } from '../../support/cluster/cluster.ts';
import { labPaths } from '../../support/cluster/lab-paths.ts';
import { eventually, run } from '../../support/lab/run.ts';

/** A lab of its own, killed in the worst moments. */
const NAME = 'crash';
const COMMAND = [process.execPath, join(import.meta.dirname, '../main.ts')];
const lab = labPaths(NAME);

afterAll(() => closeCluster(NAME));

const command = (...words: readonly string[]): ReturnType<typeof run> => run([...COMMAND, ...words, '--name', NAME], '', 120_000);

/** Everything on the machine that bears the lab's name. */
async function traces(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const folder of ['/run', '/var/tmp', '/run/netns', '/sys/fs/cgroup', '/sys/fs/cgroup/memory']) {
    found.push(...(await readdir(folder).catch(() => [])).filter((name) => name.startsWith(lab.prefix)).map((name) => join(folder, name)));
  }
  found.push(...(await readFile('/proc/mounts', 'utf8')).split('\n').filter((line) => line.includes(lab.prefix)));
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (line.includes(`${lab.prefix}/`)) found.push(line.replaceAll('\0', ' '));
  }
  return found;
}

test('killed in the middle of its start, the next up makes a whole cluster', async () => {
  const [program = '', ...args] = COMMAND;
  const killed = spawn(program, [...args, 'up', '--nodes', '1', '--name', NAME], { detached: true, stdio: 'ignore' });
  await eventually('a node boots', async () => existsSync(join(lab.folder, 'n1.ready')), 60_000);
  process.kill(-(killed.pid ?? 0), 'SIGKILL');
  expect(await traces()).not.toEqual([]);
  const { code, stderr, stdout } = await command('up', '--nodes', '1');
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stdout).toMatch(/n1 +Ready/);
});

test('with its programs killed, up repairs it; up on a whole cluster changes nothing', async () => {
  const pidOf = async (name: string): Promise<number> => Number(await readFile(join(lab.folder, `${name}.pid`), 'utf8'));
  for (const name of ['etcd', 'kube-apiserver', 'n1']) process.kill(await pidOf(name), 'SIGKILL');
  expect(await command('up', '--nodes', '1')).toMatchObject({ code: 0 });
  const apiServer = await pidOf('kube-apiserver');
  expect(await command('up', '--nodes', '1')).toMatchObject({ code: 0 });
  expect(await pidOf('kube-apiserver')).toBe(apiServer);
});

test('down leaves nothing: no process, mount, namespace, cgroup, file; a second down has nothing to do', async () => {
  expect(await command('down')).toMatchObject({ code: 0 });
  expect(await traces()).toEqual([]);
  expect(await command('down')).toMatchObject({ code: 0 });
});

test('a pid file with somebody else\'s pid ends nobody', async () => {
  await command('up', '--nodes', '0');
  const bystander = spawn('sleep', ['1000']);
  await writeFile(join(lab.folder, 'etcd.pid'), String(bystander.pid));
  await command('down');
  expect(existsSync(`/proc/${bystander.pid}`) && bystander.exitCode).toBeNull();
  bystander.kill();
});
