import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { addControllerMetrics, type ControllerReadings } from '../../../src/controller/controller-metrics.ts';
import { Metrics } from '../../../src/daemon/metrics.ts';

const ROOT = join(import.meta.dirname, '../../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const filesOf = (folder: string, end: string): readonly string[] => readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith(end)).map((path) => `${folder}/${path}`);
const CONTROLLER = 'onehop_controller_';
/** No metric: the nft table of client addresses. */
const OTHERS = ['onehop_client_ip'];

/** Some of the controller's names are put together, so its metrics are registered; nothing is read before a scrape. */
function controllerMetrics(): readonly string[] {
  const metrics = new Metrics();
  addControllerMetrics(metrics, {} as ControllerReadings);
  return metrics.registry.getMetricsAsArray().map(({ name }) => name);
}

/** Every name in the source as a registration has it: `name: 'onehop_...'`. */
const written = filesOf('src', '.ts').flatMap((path) => [...read(path).matchAll(/\bname: (['`])(onehop_[^'`]*)\1/g)].map(([, , name = '']) => ({ path, name })));
/** What is queried of a histogram (Prometheus, "Histograms and summaries"). */
const seriesOf = (name: string): string => name.replace(/_(?:bucket|sum|count)$/, '');
const registered = new Set([...written.map(({ name }) => name).filter((name) => !name.includes('$')), ...controllerMetrics()]);

test('names are put together in the controller alone', () => {
  expect(written.filter(({ name }) => name.includes('$')).map(({ path }) => path)).toEqual(['src/controller/controller-metrics.ts']);
});

test('every metric stands in a table of the documents', () => {
  expect(registered.size).toBeGreaterThan(40);
  const rows = (page: string): string => read(page).split('\n').filter((line) => line.startsWith('| `')).map((line) => line.split(' | ')[0]).join('\n');
  const [ofAgent, ofController] = [rows('docs/troubleshooting.md'), rows('docs/controller.md')];
  expect([...registered].filter((name) => !(name.startsWith(CONTROLLER) ? ofController : ofAgent).includes(`\`${name}\``))).toEqual([]);
});

test('every metric of the documents is registered', () => {
  const named = filesOf('docs', '.md').flatMap((page) => [...read(page).matchAll(/\bonehop_[a-z_]+/g)].map(([name]) => name));
  expect([...new Set(named)].filter((name) => !registered.has(name) && !registered.has(seriesOf(name)) && !OTHERS.includes(name))).toEqual([]);
});

test('every state and count of the proxy stands in the documents', () => {
  const source = ['src/agent/open-proxy.ts', 'src/agent/open-stand-in.ts'].map(read).join('\n');
  const returned = [...source.matchAll(/counters: \(\) => \{.*?\n    \}/gs)].flatMap(([text]) => [...text.matchAll(/return \{(.*)\};/g)].map(([, fields = '']) => fields));
  const given = returned.flatMap((fields) => fields.split(',').map((field) => field.split(':', 1)[0]?.trim() ?? '')).filter((what) => /^[a-z_]+$/.test(what));
  expect(given).toEqual(expect.arrayContaining(['restarts', 'reloads', 'in_trouble', 'connections', 'standing_in']));
  const page = read('docs/troubleshooting.md');
  expect([...new Set(given)].filter((what) => !page.includes(`\`${what}\``))).toEqual([]);
});
