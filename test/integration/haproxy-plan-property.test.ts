import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CliSession } from '../../src/haproxy/io/cli-session.ts';
import { readFiles } from '../../src/haproxy/io/config-files.ts';
import type { HaproxyProxy } from '../../src/haproxy/io/haproxy-proxy.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import { probeHaproxy } from '../../src/haproxy/io/probe-haproxy.ts';
import { parseInfo, parseMap } from '../../src/haproxy/parse-answers.ts';
import { FIRST_MAP } from '../../src/haproxy/plan-servers.ts';
import { renderConfig, type RenderedConfig } from '../../src/haproxy/render-config.ts';
import { isLiveMap } from '../../src/haproxy/render-maps.ts';
import type { RenderOptions } from '../../src/haproxy/render-options.ts';
import type { RouteTable } from '../../src/model/route-table.ts';
import { buildRandomTable, lives, shapes, type Life, type Shape } from '../support/haproxy-tables.ts';

/** A bound that holds on a busy machine too; what is tried within it is printed. */
const TIME_MS = 35_000;
const SEED = Number(process.env['PLAN_SEED'] ?? 6);
const THREADS = 2;

/** One server as the worker tells of it. */
interface Told {
  readonly name: string;
  readonly address: string;
  readonly port: string;
  readonly admin: string;
  readonly weight: string;
  readonly backup: boolean;
  readonly checked: boolean;
}

/** `show servers state` and `show stat` together: backend -> servers, without those in maintenance, which wait to be deleted. */
async function readServers(cli: CliSession): Promise<ReadonlyMap<string, readonly Told[]>> {
  const rows = (answer: string, separator: string): Record<string, string>[] => {
    const lines = answer.split('\n').filter((line) => line !== '' && line !== '1');
    const columns = (lines[0] ?? '').replace(/^# /, '').split(separator);
    return lines.slice(1).map((line) => Object.fromEntries(line.split(separator).map((field, i) => [columns[i] ?? '', field])));
  };
  const stat = new Map(rows(await cli.ask('show stat -1 4 -1', 10_000), ',').map((row) => [`${row['pxname']}/${row['svname']}`, row]));
  const told = rows(await cli.ask('show servers state', 10_000), ' ').map((row) => {
    const [backend = '', name = ''] = [row['be_name'], row['srv_name']];
    const seen = stat.get(`${backend}/${name}`);
    return [backend, { name, address: row['srv_addr'] ?? '', port: row['srv_port'] ?? '', admin: row['srv_admin_state'] ?? '', weight: row['srv_uweight'] ?? '', backup: seen?.['bck'] === '1', checked: seen?.['check_status'] !== '' }] as const;
  });
  const serving = [...Map.groupBy(told, ([backend]) => backend)].map(([backend, servers]) => [backend, servers.flatMap(([, one]) => ((Number(one.admin) & 1) === 0 ? [one] : [])).toSorted((a, b) => (a.name < b.name ? -1 : 1))] as const);
  return new Map(serving.filter(([, servers]) => servers.length > 0));
}

/** The order of the pins is that of the commands. */
const sorted = (file: string, content: string): string => (file === FIRST_MAP ? content.split('\n').toSorted().join('\n') : content);

/** What the table says of servers, without what renders it: address, who stands by, who is checked. */
function wantedServers(table: RouteTable, rendered: RenderedConfig): ReadonlyMap<string, readonly Told[]> {
  const found = new Map<string, readonly Told[]>();
  for (const route of table.routes.filter(({ invalid }) => !invalid)) {
    for (const { name, active, backup } of route.versions) {
      const pinned = active.length === 1;
      const checked = active.length + backup.length > 1;
      const backend = `${route.namespace}.${route.name}.${name}`;
      const servers = [...active.map((one) => ({ one, standby: false })), ...backup.map((one) => ({ one, standby: !pinned }))].map(({ one, standby }) => ({
        name: `${one.address}:${one.port}${standby ? '.backup' : checked ? '' : '.plain'}`,
        address: one.address,
        port: String(one.port),
        admin: '0',
        weight: '1',
        backup: standby,
        checked,
      }));
      if (servers.length > 0) found.set(backend, servers.toSorted((a, b) => (a.name < b.name ? -1 : 1)));
      expect(rendered.servers.get(backend)?.first).toBe(pinned && checked && route.locality === 'PreferLocal' ? servers.find(({ address }) => address === active[0]?.address)?.name : undefined);
    }
  }
  return found;
}

describe('a real HAProxy brought from any table to any other', () => {
  let runDir: string;
  let proxy: HaproxyProxy;
  let options: RenderOptions;
  const seen = { pairs: 0, live: 0, reloaded: 0, disturbed: 0, mended: 0 };

  beforeAll(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'onehop-plan-'));
    const haproxy = await probeHaproxy('haproxy');
    if (haproxy === undefined) throw new Error('no HAProxy');
    options = { runDir, drainTimeoutSeconds: 5, fileDescriptors: 100_000, threads: THREADS, haproxy };
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, drainTimeoutSeconds: 5, threads: THREADS, pace: { gapMs: 0, mostMs: 0 } });
  });
  afterAll(async () => {
    await proxy.close({ drainMs: 0, leaveRunning: false });
    await rm(runDir, { recursive: true, force: true });
    process.stdout.write(`pairs of tables: ${seen.pairs}, of them alike but for what lives: ${seen.live}; ${seen.reloaded} reloaded; ${seen.disturbed} disturbed by others, ${seen.mended} mended\n`);
  });

  const socket = (): string => join(runDir, 'haproxy.sock');

  /** Everything that the worker has is as the table says. */
  async function expectRuns(table: RouteTable): Promise<void> {
    const rendered = renderConfig(table, options);
    const cli = await CliSession.open(socket());
    try {
      expect(parseInfo(await cli.ask('show info'))?.digest).toBe(rendered.digest);
      expect(await readServers(cli)).toEqual(wantedServers(table, rendered));
      for (const [file, content] of [...rendered.files].filter(([name]) => isLiveMap(name))) expect([file, sorted(file, parseMap(await cli.ask(`show map ${file}`)))]).toEqual([file, sorted(file, content)]);
    } finally {
      cli.close();
    }
  }

  /** What somebody else may do to a worker; `pick` chooses of what is there. */
  const meddlings: readonly ((servers: readonly string[], maps: readonly string[], pick: number) => readonly string[])[] = [
    (servers, _, pick) => servers.slice(pick % servers.length).slice(0, 2).map((server) => `set server ${server} state maint`),
    (servers, _, pick) => servers.slice(pick % servers.length).slice(0, 1).map((server) => `set server ${server} state drain`),
    (servers, _, pick) => servers.slice(pick % servers.length).slice(0, 1).map((server) => `set server ${server} weight 0%`),
    (servers, _, pick) => servers.slice(pick % servers.length).slice(0, 1).map((server) => `set server ${server} addr 127.88.90.99 port 1`),
    (servers, _, pick) => servers.slice(pick % servers.length).slice(0, 1).flatMap((server) => [`set server ${server} state maint`, `del server ${server}`]),
    (servers, _, pick) => servers.slice(pick % servers.length).slice(0, 1).flatMap((server) => [`add server ${server}.stranger 127.88.90.98:1`, `enable server ${server}.stranger`]),
    (_, maps, pick) => maps.slice(pick % maps.length).slice(0, 2).map((map) => `clear map ${map}`),
    (_, maps, pick) => maps.slice(pick % maps.length).slice(0, 1).map((map) => `add map ${map} ${/callers|accounts\.map$|denied\.map|allowed\.map/.test(map) ? '127.88.90.97' : '7'} 7`),
  ];

  async function disturb(which: number, pick: number): Promise<void> {
    const cli = await CliSession.open(socket());
    try {
      const servers = [...(await readServers(cli))].flatMap(([backend, told]) => told.map(({ name }) => `${backend}/${name}`));
      const maps = (await cli.ask('show map')).split('\n').flatMap((line) => /\((maps\/[^)]+)\)/.exec(line)?.[1] ?? []).filter(isLiveMap);
      for (const command of meddlings[which % meddlings.length]?.(servers, maps, pick) ?? []) await cli.ask(command);
    } finally {
      cli.close();
    }
  }

  const step = fc.record({
    /** None: what HAProxy is loaded with stays as it is. */
    shape: fc.oneof({ arbitrary: shapes, weight: 1 }, { arbitrary: fc.constant(undefined), weight: 3 }),
    life: lives,
    disturbed: fc.option(fc.array(fc.tuple(fc.nat(7), fc.nat(100)), { minLength: 1, maxLength: 4 }), { freq: 2, nil: undefined }),
  });

  it('has what the table says, and is reloaded only for what does not live; what others change meanwhile is mended', async () => {
    let shape: Shape | undefined;
    const deadline = performance.now() + TIME_MS;
    await fc.assert(
      fc.asyncProperty(shapes, lives, fc.array(step, { minLength: 2, maxLength: 6 }), async (first, life, steps) => {
        const sequence: readonly { shape: Shape | undefined; life: Life; disturbed: readonly [number, number][] | undefined }[] = [{ shape: first, life, disturbed: undefined }, ...steps];
        for (const [index, one] of sequence.entries()) {
          // What fast-check itself interrupts goes on in the background. Shrinking ends here too.
          if (performance.now() > deadline) return;
          const before = proxy.status();
          const lives = index > 0 && one.shape === undefined;
          shape = one.shape ?? shape ?? first;
          const table = buildRandomTable(shape, one.life);
          expect(await proxy.apply(table)).toEqual([]);
          const { reloads } = proxy.status();
          expect(reloads - before.reloads).toBeLessThanOrEqual(lives ? 0 : 1);
          seen.pairs++;
          if (lives) seen.live++;
          if (reloads > before.reloads) seen.reloaded++;
          await expectRuns(table);
          if (one.disturbed === undefined) continue;
          for (const [which, pick] of one.disturbed) await disturb(which, pick);
          const { repaired } = proxy.status();
          await proxy.repair();
          await expectRuns(table);
          expect(proxy.status().reloads).toBe(reloads);
          seen.disturbed++;
          if (proxy.status().repaired > repaired) seen.mended++;
        }
        expect(proxy.status()).toMatchObject({ restarts: 0, configRejected: 0 });
        expect(proxy.status().reloadsByCause).toMatchObject({ command: 0, unknown: 0 });
      }),
      { seed: SEED, numRuns: 500 },
    );
    expect(seen.pairs).toBeGreaterThan(8);
    expect(seen.live).toBeGreaterThan(3);
    expect(seen.mended).toBeGreaterThan(0);
  }, 180_000);

  it('the disk says the same as the worker, as soon as there is time', async () => {
    await proxy.close({ drainMs: 0, leaveRunning: true });
    const disk = await readFiles(runDir);
    const cli = await CliSession.open(socket());
    try {
      const servers = await readServers(cli);
      expect(disk?.digest).toBe(parseInfo(await cli.ask('show info'))?.digest);
      const listed = [...(disk?.servers ?? [])].filter(([, wanted]) => wanted.servers.length > 0).map(([backend, wanted]) => [backend, wanted.servers.map(({ name }) => name).toSorted()]);
      expect(new Map(listed as [string, string[]][])).toEqual(new Map([...servers].map(([backend, told]) => [backend, told.map(({ name }) => name)])));
      for (const [file, content] of [...(disk?.files ?? [])].filter(([name]) => isLiveMap(name))) expect([file, sorted(file, parseMap(await cli.ask(`show map ${file}`)))]).toEqual([file, sorted(file, content)]);
    } finally {
      cli.close();
    }
    proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, drainTimeoutSeconds: 5, threads: THREADS });
  }, 60_000);
});
