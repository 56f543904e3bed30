import { existsSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findRunDir } from '../../src/cli/io/find-run-dir.ts';
import { openGenerations } from '../../src/daemon/io/generations.ts';

const OWN = '0f9d1a0e-6d4b-4c0f-9c1e-0123456789ab';
const OTHER = '1f9d1a0e-6d4b-4c0f-9c1e-0123456789ab';
const THIRD = '2f9d1a0e-6d4b-4c0f-9c1e-0123456789ab';
const HOUR_MS = 3_600_000;

let parent: string;
const servers: Server[] = [];
const dir = (name: string): string => join(parent, name);

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'oh-gen-'));
  for (const name of [OWN, OTHER, THIRD]) mkdirSync(dir(name));
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  rmSync(parent, { recursive: true });
});

function generations() {
  const opened = openGenerations(dir(OWN));
  if (opened === undefined) throw new Error('no generation');
  return opened;
}

/** Lets a folder look as if nothing had changed in it for an hour. */
const age = (name: string): void => utimesSync(dir(name), new Date(Date.now() - HOUR_MS), new Date(Date.now() - HOUR_MS));

const listen = (path: string): Promise<void> =>
  new Promise((resolve) => {
    servers.push(createServer().listen(path, () => resolve()));
  });

test('a run folder that is not named by a UID has no generations', () => {
  for (const name of ['/run/onehop', `${parent}/onehop`, `${parent}/${OWN}x`, `${parent}/${OWN.toUpperCase()}`]) expect(openGenerations(name)).toBeUndefined();
});

test('siblings are the UID-named folders beside it, nothing else', async () => {
  mkdirSync(dir('backup'));
  writeFileSync(dir('3f9d1a0e-6d4b-4c0f-9c1e-0123456789ab'), 'a file');
  symlinkSync(OTHER, dir('4f9d1a0e-6d4b-4c0f-9c1e-0123456789ab'));
  expect([...(await generations().siblings())].sort()).toEqual([dir(OTHER), dir(THIRD)]);
});

test('only what is dead and old is removed', async () => {
  mkdirSync(dir('backup'));
  await listen(join(dir(OTHER), 'master.sock'));
  for (const name of [OWN, OTHER, THIRD, 'backup']) age(name);
  expect(await generations().tidy(Date.now())).toEqual([dir(THIRD)]);
  expect([OWN, OTHER, THIRD, 'backup'].map((name) => existsSync(dir(name)))).toEqual([true, true, false, true]);
  // Dead now, but something in it has just changed: the socket is gone.
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
  expect(await generations().tidy(Date.now())).toEqual([]);
  expect(await generations().tidy(Date.now() + HOUR_MS)).toEqual([dir(OTHER)]);
});

test('`current` is taken when one is ready, kept while that one lives, taken over when it is dead; the CLI follows it', async () => {
  expect(await findRunDir(parent)).toBe(parent);
  await generations().takeCurrent();
  await generations().takeCurrent();
  expect(readlinkSync(dir('current'))).toBe(OWN);
  expect(await findRunDir(parent)).toBe(dir('current'));

  await listen(join(dir(OTHER), 'admin.sock'));
  await openGenerations(dir(OTHER))?.takeCurrent();
  await generations().tidy(Date.now());
  expect(readlinkSync(dir('current'))).toBe(OTHER);
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
  await generations().tidy(Date.now());
  expect(readlinkSync(dir('current'))).toBe(OWN);

  await listen(dir('admin.sock'));
  expect(await findRunDir(parent)).toBe(parent);
});
