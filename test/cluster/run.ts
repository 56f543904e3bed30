import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { closeCluster, openCluster } from '../support/cluster/cluster.ts';
import type { Fabric } from '../support/cluster/fabric.ts';
import { onehopImage } from '../support/cluster/onehop-image.ts';
import { Suites } from '../support/suites.ts';

/**
 * `npm run test:cluster [-- [--fabric bgp|vxlan] [--keep] [FILE...]]`: first the tests of `api/` and `alone/`, which open clusters of their
 * own; then the others on a cluster of 3 nodes, on each fabric, those of `once/` on the first one only: what they show has nothing to do
 * with how packets get from node to node. With FILEs only those whose path contains one. On the shared cluster all of vitest runs in the
 * control plane's network, so that tests reach API server, nodes and pods in-process. --keep leaves it running.
 */
const NAME = process.env['ONEHOP_LAB'] ?? 'test';
const NODES = 3;
const CONFIG = 'test/cluster/vitest.config.ts';

const { values, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: { fabric: { type: 'string' }, keep: { type: 'boolean', default: false } },
});
const fabrics: readonly Fabric[] = values.fabric === 'bgp' || values.fabric === 'vxlan' ? [values.fabric] : ['bgp', 'vxlan'];

// Ctrl-C goes to vitest too, which ends; then the cluster goes down as after any run.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

const suites = new Suites();
for (const [folder, what] of [
  ['api', 'tests on control planes of their own'],
  ['alone', 'tests that want the machine for themselves'],
] as const) {
  const files = testFiles(folder);
  if (files.length > 0) suites.run({ what, config: CONFIG, files, env: { SUITE: folder } });
}
for (const fabric of fabrics) {
  const shared = testFiles('.', ...(fabric === fabrics[0] ? ['once'] : []));
  if (shared.length > 0) await runOn(fabric, shared);
}
process.exitCode = suites.finish();

/** The tests in these folders, those asked for only. */
function testFiles(...folders: readonly string[]): readonly string[] {
  const all = folders.flatMap((folder) => readdirSync(join(import.meta.dirname, folder)).map((file) => join('test/cluster', folder, file)));
  return all.filter((file) => file.endsWith('.test.ts') && (wanted.length === 0 || wanted.some((part) => file.includes(part))));
}

async function runOn(fabric: Fabric, files: readonly string[]): Promise<void> {
  try {
    // Here, where npm may reach its registry: tests run in the cluster's network.
    await onehopImage();
    const startedAt = performance.now();
    const cluster = await openCluster({ name: NAME, nodes: NODES, fabric });
    process.stdout.write(`\ncluster ${NAME}: ${NODES} nodes on ${fabric} up in ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
    const env = { SUITE: 'shared', ONEHOP_LAB: NAME, FABRIC: fabric };
    suites.run({ what: `tests on ${NODES} nodes, ${fabric}`, config: CONFIG, files, env, within: cluster.inside([]) });
  } catch (error) {
    suites.fail(`no cluster on ${fabric}: ${String(error)}`);
  } finally {
    if (!values.keep) await closeCluster(NAME);
  }
}
