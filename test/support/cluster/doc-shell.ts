import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { docBlock } from '../doc-blocks.ts';
import { run } from '../lab/run.ts';
import type { RunResult } from '../lab/run.ts';
import { findBinaries } from './binaries.ts';
import type { Cluster } from './cluster.ts';

const ROOT = join(import.meta.dirname, '../../..');
const CHECKOUT = ['package.json', 'package-lock.json', '.npmrc', 'tsconfig.json', 'src', 'daemonset', 'systemd'];
const BLOCK_LIMIT_MS = 300_000;
/** Nodes of the lab have no systemd: what it is told is noted, and the test does it. */
const SYSTEMCTL = '#!/bin/sh\necho "systemctl $*"\n';

/** Runs commands of docs/ as an administrator does: in a checkout of his own, with kubectl and its kubeconfig. */
export class DocShell {
  readonly folder: string;
  readonly #cluster: Cluster;

  private constructor(cluster: Cluster, folder: string) {
    this.#cluster = cluster;
    this.folder = folder;
  }

  static async open(cluster: Cluster): Promise<DocShell> {
    const folder = await mkdtemp(join(tmpdir(), 'onehop-checkout-'));
    for (const part of CHECKOUT) await cp(join(ROOT, part), join(folder, part), { recursive: true, verbatimSymlinks: true });
    await mkdir(join(folder, '.bin'));
    await symlink((await findBinaries(['kubectl']))('kubectl'), join(folder, '.bin/kubectl'));
    await writeFile(join(folder, '.bin/systemctl'), SYSTEMCTL, { mode: 0o755 });
    return new DocShell(cluster, folder);
  }

  /** A block of docs/install.md, line by line until one fails; on a node or, without one, where the API server answers. */
  async block(name: string, where: { readonly node?: string; readonly env?: Readonly<Record<string, string>> } = {}): Promise<RunResult> {
    const env = { KUBECONFIG: this.#cluster.kubeconfig, PATH: `${join(this.folder, '.bin')}:${process.env['PATH'] ?? ''}`, ...where.env };
    const argv = ['env', '-C', this.folder, ...Object.entries(env).map(([key, value]) => `${key}=${value}`), 'sh', '-ec', docBlock('install.md', name)];
    return run(where.node === undefined ? this.#cluster.inside(argv) : await this.#cluster.node(where.node).inside(argv), '', BLOCK_LIMIT_MS);
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}
