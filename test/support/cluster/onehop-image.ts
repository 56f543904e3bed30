import { createHash } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { mkdir, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { must, run } from '../lab/run.ts';
import { cacheFolder } from './lab-paths.ts';

/**
 * Onehop's image for the clusters of the tests: daemonset/Containerfile as it is, on a base that mmdebstrap makes. Cached by its
 * inputs: a build takes about 20 s, the base another 20 s, once. As a program it builds and prints the archive's path; the programs
 * of several test runs at once wait for each other (flock).
 */
export const ONEHOP_IMAGE = 'onehop.test/onehop:dev';

const ROOT = join(import.meta.dirname, '../../..');
/** What the Containerfile copies, and itself. */
const INPUTS = [
  'package.json',
  'package-lock.json',
  '.npmrc',
  'tsconfig.json',
  '.containerignore',
  'src',
  'daemonset/Containerfile',
  'daemonset/tsconfig.json',
  'daemonset/onehop',
  'daemonset/onehop-caps',
  'daemonset/onehop-haproxy',
  'daemonset/base/crd.yaml',
];
const PACKAGES = ['ca-certificates', 'haproxy', 'iproute2', 'nftables', 'curl', 'bind9-dnsutils', 'libcap2-bin'];
/** What stands in the image store and not in the archive's name: raise it when the recipe below changes. */
const BASE = `localhost/onehop-base:trixie-${digest(PACKAGES.join(' '))}`;
const BUILDER = `localhost/onehop-builder:${digest(BASE + process.version)}`;
const KEPT_ARCHIVES = 3;
const BUILD_LIMIT_MS = 600_000;

const folder = cacheFolder('image');
const buildah = ['buildah', '--storage-driver', 'vfs', '--root', join(folder, 'store'), '--runroot', join(folder, 'run')];

/** Path of an OCI archive that holds the image of this work tree under ONEHOP_IMAGE; built when it is not there. */
export async function onehopImage(): Promise<string> {
  const archive = await archivePath();
  if (existsSync(archive)) return archive;
  await mkdir(folder, { recursive: true });
  const printed = await must(['flock', join(folder, 'lock'), process.execPath, import.meta.filename], '', BUILD_LIMIT_MS);
  return printed.trim();
}

async function archivePath(): Promise<string> {
  const hash = createHash('sha256').update(BASE).update(await readFile(import.meta.filename));
  for (const input of INPUTS) await hashTree(hash, input);
  return join(folder, `onehop-${hash.digest('hex').slice(0, 16)}.tar`);
}

/** Names, modes and contents below a path, in order. */
async function hashTree(hash: ReturnType<typeof createHash>, path: string): Promise<void> {
  const full = join(ROOT, path);
  const { mode } = await stat(full);
  if ((mode & constants.S_IFMT) === constants.S_IFDIR) {
    for (const name of (await readdir(full)).sort()) if (!name.endsWith('.md')) await hashTree(hash, join(path, name));
  } else {
    hash.update(`${path} ${mode}\n`).update(await readFile(full));
  }
}

async function build(): Promise<string> {
  const archive = await archivePath();
  if (existsSync(archive)) return archive;
  if (!(await hasImage(BASE))) await makeBase();
  if (!(await hasImage(BUILDER))) await makeBuilder();
  // npm's cache of this machine: what it installed for the checkout is not downloaded again.
  const npmCache = (await must(['npm', 'config', 'get', 'cache'])).trim();
  const bud = ['bud', '--isolation', 'chroot', '--pull-never', '--build-arg', `BASE=${BASE}`, '--build-arg', `BUILDER=${BUILDER}`, '--volume', `${npmCache}:/root/.npm`];
  await must([...buildah, ...bud, '-t', ONEHOP_IMAGE, '-f', join(ROOT, 'daemonset/Containerfile'), ROOT], '', BUILD_LIMIT_MS);
  await must([...buildah, 'push', '-q', '--disable-compression', ONEHOP_IMAGE, `oci-archive:${archive}.new:${ONEHOP_IMAGE}`], '', BUILD_LIMIT_MS);
  await must([...buildah, 'rmi', ONEHOP_IMAGE]);
  await rename(`${archive}.new`, archive);
  await removeOldArchives();
  return archive;
}

const hasImage = async (name: string): Promise<boolean> => (await run([...buildah, 'inspect', '--type', 'image', name])).code === 0;

/** Debian with everything that the Containerfile would install: no registry is asked. */
async function makeBase(): Promise<void> {
  const tar = join(folder, 'base.tar');
  await must(['mmdebstrap', '--variant=minbase', `--include=${PACKAGES.join(',')}`, 'trixie', tar], '', BUILD_LIMIT_MS);
  await makeImage(BASE, 'scratch', async (container) => {
    await must([...buildah, 'add', '-q', container, tar, '/'], '', BUILD_LIMIT_MS);
  });
  await rm(tar);
}

/** The base and this machine's npm, with the certificates that this machine trusts. */
async function makeBuilder(): Promise<void> {
  const npm = join(await realpath((await must(['sh', '-c', 'command -v npm'])).trim()), '../..');
  const copies = [
    [process.execPath, '/usr/local/bin/node'],
    [npm, '/usr/local/lib/npm'],
    ['/etc/ssl/certs/ca-certificates.crt', '/etc/ssl/certs/ca-certificates.crt'],
  ] as const;
  await makeImage(BUILDER, BASE, async (container) => {
    for (const [from, to] of copies) await must([...buildah, 'copy', '-q', container, from, to]);
    await must([...buildah, 'run', '--isolation', 'chroot', container, 'ln', '-s', '../lib/npm/bin/npm-cli.js', '/usr/local/bin/npm']);
  });
}

async function makeImage(name: string, from: string, fill: (container: string) => Promise<void>): Promise<void> {
  const container = (await must([...buildah, 'from', '--pull-never', from])).trim();
  try {
    await fill(container);
    await must([...buildah, 'commit', '-q', container, name], '', BUILD_LIMIT_MS);
  } finally {
    await must([...buildah, 'rm', container]);
  }
}

async function removeOldArchives(): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^onehop-.*\.tar$/.test(name));
  const aged = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(folder, name))).mtimeMs })));
  for (const { name } of aged.sort((a, b) => b.at - a.at).slice(KEPT_ARCHIVES)) await rm(join(folder, name));
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

if (import.meta.main) process.stdout.write(`${await build()}\n`);
