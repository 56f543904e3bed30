import { describe, expect, test } from 'vitest';
import { judge, describeVerdict, ENVOY_FULL, FULL_ROUTE, MINIMAL, tabulate, type OverheadCase, type OverheadResult } from '../../support/bench/overhead-result.ts';
import { plotOverhead } from '../../support/bench/overhead-plot.ts';
import { renderEnvoy } from '../../support/bench/envoy-config.ts';
import { benchTable, FULL, PLAIN } from '../../support/bench/bench-table.ts';
import { applyEdit, PART_VARIANTS } from '../../support/bench/part-variants.ts';
import { fillPlace, renderTable } from '../../support/bench/performance-page.ts';
import { judgeRegex } from '../../support/bench/regex-result.ts';
import { attackTable, REGEX_ATTACKS, renderAttacker } from '../../support/bench/regex-attacks.ts';
import { median, pairedRatio, spread } from '../../support/bench/statistics.ts';
import { parseWrk } from '../../support/bench/wrk.ts';
import { renderConfig } from '../../../src/haproxy/render-config.ts';

const OPTIONS = { runDir: '/run/x', drainTimeoutSeconds: 10, fileDescriptors: 20_000, threads: 1, haproxy: { version: '2.6.12', lua: true } };

describe('statistics', () => {
  test('median of odd and even numbers of values, and the largest distance from it', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(spread([90, 100, 120])).toBeCloseTo(0.2);
  });

  test('a round in which the whole machine was slow does not move the ratio', () => {
    expect(pairedRatio([90, 9, 90], [100, 10, 100])).toBeCloseTo(0.9);
  });
});

describe('reading wrk', () => {
  const OUTPUT = `Running 1s test @ http://127.0.0.1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   842.11us  375.21us  11.20ms   91.04%
  Latency Distribution
     50%  812.00us
     75%    0.94ms
     90%    1.11ms
     99%    1.23s
  37861 requests in 1.10s, 41.11MB read
Requests/sec:  34419.10
Transfer/sec:     37.37MB
`;

  test('requests, rate and latencies in ms', () => {
    expect(parseWrk(OUTPUT)).toEqual({ requests: 37_861, requestsPerSecond: 34_419.1, p50Ms: 0.812, p99Ms: 1230 });
  });

  test.each(['  Non-2xx or 3xx responses: 3\n', '  Socket errors: connect 0, read 1, write 0, timeout 0\n'])('a run with failures gives no figures: %j', (line) => {
    expect(parseWrk(OUTPUT.replace('Requests/sec', `${line}Requests/sec`))).toBeUndefined();
  });
});

describe('judging overhead', () => {
  const aCase = (full: number, cpu: number, more: Partial<OverheadCase> = {}): OverheadResult => ({
    machine: '',
    programs: '',
    method: '',
    scrapes: [],
    cases: [
      {
        routes: 1000,
        load: 'keep-alive',
        variants: [
          { name: MINIMAL, requestsPerSecond: [1000], cpuMicroseconds: [10] },
          { name: FULL_ROUTE, requestsPerSecond: [full], cpuMicroseconds: [cpu] },
          { name: ENVOY_FULL, requestsPerSecond: [500], cpuMicroseconds: [40] },
        ],
        ...more,
      },
    ],
  });
  const kept = (result: OverheadResult): readonly boolean[] => judge(result).map((verdict) => verdict.kept);

  test('throughput of at least 0.85 of minimal, CPU of at most half of Envoy', () => {
    expect(kept(aCase(850, 20))).toEqual([true, true]);
    expect(kept(aCase(849, 20))).toEqual([false, true]);
    expect(kept(aCase(850, 20.1))).toEqual([true, false]);
  });

  test('with a connection per call the CPU ratio is told, not required', () => {
    const result = aCase(850, 30, { load: 'connection per request' });
    expect(kept(result)).toEqual([true, true]);
    expect(judge(result).map(describeVerdict).join('\n')).toContain('(1,000 routes, connection per request): 0.75 (not required)');
  });

  test('without Envoy its requirement is named as not measured', () => {
    const [one] = aCase(900, 1).cases;
    const result = aCase(900, 1, { variants: one?.variants.slice(0, 2) ?? [] });
    expect(judge(result).map(describeVerdict)[1]).toContain('not measured');
  });

  test('table and plot show every proxy', async () => {
    const result = aCase(950, 12);
    expect(result.cases.map(tabulate)).toEqual([[
      [MINIMAL, '1000 (±0 %)', '1.00', '10.0 µs (±0 %)', '1.00'],
      [FULL_ROUTE, '950 (±0 %)', '0.95', '12.0 µs (±0 %)', '1.20'],
      [ENVOY_FULL, '500 (±0 %)', '0.50', '40.0 µs (±0 %)', '4.00'],
    ]]);
    const svg = await plotOverhead(result);
    expect(svg).toMatch(/^<svg .*<\/svg>$/s);
    for (const name of [MINIMAL, FULL_ROUTE, ENVOY_FULL, '1,000 routes, keep-alive']) expect(svg).toContain(name);
  });
});

describe('what is compared', () => {
  test('the full route has every part that the page names', () => {
    const { config, files } = renderConfig(benchTable(3, (route) => `127.72.70.${route}`, FULL), OPTIONS);
    expect(config.match(/^frontend shop\./gm)).toHaveLength(3);
    expect(config).toContain('map_int(maps/shop.svc0000.shares.map)');
    expect(config).toContain('map_ip(maps/shop.svc0000.allowed.map)');
    expect(files.get('maps/shop.svc0000.allowed.map')?.split('\n').filter((line) => line !== '')).toHaveLength(20);
    expect(config).toContain('retry-on conn-failure empty-response response-timeout');
  });

  test('Envoy gets the same callers, versions and servers', () => {
    const full = renderEnvoy(['127.72.74.0', '127.72.74.1'], true);
    expect(full.match(/"direct_remote_ip"/g)).toHaveLength(2 * 20);
    expect(full.match(/"outlier_detection"/g)).toHaveLength(2 * 2);
    expect(full.match(/"lb_endpoints"/g)).toHaveLength(2 * 2);
    expect(renderEnvoy(['127.72.78.2'], false)).not.toMatch(/rbac|outlier|weighted/);
  });

  test('every edit of a part changes what the renderer gives now', () => {
    const unchanged = PART_VARIANTS.filter((variant) => {
      const { config } = renderConfig(benchTable(1, () => '127.72.70.1', variant.parts), OPTIONS);
      return variant.edit !== undefined && applyEdit(config, variant) === config;
    });
    expect(unchanged.map(({ name }) => name)).toEqual([]);
    expect(PART_VARIANTS.map(({ parts }) => parts)).toContain(PLAIN);
  });

  test('an attack and its innocent neighbour have equally many versions', () => {
    for (const attack of REGEX_ATTACKS) {
      const { routes } = attackTable(attack);
      expect(routes.map(({ name, versions }) => [name, versions.length])).toEqual([['hostile', attack.hostile.length], ['innocent', attack.hostile.length], ['victim', 1]]);
    }
    expect(renderAttacker(64)).not.toContain('delay');
    expect(renderAttacker(64, 4000)).toContain('asked * 0.250000');
  });
});

test('the regex may take a quarter of what the victim has beside an innocent neighbour', () => {
  const figures = (requestsPerSecond: number): { requestsPerSecond: number[]; p99Ms: number[]; neighbourPerSecond: number[] } => ({ requestsPerSecond: [requestsPerSecond], p99Ms: [1], neighbourPerSecond: [1] });
  const ofVictim = (hostile: number): boolean => judgeRegex({ threads: 1, attack: '', quiet: figures(2000), innocent: figures(1000), hostile: figures(hostile) }).kept;
  expect([ofVictim(750), ofVictim(749)]).toEqual([true, false]);
});

describe('the page', () => {
  test('figures go between the marks and nowhere else', () => {
    const page = 'before\n<!-- a:begin -->\nold\n<!-- a:end -->\nafter\n';
    expect(fillPlace(page, 'a', 'new')).toBe('before\n<!-- a:begin -->\nnew\n<!-- a:end -->\nafter\n');
    expect(() => fillPlace(page, 'b', 'new')).toThrow('no place');
  });

  test('a table in Markdown', () => {
    expect(renderTable(['', 'x'], [['a', '1']])).toBe('|  | x |\n| --- | ---: |\n| a | 1 |');
  });
});
