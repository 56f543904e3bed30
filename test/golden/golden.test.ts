import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildRoutesView } from '../../src/agent/routes-view.ts';
import { buildDesired } from '../../src/desired/build-desired.ts';
import { renderZone } from '../../src/dns/render-zone.ts';
import { renderConfig } from '../../src/haproxy/render-config.ts';
import { readFolder } from '../../src/kube/io/read-folder.ts';
import { problemLine } from '../../src/model/problem.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';

/**
 * Whole-state cases: `cases/<sentence>/objects.yaml` -> everything that a node n1 serves. A bug report in kubectl YAML becomes a case
 * unchanged. `UPDATE_GOLDEN=1 npx vitest run test/golden` rewrites the expected files; read the diff before committing it.
 */
const CASES = join(import.meta.dirname, 'cases');
const update = process.env['UPDATE_GOLDEN'] === '1';

describe.each(readdirSync(CASES))('%s', (name) => {
  const folder = join(CASES, name);

  it('gives the routes, zone, haproxy.cfg and problems on record', async () => {
    const snapshot = await readFolder(join(folder, 'objects.yaml'), { globalNamespace: 'global' });
    const pool = parseVipPool('169.254.192.0/19');
    const options = { nodeName: 'n1', ownAddresses: ['192.168.0.1'], pool, vips: 'allocate' as const, globalNamespace: 'global', trustedCallers: [{ namespace: 'ingress' }], httpPort: 80, zoneName: 'route.internal', version: 'golden' };
    const { table, zone } = buildDesired(snapshot, options, {}, 0);
    const view = buildRoutesView(table, { generation: 1, source: 'golden', stale: false, proxy: 'haproxy', problems: [], breakers: [] });
    const { config, files } = renderConfig(table, { runDir: '/run/onehop', drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } });
    const maps = [...files].filter(([file]) => file.endsWith('.map')).map(([file, content]) => `### ${file}\n${content}`);

    const problems = table.problems.map((one) => `${one.severity}: ${problemLine(one)}\n`).join('');

    for (const [file, actual] of Object.entries({
      'routes.json': `${JSON.stringify(view, null, 2)}\n`,
      'zone.txt': renderZone(zone),
      'haproxy.cfg': config,
      'maps.txt': maps.join(''),
      'problems.txt': problems,
    })) {
      // The files on record know no path of the machine that wrote them.
      const shown = actual.replaceAll(`${folder}/`, '');
      expect(shown).toBe(onRecord(join(folder, file), shown));
    }
  });
});

/** The expected content of a file; written first when the run updates. */
function onRecord(path: string, actual: string): string {
  if (update) writeFileSync(path, actual);
  return readFileSync(path, 'utf8');
}
