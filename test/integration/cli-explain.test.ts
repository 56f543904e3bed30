import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/cli/main.ts';
import type { TableView } from '../../src/desired/table-view.ts';
import { problem, type Problem } from '../../src/model/problem.ts';
import { parseVipPool } from '../../src/model/vip-pool.ts';
import { buildTable } from '../../src/routing/build-table.ts';
import { service, serviceRoute, slice, snapshot } from '../support/objects.ts';

const pool = parseVipPool('127.68.0.0/16');
const { table } = buildTable(
  snapshot({ serviceRoutes: [serviceRoute('shop/cart')], services: [service('shop/web')], endpointSlices: [slice('shop/web', ['127.88.68.1@n1'])] }),
  { nodeName: 'n1', ownAddresses: [], pool, vips: 'allocate', globalNamespace: 'global', trustedCallers: [], httpPort: 8080 },
  {},
  0,
);
let view: TableView;
let runDir: string;
const agent = createServer((_, response) => response.end(JSON.stringify(view)));

beforeEach(async () => {
  runDir = mkdtempSync(join(tmpdir(), 'onehop-explain-'));
  await new Promise<void>((resolve) => agent.listen(join(runDir, 'admin.sock'), resolve));
});
afterEach(async () => {
  agent.closeAllConnections();
  await new Promise((resolve) => agent.close(resolve));
  rmSync(runDir, { recursive: true });
});

/** Asks with an agent that found these Problems when it applied its table. */
async function explain(...applyProblems: readonly Problem[]) {
  view = { generation: 1, proxy: 'embedded', zone: 'route.internal', globalNamespace: 'global', pool, dnsListen: [{ address: '127.68.1.10', port: 5369 }], table, applyProblems, breakers: [] };
  let out = '';
  const code = await runCommand('explain', ['cart.shop', `--run-dir=${runDir}`], { out: (text) => (out += text), err: (text) => (out += text), env: {}, workingDirectory: runDir, hostname: 'n1', version: '0' });
  return { code, out };
}
const found = (kind: string, name: string, code: string, namespace?: string) =>
  problem({ code, object: { kind, name, ...(namespace === undefined ? {} : { namespace }) }, message: 'it is so', remedy: 'mend it' });

describe('onehop explain', () => {
  it('exits with 0 when the call is served', async () => {
    expect(await explain(found('ServiceRoute', 'other', 'port-taken', 'shop'))).toMatchObject({ code: 0, out: expect.stringMatching(/^answer {4}version web: only version$/m) });
  });

  it.each([
    ['its port is taken', found('ServiceRoute', 'cart', 'port-taken', 'shop')],
    ['no HAProxy runs', found('Node', 'n1', 'haproxy-failed')],
  ])('exits with 1 and says why when %s', async (_why, one) => {
    expect(await explain(one)).toMatchObject({ code: 1, out: expect.stringContaining(`NOT SERVED AS ABOVE: ${one.object.kind} `) });
  });
});
