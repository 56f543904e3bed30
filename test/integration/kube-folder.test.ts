import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CheckRegexes } from '../../src/model/proxy.ts';
import type { Snapshot } from '../../src/model/snapshot.ts';
import { openFolderSource } from '../../src/kube/io/open-folder-source.ts';
import type { FolderSource } from '../../src/kube/io/open-folder-source.ts';
import { readFolder, validatePaths } from '../../src/kube/io/read-folder.ts';

const route = (name: string, spec = "{ rule: { type: '' }, to: [{ name: a }] }"): string =>
  `---\napiVersion: paas.io/v1\nkind: ServiceRoute\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`;
const versionOf = (snapshot: Snapshot, name = 'web'): string | undefined => snapshot.serviceRoutes.find((found) => found.name === name)?.spec?.to[0]?.name;
const to = (version: string): string => route('web', `{ rule: { type: '' }, to: [{ name: ${version} }] }`);
const codes = ({ problems }: Snapshot): readonly string[] => problems.map(({ code }) => code);
const options = { globalNamespace: 'global' };

let base: string;
let folder: string;
let source: FolderSource | undefined;
let snapshots: Snapshot[];
const errors: Error[] = [];

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'onehop-kube-'));
  folder = join(base, 'objects');
  await mkdir(folder);
  snapshots = [];
  errors.length = 0;
});

afterEach(async () => {
  await source?.close();
  source = undefined;
  await rm(base, { recursive: true, force: true });
});

/** Opens the source with the periodic scan out of the way: what these tests see was told by the watch. */
async function watch(more: { readonly checkRegexes?: CheckRegexes; readonly rescanMs?: number; readonly path?: string; readonly onWaiting?: (why: string) => void } = {}): Promise<void> {
  source = await openFolderSource({
    path: folder,
    globalNamespace: 'global',
    rescanMs: 600_000,
    onSnapshot: (snapshot) => snapshots.push(snapshot),
    onError: (error) => errors.push(error),
    ...more,
  });
}
const latest = (): Snapshot => snapshots.at(-1) ?? expect.fail('no snapshot');
const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 10_000, interval: 10 });
const put = (name: string, text: string): Promise<void> => writeFile(join(folder, name), text);

/** Root may read everything: what concerns permissions runs as nobody. */
const NOBODY = 65_534;
async function withoutRoot(action: () => Promise<void>): Promise<void> {
  await chmod(base, 0o755);
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(NOBODY);
  try {
    await action();
    await source?.close();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

/** Changes the mode as the owner, whoever runs meanwhile. */
function changeMode(name: string, mode: number): void {
  const euid = process.geteuid?.();
  if (process.getuid?.() === 0) process.seteuid?.(0);
  try {
    chmodSync(join(folder, name), mode);
  } finally {
    if (euid !== undefined && process.getuid?.() === 0) process.seteuid?.(euid);
  }
}

describe('a watched folder', () => {
  test('delivers its first snapshot before it is open, also an empty one', async () => {
    await watch();
    expect(snapshots).toHaveLength(1);
    expect(latest().serviceRoutes).toEqual([]);
    expect(codes(latest())).toEqual([]);
  });

  test('sees a new file, an edit and a deletion', async () => {
    await watch();
    await put('web.yaml', to('a'));
    await until(() => expect(versionOf(latest())).toBe('a'));
    await put('web.yaml', to('b'));
    await until(() => expect(versionOf(latest())).toBe('b'));
    await unlink(join(folder, 'web.yaml'));
    await until(() => expect(latest().serviceRoutes).toEqual([]));
    expect(errors).toEqual([]);
  });

  test('sees atomic renames and never a moment without the object', async () => {
    await put('web.yaml', to('a'));
    await watch();
    for (const version of ['b', 'c', 'd']) {
      await put('.web.yaml.tmp', to(version));
      await rename(join(folder, '.web.yaml.tmp'), join(folder, 'web.yaml'));
      await until(() => expect(versionOf(latest())).toBe(version));
    }
    expect(snapshots.every((snapshot) => snapshot.serviceRoutes.length === 1)).toBe(true);
  });

  test('an editor that moves the file away and writes it anew never makes the object vanish', async () => {
    await put('web.yaml', to('a'));
    await watch();
    await put('.web.yaml.swp', 'swap');
    await put('4913', '');
    await unlink(join(folder, '4913'));
    await rename(join(folder, 'web.yaml'), join(folder, 'web.yaml~'));
    await put('web.yaml', to('b'));
    await unlink(join(folder, 'web.yaml~'));
    await until(() => expect(versionOf(latest())).toBe('b'));
    expect(snapshots.every((snapshot) => snapshot.serviceRoutes.length === 1 && snapshot.problems.length === 0)).toBe(true);
  });

  test('a file emptied for a moment keeps its objects; one that stays empty has none', async () => {
    await put('web.yaml', to('a'));
    await watch();
    await put('web.yaml', '');
    await put('web.yaml', to('b'));
    await until(() => expect(versionOf(latest())).toBe('b'));
    expect(snapshots.every((snapshot) => snapshot.serviceRoutes.length === 1)).toBe(true);
    await put('web.yaml', '');
    await until(() => expect(latest().serviceRoutes).toEqual([]));
  });

  test('a burst of writes is a few snapshots, and endless writing does not hold it up', async () => {
    await watch();
    const writing = (async () => {
      for (let i = 0; i < 60; i++) {
        await put('web.yaml', to(`v${i}`));
        await sleep(10);
      }
    })();
    await until(() => expect(latest().serviceRoutes).toHaveLength(1));
    await writing;
    await until(() => expect(versionOf(latest())).toBe('v59'));
    expect(snapshots.length).toBeLessThan(20);
  });

  test('new subfolders are watched, replaced ones too', async () => {
    await watch();
    await mkdir(join(folder, 'team', 'one'), { recursive: true });
    await put('team/one/web.yaml', to('a'));
    await until(() => expect(versionOf(latest())).toBe('a'));
    await mkdir(join(base, 'next'));
    await writeFile(join(base, 'next', 'web.yaml'), to('b'));
    await rename(join(folder, 'team'), join(base, 'old'));
    await rename(join(base, 'next'), join(folder, 'team'));
    await until(() => expect(versionOf(latest())).toBe('b'));
    await put('team/web.yaml', to('c'));
    await until(() => expect(versionOf(latest())).toBe('c'));
  });

  test('a ConfigMap volume is updated by its ..data link, all files at once', async () => {
    await mkdir(join(folder, '..v1'));
    await writeFile(join(folder, '..v1', 'web.yaml'), to('a'));
    await symlink('..v1', join(folder, '..data'));
    await symlink('..data/web.yaml', join(folder, 'web.yaml'));
    await watch();
    expect(versionOf(latest())).toBe('a');
    // Past the second look that follows opening the watch: only the link's own event can tell now.
    await sleep(300);
    await mkdir(join(folder, '..v2'));
    await writeFile(join(folder, '..v2', 'web.yaml'), to('b'));
    await symlink('..v2', join(folder, '..data_tmp'));
    await rename(join(folder, '..data_tmp'), join(folder, '..data'));
    await rm(join(folder, '..v1'), { recursive: true });
    await until(() => expect(versionOf(latest())).toBe('b'));
    expect(snapshots.every((snapshot) => snapshot.serviceRoutes.length === 1)).toBe(true);
  });

  test('an object that turns bad keeps its last good content, and is reported', async () => {
    await put('web.yaml', to('a') + route('other'));
    await watch();
    const other = latest().serviceRoutes.find(({ name }) => name === 'other');
    await put('web.yaml', to('5') + route('other'));
    await until(() => expect(codes(latest())).toEqual(['field-invalid']));
    expect(versionOf(latest())).toBe('a');
    expect(latest().problems[0]?.message).toContain('its last good content stays in use');
    expect(latest().serviceRoutes.find(({ name }) => name === 'other')).toBe(other);
    await put('web.yaml', to('b') + route('other'));
    await until(() => expect(versionOf(latest())).toBe('b'));
    expect(codes(latest())).toEqual([]);
  });

  test('a file that is not YAML any more keeps its content as a whole', async () => {
    await put('web.yaml', to('a') + route('other'));
    await put('z.yaml', route('third'));
    await watch();
    await put('web.yaml', `${to('b')}---\nbroken: [\n`);
    await until(() => expect(codes(latest())).toEqual(['file-unreadable']));
    expect(versionOf(latest())).toBe('a');
    expect(latest().serviceRoutes).toHaveLength(3);
    expect(latest().problems[0]?.origin).toEqual({ file: join(folder, 'web.yaml'), line: 7 });
    // Others go on changing meanwhile.
    await put('z.yaml', route('third') + route('fourth'));
    await until(() => expect(latest().serviceRoutes).toHaveLength(4));
    await put('web.yaml', to('b'));
    await until(() => expect(versionOf(latest())).toBe('b'));
    expect(codes(latest())).toEqual([]);
  });

  test('a folder that is away keeps everything and says so', async () => {
    await put('web.yaml', to('a'));
    await watch();
    const before = latest();
    await rename(folder, join(base, 'away'));
    await until(() => expect(codes(latest())).toEqual(['path-unreadable']));
    expect(latest().serviceRoutes).toBe(before.serviceRoutes);
    await writeFile(join(base, 'away', 'web.yaml'), to('b'));
    await rename(join(base, 'away'), folder);
    await until(() => expect(versionOf(latest())).toBe('b'));
    expect(codes(latest())).toEqual([]);
    await put('web.yaml', to('c'));
    await until(() => expect(versionOf(latest())).toBe('c'));
  });

  test.each([
    ['a slash at the end', (path: string) => `${path}/`],
    ['a way from here', (path: string) => relative('.', path)],
  ])('a folder given with %s keeps everything too', async (_name, write) => {
    await put('web.yaml', to('a'));
    await watch({ path: write(folder) });
    await rename(folder, join(base, 'away'));
    await until(() => expect(codes(latest())).toEqual(['path-unreadable']));
    expect(versionOf(latest())).toBe('a');
  });

  test('a folder that is not there yet is not taken for empty, and found when it appears', async () => {
    await rm(folder, { recursive: true });
    const waiting: string[] = [];
    await watch({ onWaiting: (why) => waiting.push(why) });
    expect(snapshots).toEqual([]);
    expect(waiting).toEqual([expect.stringMatching(/ENOENT \[path-unreadable\]; create it$/)]);
    await mkdir(folder);
    await put('web.yaml', to('a'));
    await until(() => expect(versionOf(latest())).toBe('a'));
    expect(codes(latest())).toEqual([]);
  });

  test('a single file may be the source', async () => {
    await put('web.yaml', to('a'));
    await watch({ path: join(folder, 'web.yaml') });
    await put('web.yaml', to('b'));
    await until(() => expect(versionOf(latest())).toBe('b'));
  });

  test('regexes are asked for once each; a refused one keeps the spec of before', async () => {
    const asked: string[][] = [];
    const checkRegexes: CheckRegexes = async (patterns) => {
      asked.push([...patterns]);
      return new Map(patterns.filter((pattern) => pattern.includes('(')).map((pattern) => [pattern, 'missing )']));
    };
    const canary = (regex: string): string => route('web', `{ rule: { type: Header, header: X-V }, to: [{ name: a, balance: { rule: '${regex}' } }] }`);
    await put('web.yaml', canary('^1'));
    await watch({ checkRegexes });
    await source?.rescan();
    await source?.rescan();
    await put('web.yaml', canary('('));
    await until(() => expect(codes(latest())).toEqual(['regex-invalid']));
    expect(latest().serviceRoutes[0]?.spec?.to[0]?.match).toBe('^1');
    await put('web.yaml', canary('^2') + route('other'));
    await until(() => expect(latest().serviceRoutes[1]?.spec?.to[0]?.match).toBe('^2'));
    expect(asked).toEqual([['^1'], ['('], ['^2']]);
  });

  test('a regex check that fails is told and does not stop the folder', async () => {
    await put('web.yaml', route('web', "{ rule: { type: Header, header: X }, to: [{ name: a, balance: { rule: 'x' } }] }"));
    await watch({ checkRegexes: async () => Promise.reject(new Error('no proxy')) });
    expect(latest().serviceRoutes[0]?.spec).toBeDefined();
    expect(errors.map(({ message }) => message)).toEqual(['the regular expressions could not be checked']);
  });

  test('nothing is delivered when nothing changed, or after it was closed', async () => {
    await put('web.yaml', to('a'));
    await watch();
    await put('notes.txt', 'x');
    await put('web.yaml', to('a'));
    await source?.rescan();
    await sleep(200);
    await source?.rescan();
    expect(snapshots).toHaveLength(1);
    await source?.close();
    await put('web.yaml', to('b'));
    await sleep(200);
    expect(snapshots).toHaveLength(1);
  });

  test('the periodic scan finds what the watch is not told', async () => {
    await mkdir(join(folder, '.store'));
    await writeFile(join(folder, '.store', 'web.yaml'), to('a'));
    await symlink('.store/web.yaml', join(folder, 'web.yaml'));
    await watch({ rescanMs: 100 });
    await writeFile(join(folder, '.store', 'web.yaml'), to('b'));
    await until(() => expect(versionOf(latest())).toBe('b'));
  });
});

describe('what is refused', () => {
  test('links to outside, fifos, and files that are too large: a Problem each, and nothing hangs', async () => {
    await writeFile(join(base, 'secret.yaml'), to('secret'));
    await symlink(join(base, 'secret.yaml'), join(folder, 'outside.yaml'));
    await symlink(base, join(folder, 'up'));
    await symlink('.', join(folder, 'loop'));
    await symlink('nothing', join(folder, 'dangling.yaml'));
    execFileSync('mkfifo', [join(folder, 'pipe.yaml')]);
    await put('large.yaml', `# ${'x'.repeat(4 * 1024 * 1024)}\n${to('large')}`);
    await put('web.yaml', to('a'));
    await symlink('web.yaml', join(folder, 'again.yaml'));
    const snapshot = await readFolder(folder, options);
    expect(versionOf(snapshot)).toBe('a');
    expect(snapshot.problems.map(({ code, object }) => [code, object.name.slice(folder.length + 1)])).toEqual([
      ['file-refused', 'large.yaml'],
      ['file-refused', 'outside.yaml'],
      ['file-refused', 'pipe.yaml'],
    ]);
  });

  test('a file or folder without permission is a Problem, and keeps its content while watched', async () => {
    await mkdir(join(folder, 'team'));
    await put('web.yaml', to('a'));
    await put('team/other.yaml', route('other'));
    await withoutRoot(async () => {
      await watch({ rescanMs: 100 });
      changeMode('web.yaml', 0);
      await until(() => expect(codes(latest())).toEqual(['path-unreadable']));
      expect(versionOf(latest())).toBe('a');
      changeMode('team', 0);
      await until(() => expect(codes(latest())).toEqual(['path-unreadable', 'path-unreadable']));
      expect(latest().serviceRoutes).toHaveLength(2);
      expect(latest().problems.map(({ message }) => message)).toEqual(
        Array.from({ length: 2 }, () => 'it cannot be read: EACCES; its last good content stays in use'),
      );
      changeMode('web.yaml', 0o644);
      changeMode('team', 0o755);
      await until(() => expect(codes(latest())).toEqual([]));
    });
  });
});

describe('one reading', () => {
  test('a folder, by name of file; hidden and other files are passed over', async () => {
    await put('b.yml', to('b'));
    await put('a.json', JSON.stringify({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'x', namespace: 'shop' } }));
    await put('.hidden.yaml', to('hidden'));
    await put('web.yaml~', to('backup'));
    await put('#web.yaml#', to('autosave'));
    const snapshot = await readFolder(folder, options);
    expect(snapshot.serviceAccounts).toHaveLength(1);
    expect(versionOf(snapshot)).toBe('b');
    expect(snapshot.problems).toEqual([]);
  });

  test('several paths are one set of objects; a file named twice is read once', async () => {
    await put('a.yaml', to('a'));
    const extra = join(base, 'extra.yaml');
    await writeFile(extra, to('b') + route('other'));
    const { objects, problems } = await validatePaths([folder, extra, join(folder, 'a.yaml')], options);
    expect(objects).toBe(2);
    expect(problems.map(({ code, origin }) => [code, origin?.file])).toEqual([['duplicate-object', extra]]);
  });

  test('a path that is not there is a Problem', async () => {
    const { objects, problems } = await validatePaths([join(base, 'nothing')], options);
    expect(objects).toBe(0);
    expect(problems.map(({ code, remedy }) => [code, remedy])).toEqual([['path-unreadable', 'create it']]);
  });
});
