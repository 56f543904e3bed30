import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { probeHaproxy } from '../../src/haproxy/io/probe-haproxy.ts';
import { renderConfig } from '../../src/haproxy/render-config.ts';
import { openBenchHaproxy, requireFree } from '../support/bench/bench-process.ts';
import { openBenchServers } from '../support/bench/bench-servers.ts';
import { BENCH_ADDRESSES } from '../support/bench/overhead-proxies.ts';
import { fillPlace, renderColumns, renderTable } from '../support/bench/performance-page.ts';
import { attackTable, callUrl, HOSTILE_URL, INNOCENT_URL, REGEX_ATTACKS, renderAttacker, VICTIM_VIP, type RegexAttack } from '../support/bench/regex-attacks.ts';
import { judgeRegex, LEAST_OF_VICTIM, REGEX_COLUMNS, regexRow, type RegexCase, type RegexResult } from '../support/bench/regex-result.ts';
import { wrk, type WrkResult } from '../support/bench/wrk.ts';

/**
 * `npm run bench:regex`: how much a neighbour's catastrophic regex slows a route of another tenant on the same node, in interleaved
 * rounds: alone, beside an attacker, beside an innocent neighbour that calls as often as the attacker did. Exits 1 when more than a
 * quarter is lost to the regex.
 */
const HELP = `npm run bench:regex -- [options]
  --rounds N       (default 5)
  --seconds N      of load per situation and round (default 4)
  --threads N,N    of HAProxy (default 1,2)
  --only TEXT      attacks whose name contains it
  --write-docs     writes the result and the table of docs/performance.md`;

const ROOT = join(import.meta.dirname, '../..');
const VICTIM_CONNECTIONS = 16;
const ATTACKERS = 8;
const SERVER_THREADS = 2;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    threads: { type: 'string', default: '1,2' },
    only: { type: 'string', default: '' },
    'write-docs': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (values.help) {
  say(HELP);
} else {
  const folder = await mkdtemp(join(tmpdir(), 'onehop-bench-regex-'));
  try {
    await requireFree(BENCH_ADDRESSES);
    process.exitCode = await bench(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bench(folder: string): Promise<number> {
  const servers = await openBenchServers(folder, SERVER_THREADS);
  const cases: RegexCase[] = [];
  try {
    for (const threads of values.threads.split(',').map(Number)) {
      for (const attack of REGEX_ATTACKS.filter(({ name }) => name.includes(values.only))) cases.push(await measure(join(folder, `h${cases.length}`), threads, attack));
    }
  } finally {
    await servers.close();
  }
  const result: RegexResult = {
    machine: `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), Linux ${release()}`,
    method: `${rounds} interleaved rounds of ${seconds} s, wrk with ${VICTIM_CONNECTIONS} connections on the victim and ${ATTACKERS} on the neighbour, header values that never repeat`,
    cases,
  };
  say(`\n${renderColumns(REGEX_COLUMNS, cases.map((each) => regexRow(each, (text) => text)))}`);
  const missed = cases.filter((each) => !judgeRegex(each).kept);
  say(`\n${missed.length} of ${cases.length} cases leave the victim less than ${LEAST_OF_VICTIM} of what it has beside an innocent neighbour`);
  if (values['write-docs']) await writeDocs(result);
  return missed.length === 0 ? 0 : 1;
}

async function measure(folder: string, threads: number, attack: RegexAttack): Promise<RegexCase> {
  const features = await probeHaproxy('haproxy');
  if (features === undefined) throw new Error('haproxy is missing');
  const { config, files } = renderConfig(attackTable(attack), { runDir: folder, drainTimeoutSeconds: 3600, fileDescriptors: 20_000, threads, haproxy: features });
  const haproxy = await openBenchHaproxy(folder, config, callUrl(VICTIM_VIP), { files });
  const empty = (): { requestsPerSecond: number[]; p99Ms: number[]; neighbourPerSecond: number[] } => ({ requestsPerSecond: [], p99Ms: [], neighbourPerSecond: [] });
  const figures = { quiet: empty(), hostile: empty(), innocent: empty() };
  const script = join(folder, 'attacker.lua');
  const run = async (kind: keyof typeof figures, url?: string, perSecond?: number): Promise<number> => {
    if (url !== undefined) await writeFile(script, renderAttacker(attack.bytes, perSecond));
    const neighbour = url === undefined ? undefined : wrk(url, { connections: ATTACKERS, seconds: seconds + 1, script });
    const [victim, calls] = await Promise.all([wrk(callUrl(VICTIM_VIP), { connections: VICTIM_CONNECTIONS, seconds }), neighbour]);
    note(figures[kind], victim, calls);
    return calls?.requestsPerSecond ?? 0;
  };
  try {
    await wrk(callUrl(VICTIM_VIP), { connections: VICTIM_CONNECTIONS, seconds: 1 });
    for (let round = 1; round <= rounds; round++) {
      await run('quiet');
      const perSecond = await run('hostile', HOSTILE_URL);
      await run('innocent', INNOCENT_URL, perSecond);
      const [quiet, hostile, innocent] = [figures.quiet, figures.hostile, figures.innocent].map(({ requestsPerSecond }) => requestsPerSecond.at(-1) ?? 0);
      say(`${attack.name}, ${threads} thread${threads === 1 ? '' : 's'}, round ${round}: victim ${quiet}/s alone, ${innocent}/s beside an innocent neighbour, ${hostile}/s beside the attacker`);
    }
  } finally {
    await haproxy.close();
  }
  return { threads, attack: attack.name, ...figures };
}

function note(figures: { requestsPerSecond: number[]; p99Ms: number[]; neighbourPerSecond: number[] }, victim: WrkResult, neighbour: WrkResult | undefined): void {
  figures.requestsPerSecond.push(Math.round(victim.requestsPerSecond));
  figures.p99Ms.push(victim.p99Ms);
  figures.neighbourPerSecond.push(Math.round(neighbour?.requestsPerSecond ?? 0));
}

async function writeDocs(result: RegexResult): Promise<void> {
  await mkdir(join(ROOT, 'test/bench/results'), { recursive: true });
  await writeFile(join(ROOT, 'test/bench/results/regex.json'), `${JSON.stringify(result, undefined, 1)}\n`);
  const page = join(ROOT, 'docs/performance.md');
  const code = (text: string): string => `\`${text.replaceAll('|', String.raw`\|`)}\``;
  const rows = result.cases.map((each) => regexRow(each, code));
  const text = `${result.machine}. ${result.method}.\n\n${renderTable(REGEX_COLUMNS, rows)}`;
  await writeFile(page, fillPlace(await readFile(page, 'utf8'), 'regex', text));
  say(`written: ${page}`);
}
