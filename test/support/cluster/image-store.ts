import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { eventually, must, run, start, stop } from '../lab/run.ts';
import { markUsed, removeUnused } from './cached-file.ts';
import { cacheFolder } from './lab-paths.ts';

const IMPORT_LIMIT_MS = 300_000;
/** containerd's databases: the only files of an image store that are ever written again. */
const DATABASES = ['io.containerd.metadata.v1.bolt/meta.db', 'io.containerd.snapshotter.v1.overlayfs/metadata.db'];

/**
 * A containerd root folder that has these images unpacked, made once: importing 300 MB on each of three nodes takes 15 s, linking
 * the files of a store takes none.
 */
export async function imageStore(archives: readonly string[]): Promise<string> {
  const key = createHash('sha256').update(archives.map((archive) => basename(archive)).join('\0')).digest('hex').slice(0, 16);
  const store = cacheFolder('image-stores', key);
  if (existsSync(store)) {
    await markUsed(store);
    return store;
  }
  process.stderr.write('cluster: unpacking the images, once\n');
  await mkdir(cacheFolder('image-stores'), { recursive: true });
  await removeUnused(cacheFolder('image-stores'));
  const candidate = `${store}.${process.pid}.part`;
  await importAll(archives, candidate);
  // Two at once made the same: the first one's stays.
  await rename(candidate, store).catch(() => rm(candidate, { recursive: true }));
  return store;
}

/** Gives a node its own copy: files that never change are links. */
export async function copyImageStore(store: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const linked = await run(['cp', '-a', '--link', `${store}/.`, folder]);
  // Another file system than the cache's.
  if (linked.code !== 0) await must(['cp', '-a', `${store}/.`, folder]);
  for (const file of DATABASES) await must(['cp', '-a', '--remove-destination', join(store, file), join(folder, file)]);
}

/** Runs a containerd of its own, in a mount namespace of its own: whatever ends it, no mount stays. */
async function importAll(archives: readonly string[], root: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'onehop-images-'));
  const socket = join(folder, 'containerd.sock');
  const config = `version = 2\nroot = "${root}"\nstate = "${folder}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "${socket}"\n`;
  await writeFile(join(folder, 'containerd.toml'), config);
  const containerd = start(['unshare', '--mount', '--', 'containerd', '-c', join(folder, 'containerd.toml')], join(folder, 'log'));
  try {
    await eventually('containerd answers', async () => (await run(['ctr', '-a', socket, 'version'])).code === 0);
    for (const archive of archives) {
      // `import` unpacks for the default snapshotter, the one that the nodes use.
      await must(['unshare', '--mount', '--', 'ctr', '-a', socket, '-n', 'k8s.io', 'images', 'import', archive], '', IMPORT_LIMIT_MS);
    }
  } finally {
    await stop(containerd, 'SIGTERM');
    await rm(folder, { recursive: true, force: true });
  }
}
