import { run } from '../lab/run.ts';
import { cachedFile } from './cached-file.ts';
import { VERSIONS } from './versions.ts';

const BUILD_LIMIT_MS = 600_000;
/** Nobody reads manuals in a container. */
const NO_DOCUMENTS = ['man', 'doc', 'info', 'locale'].map((folder) => `--dpkgopt=path-exclude=/usr/share/${folder}/*`);

/**
 * The root file system of a minimal Debian with `packages`, as a tar: made by mmdebstrap in about 15 s, then cached.
 * @param name what it is called in the cache
 */
export function debianRootfs(name: string, packages: readonly string[]): Promise<string> {
  const argv = ['mmdebstrap', '--variant=minbase', '--format=tar', '--quiet', ...NO_DOCUMENTS, `--include=${[...packages].sort().join(',')}`, VERSIONS.debian];
  return cachedFile('rootfs', name, argv, async (path) => {
    const { code, stderr } = await run([...argv, path], '', BUILD_LIMIT_MS);
    if (code !== 0) throw new Error(`mmdebstrap (exit ${code}): ${stderr.trim().slice(-2_000)}`);
  });
}
