import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { askCli } from '../../src/haproxy/io/cli-socket.ts';
import { requireFree } from '../support/bench/bench-process.ts';
import { openBenchServers } from '../support/bench/bench-servers.ts';
import { ENVOY_VERSION, findEnvoy } from '../support/bench/envoy-binary.ts';
import { measureParts } from '../support/bench/measure-parts.ts';
import { plotOverhead } from '../support/bench/overhead-plot.ts';
import { BENCH_ADDRESSES, closeProxies, openProxies, type BenchProxy } from '../support/bench/overhead-proxies.ts';
import { COLUMNS, describeRoutes, describeVerdict, judge, tabulate, type OverheadCase, type OverheadResult } from '../support/bench/overhead-result.ts';
import { fillPlace, renderColumns, renderTable } from '../support/bench/performance-page.ts';
import { wrk } from '../support/bench/wrk.ts';
import { must } from '../support/lab/run.ts';
import { cpuSeconds } from '../support/process-usage.ts';

/**
 * `npm run bench:overhead`: requests per second and CPU per request of a full route of ours, of a minimal hand-written HAProxy and
 * of Envoy, in interleaved rounds. Exits 1 when a requirement is missed. docs/performance.md says what is compared and why.
 */
const HELP = `npm run bench:overhead -- [options]
  --rounds N         rounds, every proxy once in each (default 5)
  --seconds N        of load per proxy and round (default 4)
  --routes N,N       numbers of routes (default 1,1000)
  --threads N        of each proxy (default 2)
  --no-envoy         without Envoy
  --write-docs       writes the result, the table and the plot of docs/performance.md
  --parts            instead: what each part of a route adds to the minimal HAProxy
  --instructions     with --parts: user-space instructions per request (valgrind), which a loaded machine does not disturb
  --only TEXT        with --parts: the variants whose name contains it`;

const ROOT = join(import.meta.dirname, '../..');
const CONNECTIONS = 32;
const SCRAPES = 20;
const LOADS: readonly { readonly load: OverheadCase['load']; readonly headers: readonly string[] }[] = [
  { load: 'keep-alive', headers: [] },
  { load: 'connection per request', headers: ['Connection: close'] },
];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    routes: { type: 'string', default: '1,1000' },
    threads: { type: 'string', default: '2' },
    'no-envoy': { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
    parts: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    instructions: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const threads = Number(values.threads);
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (values.help) {
  say(HELP);
} else {
  const folder = await mkdtemp(join(tmpdir(), 'onehop-bench-'));
  try {
    await requireFree(BENCH_ADDRESSES);
    process.exitCode = values.parts ? await parts(folder) : await overhead(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function parts(folder: string): Promise<number> {
  const servers = await openBenchServers(folder, threads);
  try {
    const { head, rows } = await measureParts(folder, { rounds, seconds, only: values.only, instructions: values.instructions, say });
    say(renderColumns(head, rows));
    if (values['write-docs']) await writePage('parts', renderTable(head, rows));
    return 0;
  } finally {
    await servers.close();
  }
}

async function overhead(folder: string): Promise<number> {
  const envoy = await envoyProgram();
  const servers = await openBenchServers(folder, threads);
  const cases: OverheadCase[] = [];
  const scrapes: { readonly routes: number; readonly cpuMs: number }[] = [];
  try {
    for (const routes of values.routes.split(',').map(Number)) {
      await requireFree(BENCH_ADDRESSES.slice(0, 1));
      const proxies = await openProxies(join(folder, String(routes)), routes, threads, envoy);
      try {
        for (const { load, headers } of LOADS) cases.push({ routes, load, variants: await measure(proxies, `${describeRoutes(routes)}, ${load}`, headers) });
        for (const proxy of proxies) if (proxy.socket !== undefined) scrapes.push({ routes, cpuMs: await scrapeCost(proxy, proxy.socket) });
      } finally {
        await closeProxies(proxies);
      }
    }
  } finally {
    await servers.close();
  }
  const result: OverheadResult = { machine: describeMachine(), programs: await describePrograms(envoy !== undefined), method: describeMethod(), cases, scrapes };
  const verdicts = judge(result);
  for (const each of cases) say(`\n${describeRoutes(each.routes)}, ${each.load}\n${renderColumns(COLUMNS, tabulate(each))}`);
  for (const { routes, cpuMs } of scrapes) say(`\nreading all counters of ${describeRoutes(routes)} once: ${cpuMs.toFixed(1)} ms of CPU`);
  say(`\n${verdicts.map(describeVerdict).join('\n')}`);
  if (values['write-docs']) await writeDocs(result);
  return verdicts.every(({ kept }) => kept) ? 0 : 1;
}

async function envoyProgram(): Promise<string | undefined> {
  if (values['no-envoy']) return undefined;
  try {
    return await findEnvoy();
  } catch (error) {
    say(`without Envoy, which could not be had: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Every proxy once per round, in the same order; a short round before that counts for nothing. */
async function measure(proxies: readonly BenchProxy[], what: string, headers: readonly string[]): Promise<OverheadCase['variants']> {
  for (const { url } of proxies) await wrk(url, { connections: CONNECTIONS, seconds: 1, headers });
  const figures = proxies.map(({ name }) => ({ name, requestsPerSecond: [] as number[], cpuMicroseconds: [] as number[] }));
  for (let round = 1; round <= rounds; round++) {
    for (const [index, { url, process: { pid } }] of proxies.entries()) {
      const before = await cpuSeconds(pid);
      const { requests, requestsPerSecond } = await wrk(url, { connections: CONNECTIONS, seconds, headers });
      const cpu = ((await cpuSeconds(pid)) - before) * 1e6;
      figures[index]?.requestsPerSecond.push(Math.round(requestsPerSecond));
      figures[index]?.cpuMicroseconds.push(Number((cpu / requests).toFixed(2)));
    }
    const last = figures.map(({ name, requestsPerSecond, cpuMicroseconds }) => `${name} ${requestsPerSecond.at(-1) ?? 0}/s ${cpuMicroseconds.at(-1)?.toFixed(1) ?? ''} us`);
    say(`${what}, round ${round}: ${last.join(', ')}`);
  }
  return figures;
}

/** CPU of one `show stat`, which is what a scrape of `/metrics` asks of HAProxy. */
async function scrapeCost({ process: { pid } }: BenchProxy, socket: string): Promise<number> {
  const before = await cpuSeconds(pid);
  for (let i = 0; i < SCRAPES; i++) await askCli(socket, 'show stat');
  return (((await cpuSeconds(pid)) - before) * 1000) / SCRAPES;
}

function describeMachine(): string {
  return `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), Linux ${release()}`;
}

function describeMethod(): string {
  return `${rounds} interleaved rounds of ${seconds} s, ${threads} threads per proxy, wrk with ${CONNECTIONS} connections, answers of 1 KB; load, proxy and servers share the machine`;
}

async function describePrograms(withEnvoy: boolean): Promise<string> {
  const [line = ''] = (await must(['haproxy', '-v'])).split('\n');
  const haproxy = /version (\S+)/.exec(line)?.[1] ?? 'unknown';
  return `HAProxy ${haproxy}${withEnvoy ? `, Envoy ${ENVOY_VERSION}` : ''}`;
}

async function writeDocs(result: OverheadResult): Promise<void> {
  await mkdir(join(ROOT, 'test/bench/results'), { recursive: true });
  await writeFile(join(ROOT, 'test/bench/results/overhead.json'), `${JSON.stringify(result, undefined, 1)}\n`);
  await writeFile(join(ROOT, 'docs/overhead.svg'), await plotOverhead(result));
  const tables = result.cases.map((each) => `**${describeRoutes(each.routes)}, ${each.load}**\n\n${renderTable(COLUMNS, tabulate(each))}`);
  const scrapes = result.scrapes.map(({ routes, cpuMs }) => `Reading all counters of ${describeRoutes(routes)} once costs HAProxy ${cpuMs.toFixed(1)} ms of CPU.`);
  const verdicts = judge(result).map((verdict) => `- ${describeVerdict(verdict)}`);
  const text = [
    `${result.programs}. ${result.machine}. ${result.method}. Medians, and the largest distance from them.`,
    '![CPU per request of each proxy](overhead.svg)',
    ...tables,
    scrapes.join(' '),
    verdicts.join('\n'),
  ];
  await writePage('overhead', text.join('\n\n'));
}

async function writePage(place: string, text: string): Promise<void> {
  const page = join(ROOT, 'docs/performance.md');
  await writeFile(page, fillPlace(await readFile(page, 'utf8'), place, text));
  say(`written: ${page}`);
}
