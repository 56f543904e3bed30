// One program, `node test/support/other-haproxy.ts`: unpacks the HAProxy of another Debian release into the cache, once.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rename, rm, symlink } from 'node:fs/promises';
import { delimiter, dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { parseVersion } from '../../src/haproxy/features.ts';
import { cacheFolder } from './cluster/lab-paths.ts';
import { must } from './lab/run.ts';
import type { Suite, Suites } from './suites.ts';

/** Debian 13: HAProxy 3.0. The machine's own is Debian 12's 2.6, or whatever stands in PATH. */
const RELEASE = 'trixie';
const UNPACK_LIMIT_MS = 300_000;
const FOLDER = cacheFolder('haproxy', RELEASE);
/** Debian's names for this machine's kind of processor (its multiarch folders). */
const LIBRARIES = `usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;

/** What is run once more there: scenes, and all that changes a running HAProxy or depends on how it does a thing. Under three minutes. */
const FILES = [
  'test/integration/haproxy',
  'test/integration/agent-life.test.ts',
  'test/integration/scenes-haproxy.test.ts',
  'test/integration/scenes-composite.test.ts',
] as const;

/**
 * Runs scenes and change tests with another HAProxy in PATH: ONEHOP_TEST_HAPROXY (a path), else the one that the set-up has unpacked.
 * None there: says so; in CI that counts as a failure.
 * @param files run these instead: parts of paths
 */
export async function runOnOtherHaproxy(suites: Suites, { files = FILES, ...labelled }: Pick<Suite, 'files' | 'label'> = {}): Promise<void> {
  const asked = process.env['ONEHOP_TEST_HAPROXY'] ?? '';
  const binary = asked === '' ? join(FOLDER, 'bin/haproxy') : resolve(asked);
  const version = versionOf(binary);
  if (version === undefined) {
    const why = `Scenes and change tests were not run on a second HAProxy: ${binary} is none that can be run (root: node src/setup.mjs test)`;
    if (process.env['CI'] === 'true' || asked !== '') suites.fail(why);
    else process.stdout.write(`\n${why}\n`);
    return;
  }
  // Tests say `haproxy` as users do: first in PATH stands a folder that has nothing else.
  const folder = await mkdtemp(join(suites.folder, 'path-'));
  await symlink(binary, join(folder, 'haproxy'));
  const env = { PATH: `${folder}${delimiter}${process.env['PATH'] ?? ''}`, EXPECTED_HAPROXY: version };
  await suites.run({ what: `scenes and change tests on HAProxy ${version}`, config: 'vitest.config.ts', files, env, ...labelled });
}

/** As `haproxy -v` says it: `3.0.11`; undefined when it is no HAProxy that can be run. */
function versionOf(binary: string): string | undefined {
  try {
    return parseVersion(execFileSync(binary, ['-vv'], { encoding: 'utf8' }))?.version;
  } catch {
    return undefined;
  }
}

/**
 * HAProxy with the libraries of its own release, which this machine's do not replace: the copy in bin/ names its loader and libraries by
 * path, so that it starts, and starts itself again, as any program does. To have a newer one: remove the folder.
 */
async function unpack(): Promise<void> {
  const candidate = `${FOLDER}.${process.pid}.part`;
  try {
    await mkdir(candidate, { recursive: true });
    await must(['mmdebstrap', '--variant=extract', '--quiet', '--include=haproxy', RELEASE, `${candidate}/root`], '', UNPACK_LIMIT_MS);
    // All else of that Debian is not wanted: 40 MB.
    for (const part of [LIBRARIES, 'usr/lib64']) if (existsSync(join(candidate, 'root', part))) await move(candidate, part);
    await move(candidate, 'usr/sbin/haproxy', 'bin/haproxy');
    await rm(join(candidate, 'root'), { recursive: true });
    const loader = (await must(['patchelf', '--print-interpreter', join(candidate, 'bin/haproxy')])).trim();
    // rpath and not runpath: it counts for libraries of libraries too.
    const paths = ['--set-interpreter', join(FOLDER, 'usr', loader), '--force-rpath', '--set-rpath', join(FOLDER, LIBRARIES)];
    await must(['patchelf', ...paths, join(candidate, 'bin/haproxy')]);
    await rename(candidate, FOLDER).catch((error: unknown) => {
      // Another set-up was faster.
      if (!existsSync(FOLDER)) throw error;
    });
  } finally {
    await rm(candidate, { recursive: true, force: true });
  }
  if (versionOf(join(FOLDER, 'bin/haproxy')) !== undefined) return;
  await rm(FOLDER, { recursive: true, force: true });
  throw new Error('what was unpacked does not run');
}

async function move(candidate: string, from: string, to: string = from): Promise<void> {
  await mkdir(dirname(join(candidate, to)), { recursive: true });
  await cp(join(candidate, 'root', from), join(candidate, to), { recursive: true, verbatimSymlinks: true });
}

if (import.meta.main && !existsSync(join(FOLDER, 'bin/haproxy'))) {
  const begunAt = performance.now();
  process.stderr.write(`setup: unpacking HAProxy of Debian ${RELEASE} into ${FOLDER} with mmdebstrap, once\n`);
  try {
    await unpack();
    process.stderr.write(`setup: HAProxy ${versionOf(join(FOLDER, 'bin/haproxy')) ?? ''} took ${((performance.now() - begunAt) / 1000).toFixed(1)} s\n`);
  } catch (error) {
    process.stderr.write(`setup: no second HAProxy: ${String(error).slice(0, 500)}\n`);
    process.exitCode = process.env['CI'] === 'true' ? 3 : 0;
  }
}
