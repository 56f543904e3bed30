import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeFiles } from '../../src/haproxy/io/config-files.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import { probeHaproxy } from '../../src/haproxy/io/probe-haproxy.ts';
import { filesOf } from '../../src/haproxy/plan-change.ts';
import { renderConfig } from '../../src/haproxy/render-config.ts';
import type { RouteTable } from '../../src/model/route-table.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../support/route-tables.ts';

const near = anEndpoint('127.88.102.1', 9101, { pod: 'shop/cart-1' });
const both = [near, anEndpoint('127.88.102.2', 9101)];
const far = anEndpoint('127.88.102.3', 9101, { tier: 'any' });
const breaker = { threshold: 5, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 7 };
const at = (index: number) => ({ vip: `127.96.1.${index}`, listen: 8080 });

/** One of each that is rendered in a way of its own. */
const table: RouteTable = aTable(
  [
    aRoute('split', {
      ...at(1),
      globalVip: '127.96.1.2',
      versions: [aVersion('v1', [near], { backup: [far] }), aVersion('v2', both, { backup: [far] }), aVersion('v3', [])],
      choice: { kind: 'weighted', total: 100, shares: [{ below: 70, version: 0 }, { below: 90, version: 1 }], otherwise: 2 },
      access: { namespace: 'shop', defaultAllow: true, exceptions: ['10.244.1.7'], accounts: ['shop/web'], hasEntries: true },
    }),
    aRoute('header', {
      ...at(3),
      versions: [aVersion('v1', both, { match: '^canary#$', serverProtocol: 'h2', algorithm: 'HeaderHash', hashHeader: 'X-User' }), aVersion('v2', both, { match: '(?i)x', algorithm: 'SourceHash' })],
      choice: { kind: 'header', header: "X-Ver'$#" },
      timeout: { connectMs: 100, requestMs: 90_000 },
      retries: { attempts: 1, on: ['connect-failure'], nonIdempotent: true },
    }),
    aRoute('errors', { ...at(4), versions: [aVersion('v1', both)], log: { mode: 'Errors', percent: 1 }, rateLimit: { requestsPerSecond: 5, burst: 10, per: 'Caller' } }),
    aRoute('sampled', { ...at(5), versions: [aVersion('v1', both, { breaker })], log: { mode: 'Sampled', percent: 5 }, rateLimit: { requestsPerSecond: 20_000, burst: 1000, per: 'Route' } }),
    aRoute('db', { ...at(6), protocol: 'tcp', versions: [aVersion('v1', both, { breaker })], log: { mode: 'Sampled', percent: 5 }, rateLimit: { requestsPerSecond: 5, burst: 10, per: 'Caller' } }),
    aRoute('broken', { ...at(7), versions: [], invalid: true }),
    aRoute('nothing', { ...at(8), versions: [aVersion('v1', [])], choice: { kind: 'none' }, retries: { attempts: 0, on: [], nonIdempotent: false } }),
  ],
  [aCaller('10.244.1.7'), aCaller('10.244.1.8', { trusted: true })],
);

describe('the HAProxy in PATH', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'onehop-warnings-'));
  });
  afterEach(async () => rm(dir, { recursive: true }));

  it('is the one that this run is about', async () => {
    const version = (await probeHaproxy('haproxy'))?.version;
    expect(version).toMatch(/^\d+\.\d+/);
    expect(version).toBe(process.env['EXPECTED_HAPROXY'] ?? version);
  });

  it('finds nothing to warn of in what is rendered for it', async () => {
    const haproxy = await probeHaproxy('haproxy');
    if (haproxy === undefined) throw new Error('no HAProxy');
    const rendered = renderConfig(table, { runDir: dir, drainTimeoutSeconds: 60, fileDescriptors: 20_000, threads: 2, haproxy });
    await writeFiles(dir, filesOf(rendered));
    // -dW: a warning is an error.
    const check = promisify(execFile)('haproxy', ['-dW', '-c', '-C', dir, '-f', 'haproxy.cfg']).then(() => 'valid', (error: { readonly stderr?: string }) => error.stderr);
    expect(await check).toBe('valid');
  });

  it('starts with it without a warning', async () => {
    const proxy = await openHaproxy({ binary: 'haproxy', runDir: dir, attach: false, drainTimeoutSeconds: 5, threads: 2 });
    try {
      expect(await proxy.apply(table)).toEqual([]);
      const log = await readFile(join(dir, 'haproxy.log'), 'utf8');
      // A server that does not answer is told too.
      expect(log.split('\n').filter((line) => /^\[(?:WARNING|ALERT)\]/.test(line) && !/: (?:Server|Backup Server|backend) /i.test(line))).toEqual([]);
      expect(log).toContain('Loading success');
    } finally {
      await proxy.close({ drainMs: 0, leaveRunning: false });
    }
  });
});
