import { mkdir, mkdtemp, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FolderReader } from '../../src/kube/io/folder-reader.ts';
import { openInlineParser } from '../../src/kube/io/manifest-parser.ts';

/** The reader with the time in the test's hand: what is believed when, whatever the machine is busy with. */

const account = (name: string): string => `---\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: shop }\n`;
const names = async (nowMs: number): Promise<readonly string[]> => (await reader.scan(nowMs)).snapshot.serviceAccounts.map(({ name }) => name);

let folder: string;
let reader: FolderReader;
const longAgo = new Date('2020-01-01T00:00:00Z');
const t0 = Date.now() + 3_600_000;

/** Writes a file whose time of change is settled. */
async function put(name: string, text: string, changed = longAgo): Promise<void> {
  await writeFile(join(folder, name), text);
  await utimes(join(folder, name), changed, changed);
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onehop-reader-'));
  reader = new FolderReader(folder, await openInlineParser('global'), undefined, () => expect.fail('no error is expected'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('a file that vanished is believed gone after 150 ms', async () => {
  await put('a.yaml', account('a'));
  expect(await names(t0)).toEqual(['a']);
  await unlink(join(folder, 'a.yaml'));
  const doubtful = await reader.scan(t0 + 1000);
  expect([doubtful.changed, doubtful.againMs]).toEqual([false, 150]);
  expect(await names(t0 + 1149)).toEqual(['a']);
  expect(await names(t0 + 1150)).toEqual([]);
  expect((await reader.scan(t0 + 2000)).againMs).toBeUndefined();
});

test('one that came back meanwhile was never gone, and is doubted anew the next time', async () => {
  await put('a.yaml', account('a'));
  expect(await names(t0)).toEqual(['a']);
  await rename(join(folder, 'a.yaml'), join(folder, 'a.yaml~'));
  expect(await names(t0 + 100)).toEqual(['a']);
  await put('a.yaml', account('b'));
  expect(await names(t0 + 200)).toEqual(['b']);
  await unlink(join(folder, 'a.yaml'));
  expect(await names(t0 + 300)).toEqual(['b']);
  expect(await names(t0 + 450)).toEqual([]);
});

test('what is below a folder that cannot be read is kept for as long as it takes', async () => {
  await mkdir(join(folder, 'team'));
  await put('team/a.yaml', account('a'));
  expect(await names(t0)).toEqual(['a']);
  await rename(folder, `${folder}-away`);
  expect(await names(t0 + 1000)).toEqual(['a']);
  expect(await names(t0 + 1_000_000)).toEqual(['a']);
  await rename(`${folder}-away`, folder);
  const back = await reader.scan(t0 + 2_000_000);
  expect([back.snapshot.problems, back.againMs]).toEqual([[], undefined]);
});

test('a file that became empty is believed after 3 s, one that always was at once', async () => {
  await put('a.yaml', account('a'));
  await put('b.yaml', '');
  expect(await names(t0)).toEqual(['a']);
  await put('a.yaml', '', new Date('2021-01-01'));
  expect(await names(t0 + 1000)).toEqual(['a']);
  expect(await names(t0 + 3950)).toEqual(['a']);
  expect(await names(t0 + 4000)).toEqual([]);
});

test('a file that was read within the tick of its writing is read again, even with the same stamp', async () => {
  const now = new Date(t0);
  await put('a.yaml', account('a'), now);
  const { snapshot } = await reader.scan(t0);
  const unchanged = await reader.scan(t0 + 1000);
  expect(unchanged.snapshot).toBe(snapshot);
  await put('a.yaml', account('b'), now);
  expect(await names(t0 + 2000)).toEqual(['b']);
});

test('a file that is also reached by a link counts once, by its own name', async () => {
  await put('web.yaml', account('a'));
  await symlink('web.yaml', join(folder, 'again.yaml'));
  const { snapshot } = await reader.scan(t0);
  expect(snapshot.problems).toEqual([]);
  expect(snapshot.serviceAccounts.map(({ origin }) => origin?.file)).toEqual([join(folder, 'web.yaml')]);
});

test('a new folder with old files is read as it is', async () => {
  await put('a.yaml', account('a'));
  await mkdir(join(folder, 'more'));
  await put('more/b.yaml', account('b'));
  expect(await names(t0)).toEqual(['a', 'b']);
});
