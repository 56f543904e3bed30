import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configDigest, renderConfig } from '../../../src/haproxy/render-config.ts';
import type { RenderedConfig } from '../../../src/haproxy/render-config.ts';
import type { RenderOptions } from '../../../src/haproxy/render-options.ts';
import type { RouteTable } from '../../../src/model/route-table.ts';
import { aCaller, anEndpoint, aRoute, aTable, aVersion } from '../../support/route-tables.ts';

const options: RenderOptions = { runDir: '/run/onehop', drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads: 2, haproxy: { version: '2.6.12', lua: true } };
const GOLDEN = join(import.meta.dirname, '../../golden/haproxy');

const local = anEndpoint('10.244.1.20', 8080, { pod: 'shop/cart-7d9f-x2x' });
const remote = anEndpoint('10.244.2.20', 8080, { tier: 'any' });
const inZone = anEndpoint('10.244.3.20', 8080, { tier: 'zone' });
const both = [local, anEndpoint('10.244.1.21', 8080)];

const tables: Readonly<Record<string, RouteTable>> = {
  'an empty table keeps HAProxy running': aTable([]),
  'a percentage with a global name, an ACL and a farther tier': aTable(
    [
      aRoute('cart', {
        vip: '169.254.193.1',
        vip6: 'fd00::101',
        globalVip: '169.254.193.2',
        listen: 80,
        versions: [aVersion('cart-a', [local], { backup: [remote] }), aVersion('cart-b', both), aVersion('cart-c', [])],
        choice: { kind: 'weighted', total: 100, shares: [{ below: 70, version: 0 }, { below: 90, version: 1 }], otherwise: 2 },
        access: { namespace: 'shop', defaultAllow: true, exceptions: ['10.244.1.7'], accounts: [], hasEntries: true },
      }),
    ],
    [aCaller('10.244.1.7'), aCaller('10.244.1.8', { trusted: true }), aCaller('not an address')],
  ),
  'headers, their regexes, h2 servers, own timeouts and retries': aTable([
    aRoute('api', {
      vip: '169.254.193.3',
      listen: 8080,
      versions: [
        aVersion('api-a', [local], { match: '^canary#$', serverProtocol: 'h2', algorithm: 'HeaderHash', hashHeader: 'X-User' }),
        aVersion('api-b', [local], { match: 'a b', algorithm: 'SourceHash' }),
        aVersion('api-b', [local], { match: '(?i)x' }),
      ],
      choice: { kind: 'header', header: "X-Ver'$#" },
      timeout: { connectMs: 100, requestMs: 90_000 },
      retries: { attempts: 1, on: ['connect-failure'], nonIdempotent: false },
      access: { namespace: 'shop', defaultAllow: false, exceptions: [], accounts: [], hasEntries: false },
    }),
  ]),
  'rates, access logs, breakers': aTable([
    aRoute('errors', { vip: '169.254.193.8', listen: 80, versions: [aVersion('v1', both)], log: { mode: 'Errors', percent: 1 }, rateLimit: { requestsPerSecond: 5, burst: 10, per: 'Caller' } }),
    aRoute('sampled', { vip: '169.254.193.9', listen: 80, versions: [aVersion('v1', both)], log: { mode: 'Sampled', percent: 5 }, rateLimit: { requestsPerSecond: 20_000, burst: 1000, per: 'Route' } }),
    aRoute('both', { vip: '169.254.193.10', listen: 80, versions: [aVersion('v1', both, { breaker: { threshold: 5, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 0 } })], log: { mode: 'Sampled', percent: 5 } }),
    aRoute('db', { vip: '169.254.193.11', listen: 5432, protocol: 'tcp', versions: [aVersion('v1', both)], log: { mode: 'Sampled', percent: 5 }, rateLimit: { requestsPerSecond: 5, burst: 10, per: 'Caller' } }),
    aRoute('none', { vip: '169.254.193.12', listen: 80, versions: [aVersion('v1', both)], log: { mode: 'Sampled', percent: 0 } }),
  ]),
  'calls that spill over to farther tiers': aTable([
    aRoute('lone', { vip: '169.254.193.13', listen: 80, versions: [aVersion('v1', [local], { backup: [inZone], spill: { at: 16, tiers: [[inZone], [remote]] } })] }),
    aRoute('split', {
      vip: '169.254.193.14',
      listen: 80,
      versions: [
        aVersion('v1', both, { backup: [remote], serverProtocol: 'h2', spill: { at: 5, tiers: [[remote]] }, breaker: { threshold: 5, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 50 } }),
        aVersion('v2', [remote], { spill: { at: 5, tiers: [] } }),
      ],
      choice: { kind: 'weighted', total: 100, shares: [{ below: 70, version: 0 }], otherwise: 1 },
    }),
    aRoute('by-header', {
      vip: '169.254.193.15',
      listen: 80,
      versions: [aVersion('v1', both, { match: '^a$', spill: { at: 5, tiers: [] } })],
      choice: { kind: 'header', header: "X-O'Hara" },
    }),
    aRoute('db', { vip: '169.254.193.16', listen: 5432, protocol: 'tcp', versions: [aVersion('v1', both, { backup: [remote], spill: { at: 100, tiers: [[remote]] }, breaker: { threshold: 0, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 500 } })] }),
  ]),
  'tcp, an invalid spec, no version at all': aTable([
    aRoute('db', { vip: '169.254.193.4', listen: 5432, protocol: 'tcp', versions: [aVersion('db', both)] }),
    aRoute('broken', { vip: '169.254.193.5', listen: 80, versions: [], invalid: true }),
    aRoute('broken-db', { vip: '169.254.193.6', listen: 5432, protocol: 'tcp', versions: [], invalid: true }),
    aRoute('nothing', { vip: '169.254.193.7', listen: 80, versions: [aVersion('nothing', [])], choice: { kind: 'none' }, retries: { attempts: 0, on: [], nonIdempotent: true } }),
  ]),
};

const asText = ({ config, files }: RenderedConfig): string =>
  [config, ...[...files].filter(([name]) => name.endsWith('.map')).map(([name, content]) => `==> ${name}\n${content}`)].join('\n');

describe('renderConfig', () => {
  it.each(Object.entries(tables))('%s', (title, table) => {
    const text = asText(renderConfig(table, options));
    const path = join(GOLDEN, `${title.replaceAll(/[^a-z0-9]+/gi, '-')}.cfg`);
    if (process.env['UPDATE_GOLDEN'] === '1') {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    expect(existsSync(path)).toBe(true);
    expect(text).toBe(readFileSync(path, 'utf8'));
  });

  it('gives the same bytes for the same table', () => {
    for (const table of Object.values(tables)) expect(asText(renderConfig(table, options))).toBe(asText(renderConfig(structuredClone(table), options)));
  });

  it('digests what a reload is needed for, and nothing else', () => {
    const route = aRoute('cart', { vip: '169.254.193.1', listen: 80, versions: [aVersion('cart', [local])] });
    const digest = (table: RouteTable): string | undefined => configDigest(renderConfig(table, options).config);
    expect(digest(aTable([route]))).toMatch(/^[0-9a-f]{16}$/);
    expect(digest(aTable([route], [aCaller('10.1.1.1')]))).toBe(digest(aTable([route])));
    expect(digest(aTable([{ ...route, listen: 81 }]))).not.toBe(digest(aTable([route])));
  });

  it('without Lua refuses unknown callers at once', () => {
    const { config, files } = renderConfig(tables['tcp, an invalid spec, no version at all'] ?? aTable([]), { ...options, haproxy: { version: '2.6.12', lua: false } });
    expect(config).not.toContain('lua');
    expect([...files.keys()].filter((file) => file.endsWith('.lua'))).toEqual([]);
  });
});
