import { appendFile, mkdir, mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { openSnapshotFile, type SnapshotFile } from '../../../src/state/io/open-snapshot-file.ts';
import { parseSnapshot, renderSnapshot, SNAPSHOT_FORMAT, type StoredSnapshot } from '../../../src/state/snapshot-lines.ts';
import { node, pod, snapshot } from '../../support/objects.ts';

const OWNER = { node: 'n1', source: 'kubernetes' };
const SOME = snapshot({
  pods: [pod('shop/web', '10.0.0.1'), pod('shop/far', '10.0.1.1', { nodeName: 'n2' })],
  nodes: [node('n1', 'z1'), node('n2', 'z2')],
  tokenCodes: [{ digest: 'ab', namespace: 'shop', serviceAccount: 'web' }],
  resourceVersion: '42',
});
const textOf = (stored: StoredSnapshot, owner = OWNER): string => [...renderSnapshot(stored, owner)].join('');
const STORED = { snapshot: SOME, savedAtMs: 1_700_000_000_000, bootId: 'boot' };

describe('the text of a snapshot', () => {
  it('is read as it was written, whatever the texts in it', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 600 }), fc.option(fc.string(), { nil: undefined }), (names, resourceVersion) => {
        const one = snapshot({ nodes: names.map((name) => node(name, 'z')), ...(resourceVersion === undefined ? {} : { resourceVersion }) });
        expect(parseSnapshot(textOf({ ...STORED, snapshot: one }), OWNER)).toEqual(JSON.parse(JSON.stringify({ ...STORED, snapshot: one })));
      }),
      { numRuns: 50 },
    );
  });

  it('is refused when any byte is missing or another', () => {
    const text = textOf(STORED);
    fc.assert(
      fc.property(fc.nat(text.length - 2), fc.boolean(), (at, cut) => {
        const damaged = cut ? text.slice(0, at) : `${text.slice(0, at)}${text[at] === 'x' ? 'y' : 'x'}${text.slice(at + 1)}`;
        expect(parseSnapshot(damaged, OWNER)).toEqual({ refused: 'it is torn' });
      }),
    );
  });

  it.each([
    ['another node', { ...OWNER, node: 'n2' }],
    ['another source', { ...OWNER, source: 'dir:/x' }],
  ])('is refused when it is of %s', (_, owner) => {
    expect(parseSnapshot(textOf(STORED, owner), OWNER)).toEqual({ refused: 'it is of another node or source' });
  });

  it('has a format that is raised when a list comes or goes', () => {
    const head = JSON.parse(textOf(STORED).split('\n')[0] ?? '') as { lengths: number[] };
    const lists: (keyof Snapshot)[] = ['serviceRoutes', 'services', 'endpointSlices', 'pods', 'nodes', 'serviceAccounts', 'tokenCodes', 'problems'];
    expect(Object.keys(SOME).filter((key) => key !== 'resourceVersion').toSorted()).toEqual(lists.toSorted());
    expect({ format: SNAPSHOT_FORMAT, lists: head.lengths.length }).toEqual({ format: 1, lists: 8 });
  });
});

describe('the snapshot file', () => {
  let folder = '';
  let path = '';
  let troubles: string[] = [];
  const open = (): SnapshotFile => openSnapshotFile({ stateDir: folder, owner: OWNER, onTrouble: (line) => void troubles.push(line) });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onehop-snapshot-'));
    path = join(folder, 'snapshot.jsonl');
    troubles = [];
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('gives back what was kept last, and is for its owner alone', async () => {
    const file = open();
    expect(await file.read()).toBeUndefined();
    file.keep(snapshot({}));
    file.keep(SOME);
    await file.close();
    expect((await open().read())?.snapshot).toEqual(SOME);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(['snapshot.jsonl']);
    expect(troubles).toEqual([]);
  });

  it('is written without being closed, and not again for what it holds', async () => {
    const file = open();
    file.keep(SOME);
    await vi.waitFor(async () => expect((await open().read())?.snapshot).toEqual(SOME), { timeout: 10_000 });
    // Its folder is synced after it can be read.
    await vi.waitFor(() => expect(file.savedAtMs).toBeDefined(), { timeout: 10_000 });
    const { mtimeMs } = await stat(path);
    file.keep(SOME);
    await file.close();
    expect((await stat(path)).mtimeMs).toBe(mtimeMs);
  });

  it.each([
    ['torn', (text: string) => text.slice(0, text.length / 2), /it is torn/],
    ['empty', () => '', /it is torn/],
    ['foreign', () => textOf(STORED, { ...OWNER, node: 'n9' }), /another node/],
  ])('is put aside when it is %s', async (_, damage, why) => {
    await writeFile(path, damage(textOf(STORED)));
    expect(await open().read()).toBeUndefined();
    expect(troubles).toEqual([expect.stringMatching(why)]);
    expect(await readdir(folder)).toEqual(['snapshot.jsonl.refused']);
  });

  it("of an earlier boot has no pods of this node: their addresses may be anybody's", async () => {
    await writeFile(path, textOf({ ...STORED, bootId: 'another boot' }));
    expect((await open().read())?.snapshot.pods.map(({ name }) => name)).toEqual(['far']);
    await writeFile(path, textOf({ ...STORED, bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim() }));
    expect((await open().read())?.snapshot.pods.map(({ name }) => name)).toEqual(['web', 'far']);
  });

  it('that cannot be written says so once, and is written when it can be', async () => {
    await mkdir(path);
    const file = open();
    file.keep(SOME);
    await vi.waitFor(() => expect(troubles).toEqual([expect.stringMatching(/cannot be written: .*--state-dir/)]), { timeout: 10_000 });
    await rm(path, { recursive: true });
    file.keep(snapshot({}));
    await file.close();
    expect((await open().read())?.snapshot).toEqual(snapshot({}));
  });

  it('written by two at once is that of one of them, and what crashes left is removed', async () => {
    const left = `${path}.new-of-a-crash`;
    await writeFile(left, 'half');
    await utimes(left, 0, 0);
    const files = [open(), open()];
    for (let i = 0; i < 5; i++) {
      for (const [k, file] of files.entries()) file.keep(snapshot({ nodes: Array.from({ length: 3000 }, (_, n) => node(`${k}-${n}`, 'z')) }));
    }
    await Promise.all(files.map((file) => file.close()));
    const names = (await open().read())?.snapshot.nodes.map(({ name }) => name.split('-')[0]) ?? [];
    expect({ nodes: names.length, owners: new Set(names).size }).toEqual({ nodes: 3000, owners: 1 });
    expect(await readdir(folder)).toEqual(['snapshot.jsonl']);
  });

  it('with something behind its end is torn', async () => {
    await writeFile(path, textOf(STORED));
    await appendFile(path, 'x\n');
    expect(await open().read()).toBeUndefined();
  });
});
