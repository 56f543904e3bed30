import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSettings } from '../../src/settings/parse-settings.ts';
import { run } from '../support/lab/run.ts';
import { readEnvironmentFile, readUnit } from '../support/systemd-unit.ts';

const SYSTEMD = join(import.meta.dirname, '../../systemd');
const UNITS = ['onehop-agent.service', 'onehop-haproxy.service'];
/** Of 100; systemd calls up to 29 "OK". Above this somebody loosened a unit. */
const MOST_EXPOSED = 24;

describe('the units', () => {
  let root: string;

  // A file system in which the programs of ExecStart are there: `verify` looks for them.
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'onehop-units-'));
    for (const program of UNITS.map((unit) => readUnit(unit)('Service.ExecStart')[0]?.split(' ')[0] ?? '')) {
      mkdirSync(join(root, dirname(program)), { recursive: true });
      cpSync('/bin/true', join(root, program), { dereference: true });
    }
    mkdirSync(join(root, 'etc/systemd/system'), { recursive: true });
    for (const unit of [...UNITS, 'onehop-haproxy.service.d']) cpSync(join(SYSTEMD, unit), join(root, 'etc/systemd/system', unit), { recursive: true });
    // Targets and slices that services depend on by themselves.
    const shipped = '/usr/lib/systemd/system';
    mkdirSync(join(root, shipped), { recursive: true });
    for (const entry of readdirSync(shipped, { withFileTypes: true })) {
      if (entry.isFile() && /\.(?:target|slice)$/.test(entry.name)) cpSync(join(shipped, entry.name), join(root, shipped, entry.name));
    }
  });
  afterAll(() => rmSync(root, { recursive: true }));

  test('systemd has nothing to say about them', async () => {
    expect(await run(['systemd-analyze', 'verify', '--root', root, ...UNITS])).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test.each(UNITS)('%s is hardened', async (unit) => {
    const { stdout, code } = await run(['systemd-analyze', 'security', '--no-pager', '--offline=true', `--threshold=${MOST_EXPOSED}`, join(SYSTEMD, unit)]);
    expect({ code, overall: stdout.trim().split('\n').at(-1) }).toMatchObject({ code: 0 });
  });

  test('systemd makes the user', async () => {
    const { stdout, stderr, code } = await run(['systemd-sysusers', '--dry-run', `--root=${root}`, join(SYSTEMD, 'onehop.sysusers')]);
    expect({ code, said: stdout + stderr }).toEqual({ code: 0, said: expect.stringMatching(/user 'onehop'/) });
  });

  test("HAProxy's life does not hang on the agent's, and both share user and run folder", () => {
    const [agent, haproxy] = UNITS.map(readUnit);
    for (const key of ['Requires', 'Requisite', 'BindsTo', 'PartOf', 'Wants', 'After', 'Upholds'] as const) {
      expect(haproxy?.(`Unit.${key}`).join(' ')).not.toContain('onehop');
    }
    for (const key of ['Requires', 'Requisite', 'BindsTo', 'PartOf'] as const) expect(agent?.(`Unit.${key}`)).toEqual([]);
    for (const key of ['User', 'Group', 'EnvironmentFile', 'RuntimeDirectory', 'RuntimeDirectoryMode', 'RuntimeDirectoryPreserve'] as const) {
      expect(agent?.(`Service.${key}`)).toHaveLength(1);
      expect(agent?.(`Service.${key}`)).toEqual(haproxy?.(`Service.${key}`));
    }
    expect(haproxy?.('Service.KillMode')).toEqual(['mixed']);
  });

  test('the environment file is understood, and leaves the units time to stop', () => {
    const env = readEnvironmentFile();
    const parsed = parseSettings([], env, { hostname: 'node-1', workingDirectory: '/', terminal: false });
    expect(parsed).toMatchObject({ settings: { source: { kind: 'kubernetes' }, haproxyAttach: true, runDir: '/run/onehop', stateDir: '/var/lib/onehop', nodeName: 'node-1', proxy: 'auto' } });
    for (const unit of UNITS) expect(Number(readUnit(unit)('Service.TimeoutStopSec')[0])).toBeGreaterThanOrEqual(Number(env['ONEHOP_GRACE_SECONDS']));
  });
});
