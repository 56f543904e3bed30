import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { must } from '../lab/run.ts';
import type { Binaries } from './binaries.ts';
import { cachedFile, fileKey } from './cached-file.ts';
import { debianRootfs } from './debian-rootfs.ts';
import { writeOciArchive } from './oci-archive.ts';
import type { ImagePlan } from './oci-archive.ts';

/** Programs of the test pods beside Node and the scripts. */
const TOOLS = ['bind9-dnsutils', 'curl', 'iproute2', 'openssl', 'procps', 'socat', 'wrk'];
const POD_SCRIPTS = ['pod-server.mjs', 'call.mjs', 'load.mjs', 'mixed-load.mjs'];

export const IMAGES = { pause: 'onehop.test/pause:1', coredns: 'onehop.test/coredns:1', tools: 'onehop.test/tools:1' } as const;

/** OCI archives of the images that every node has: pause, CoreDNS, and `onehop.test/tools:1` for test pods. */
export async function standardImages(binaries: Binaries): Promise<readonly string[]> {
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path)) ?? '';
  return Promise.all([
    image({ name: IMAGES.pause, layers: [await filesLayer('pause-files', [[busybox, 'bin/busybox']])], entrypoint: ['/bin/busybox', 'sleep', '1000000000'] }),
    image({ name: IMAGES.coredns, layers: [await filesLayer('coredns-files', [[binaries('coredns'), 'coredns']])], entrypoint: ['/coredns'] }),
    toolsImage(),
  ]);
}

async function toolsImage(): Promise<string> {
  const scripts = POD_SCRIPTS.map((name) => [join(import.meta.dirname, name), `opt/pod/${name}`] as const);
  const layers = await Promise.all([
    debianRootfs('tools-rootfs', TOOLS),
    filesLayer('tools-node', [[process.execPath, 'usr/local/bin/node']]),
    filesLayer('tools-scripts', scripts),
  ]);
  return image({ name: IMAGES.tools, layers, command: ['node', '/opt/pod/pod-server.mjs'] });
}

/** The archive of an image, made once per content. */
async function image(plan: ImagePlan): Promise<string> {
  const name = plan.name.replaceAll(/[/:]/g, '_');
  return cachedFile('images', name, [JSON.stringify(plan)], (path) => writeOciArchive(plan, path));
}

/** A layer of single files: pairs of source and path in the image. */
async function filesLayer(name: string, files: readonly (readonly [source: string, target: string])[]): Promise<string> {
  const madeOf = await Promise.all(files.map(async ([source, target]) => `${target} ${await fileKey(source)}`));
  return cachedFile('layers', name, madeOf, async (path) => {
    const folder = await mkdtemp(join(tmpdir(), 'onehop-layer-'));
    try {
      for (const [source, target] of files) {
        await mkdir(dirname(join(folder, target)), { recursive: true });
        await copyFile(source, join(folder, target));
      }
      await must(['chmod', '-R', 'a+rX', folder]);
      await must(['tar', '-cf', path, '--sort=name', '--owner=0', '--group=0', '-C', folder, '.']);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}
