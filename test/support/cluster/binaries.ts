import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from './lab-paths.ts';
import { VERSIONS } from './versions.ts';

export const PROGRAMS = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kube-proxy', 'kubelet', 'kubectl', 'coredns'] as const;
export type Program = (typeof PROGRAMS)[number];

const RECIPE = join(import.meta.dirname, 'build-binaries.sh');

/** Path of a program. */
export type Binaries = (program: Program) => string;

/**
 * Finds the programs: in a folder named by KUBEBUILDER_ASSETS, else in the cache, where missing ones are built from their Go
 * modules first: 6 to 9 minutes for all on 2 cores, once.
 * @throws Error when the build fails, for want of go say
 */
export async function findBinaries(programs: readonly Program[] = PROGRAMS): Promise<Binaries> {
  const cache = cacheFolder('bin');
  const given = process.env['KUBEBUILDER_ASSETS'];
  const find: Binaries = (program) => (given !== undefined && isProgram(join(given, program)) ? join(given, program) : join(cache, program));
  const missing = programs.filter((program) => !isProgram(find(program)));
  if (missing.length > 0) await buildBinaries(cache, missing);
  return find;
}

async function buildBinaries(folder: string, programs: readonly Program[]): Promise<void> {
  const startedAt = performance.now();
  process.stderr.write(`cluster: building ${programs.join(', ')} (Kubernetes ${VERSIONS.kubernetes}, CoreDNS ${VERSIONS.coredns}) into ${folder}, once\n`);
  await mkdir(folder, { recursive: true });
  const env = { ...process.env, KUBERNETES: VERSIONS.kubernetes, COREDNS: VERSIONS.coredns };
  const child = spawn('bash', [RECIPE, folder, ...programs], { env, stdio: ['ignore', 2, 2] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`building ${programs.join(', ')} failed (exit code ${code}); what go said stands above`);
  process.stderr.write(`cluster: built in ${Math.round((performance.now() - startedAt) / 1000)} s\n`);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
