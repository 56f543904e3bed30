import { parseArgs } from 'node:util';
import { closeCluster, openCluster } from '../support/cluster/cluster.ts';
import type { Fabric } from '../support/cluster/fabric.ts';
import { Suites } from '../support/suites.ts';

/**
 * `npm run test:cluster [-- [--fabric bgp|vxlan] [--keep] [FILE...]]`: the tests that need only a control plane, then those on a
 * cluster of 3 nodes, once on each fabric; only the files whose path contains a FILE when there are some. All of vitest runs in the
 * control plane's network, so that tests reach API server, nodes and pods in-process. --keep leaves the last cluster running.
 */
const NAME = process.env['ONEHOP_LAB'] ?? 'test';
const NODES = 3;
const CONFIG = 'test/cluster/vitest.config.ts';

const { values, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { fabric: { type: 'string' }, keep: { type: 'boolean', default: false } },
});
const fabrics: readonly Fabric[] = values.fabric === 'bgp' || values.fabric === 'vxlan' ? [values.fabric] : ['bgp', 'vxlan'];

// Ctrl-C goes to vitest too, which ends; then the cluster goes down as after any run.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

const suites = new Suites();
const needsNodes = (file: string): boolean => !file.includes('test/cluster/api/');
if (files.length === 0 || files.some((file) => !needsNodes(file))) {
  suites.run({ what: 'tests against a control plane without nodes', config: CONFIG, files, env: { SUITE: 'api' } });
}
if (files.length === 0 || files.some((file) => needsNodes(file))) for (const fabric of fabrics) await runOn(fabric);
process.exitCode = suites.finish();

async function runOn(fabric: Fabric): Promise<void> {
  try {
    const startedAt = performance.now();
    const cluster = await openCluster({ name: NAME, nodes: NODES, fabric });
    process.stdout.write(`\ncluster ${NAME}: ${NODES} nodes on ${fabric} up in ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
    const env = { SUITE: 'nodes', ONEHOP_LAB: NAME, FABRIC: fabric };
    suites.run({ what: `tests on ${NODES} nodes, ${fabric}`, config: CONFIG, files, env, within: cluster.inside([]) });
  } catch (error) {
    suites.fail(`no cluster on ${fabric}: ${String(error)}`);
  } finally {
    if (!values.keep) await closeCluster(NAME);
  }
}
