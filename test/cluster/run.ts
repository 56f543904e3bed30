import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { closeCluster, openCluster } from '../support/cluster/cluster.ts';
import type { Fabric } from '../support/cluster/fabric.ts';
import { onehopImage } from '../support/cluster/onehop-image.ts';
import { Suites } from '../support/suites.ts';

/**
 * `npm run test:cluster [-- [--fabric bgp|vxlan] [--keep] [FILE...]]`: the tests of `api/` (two files at a time), which open control planes of
 * their own, beside the others on two clusters of 3 nodes, one for each fabric: all of them mostly wait. Those of `once/` run on the first
 * fabric only: what they show has nothing to do with how packets get from node to node. Those of `alone/` come last. With FILEs only
 * those whose path contains one. On a shared cluster all of vitest runs in the control plane's network, so that tests reach API server,
 * nodes and pods in-process. --keep leaves the clusters running.
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
const shared = fabrics.map((fabric, i) => ({ fabric, files: testFiles('.', ...(i === 0 ? ['once'] : [])) })).filter(({ files }) => files.length > 0);
const api = testFiles('api');
const aside = shared.length + Math.min(1, api.length) > 1;
// Before anything else, and here, where npm may reach its registry: tests run in the cluster's network.
if (shared.length > 0) await onehopImage();
await Promise.all([
  api.length > 0 ? suites.run({ what: 'tests on control planes of their own', config: CONFIG, files: api, env: { SUITE: 'api' } }, { aside }) : undefined,
  ...shared.map(({ fabric, files }) => runOn(fabric, files)),
]);
const alone = testFiles('alone');
if (alone.length > 0) await suites.run({ what: 'tests that want the machine for themselves', config: CONFIG, files: alone, env: { SUITE: 'alone' } });
process.exitCode = suites.finish();

/** The tests in these folders, those asked for only. */
function testFiles(...folders: readonly string[]): readonly string[] {
  const all = folders.flatMap((folder) => readdirSync(join(import.meta.dirname, folder)).map((file) => join('test/cluster', folder, file)));
  return all.filter((file) => file.endsWith('.test.ts') && (wanted.length === 0 || wanted.some((part) => file.includes(part))));
}

async function runOn(fabric: Fabric, files: readonly string[]): Promise<void> {
  const name = `${NAME}-${fabric}`;
  try {
    const startedAt = performance.now();
    const cluster = await openCluster({ name, nodes: NODES, fabric });
    process.stdout.write(`\ncluster ${name}: ${NODES} nodes on ${fabric} up in ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
    // The API server is away for two minutes on one fabric; on the other it is about that fabric.
    const env = { SUITE: 'shared', ONEHOP_LAB: name, FABRIC: fabric, OUTAGE_SECONDS: fabric === fabrics[0] ? '120' : '30' };
    await suites.run({ what: `tests on ${NODES} nodes, ${fabric}`, config: CONFIG, files, env, within: cluster.inside([]) }, { aside });
  } catch (error) {
    suites.fail(`no cluster on ${fabric}: ${String(error)}`);
  } finally {
    if (!values.keep) await closeCluster(name);
  }
}
