import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { closeCluster, openCluster } from '../support/cluster/cluster.ts';
import type { Fabric } from '../support/cluster/fabric.ts';
import { onehopImage } from '../support/cluster/onehop-image.ts';
import { Suites } from '../support/suites.ts';
import type { Suite } from '../support/suites.ts';

/**
 * `npm run test:cluster [-- [--fabric bgp|vxlan] [--keep] [FILE...]]`: the tests of `api/`, which open clusters of their own, and the
 * others on clusters of 3 nodes, one on each fabric. Those of `once/` run on one of them only: what they show has nothing to do with how
 * packets get from node to node. With FILEs only those whose path contains one. On a shared cluster all of vitest runs in the control plane's
 * network, so that tests reach API server, nodes and pods in-process. --keep leaves it running.
 *
 * On two fabrics there are two lanes, which keep two cores busy: BGP begins with the outage, in which hardly anything runs; beside it run the
 * tests of `api/`, and then VXLAN.
 */
const NAME = process.env['ONEHOP_LAB'] ?? 'test';
const NODES = 3;
const CONFIG = 'test/cluster/vitest.config.ts';
/** Of `once/`, where there are two fabrics: both lanes take about as long. */
const ON_VXLAN = ['controllers', 'install', 'rollouts', 'security', 'tokens'].map((name) => `${name}.test.ts`);

const { values, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: { fabric: { type: 'string' }, keep: { type: 'boolean', default: false } },
});
const { fabric: only } = values;
if (only !== undefined && only !== 'bgp' && only !== 'vxlan') {
  process.stderr.write(`--fabric is bgp or vxlan, not ${JSON.stringify(only)}\n`);
  process.exit(2);
}

const suites = new Suites();
// Ctrl-C goes to vitest too, which ends; then the clusters go down as after any run.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => suites.interrupt());

let image: Promise<string> | undefined;
await (only === undefined ? Promise.all([runOn('bgp'), runApi().then(() => runOn('vxlan'))]) : runApi().then(() => runOn(only)));
process.exitCode = await suites.finish();

/** The tests in this folder, those asked for only. */
function testFiles(folder: string): readonly string[] {
  const all = readdirSync(join(import.meta.dirname, folder)).map((file) => join('test/cluster', folder, file));
  return all.filter((file) => file.endsWith('.test.ts') && (wanted.length === 0 || wanted.some((part) => file.includes(part))));
}

/** What runs on the cluster with this fabric. */
function filesFor(fabric: Fabric): readonly string[] {
  const once = testFiles('once').filter((file) => only !== undefined || ON_VXLAN.includes(basename(file)) === (fabric === 'vxlan'));
  return [...testFiles('.'), ...once];
}

async function runApi(): Promise<void> {
  const files = testFiles('api');
  if (files.length > 0) await suites.run({ what: 'tests on clusters of their own', config: CONFIG, files, env: { SUITE: 'api' }, ...labelled('api') });
}

/** A name for each line of what runs beside something else. */
function labelled(label: string): Pick<Suite, 'label'> {
  return only === undefined ? { label } : {};
}

async function runOn(fabric: Fabric): Promise<void> {
  const files = filesFor(fabric);
  if (files.length === 0) return;
  const name = only === undefined && fabric === 'vxlan' ? `${NAME}-vxlan` : NAME;
  try {
    // Here, where npm may reach its registry: tests run in the cluster's network.
    await (image ??= onehopImage());
    const startedAt = performance.now();
    const cluster = await openCluster({ name, nodes: NODES, fabric });
    process.stdout.write(`\ncluster ${name}: ${NODES} nodes on ${fabric} up in ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
    const env = { SUITE: 'shared', ONEHOP_LAB: name, FABRIC: fabric };
    await suites.run({ what: `tests on ${NODES} nodes, ${fabric}`, config: CONFIG, files, env, within: cluster.inside([]), ...labelled(fabric) });
  } catch (error) {
    suites.fail(`no cluster on ${fabric}: ${String(error)}`);
  } finally {
    if (!values.keep) await closeCluster(name);
  }
}
