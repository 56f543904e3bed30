import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openBackends } from './backends.ts';

/**
 * `npm start`: the whole of Onehop on loopback, without root and without a cluster. Backends stand in for pods on 127.88/16, the
 * agent reads the objects beside this file, callers are told apart by their source address.
 */
const START_MS = 20_000;
const FLAGS = { 'http-port': '8080', 'dns-port': '5353', 'admin-port': '9810', proxy: 'auto', 'log-level': 'warn' } as const;

interface ShownRoute {
  readonly namespace: string;
  readonly name: string;
  readonly vip: string;
  readonly globalVip?: string;
}
interface Shown {
  readonly proxy: string;
  readonly routes: readonly ShownRoute[];
}

const flags = readFlags();
const folder = mkdtempSync(join(tmpdir(), 'onehop-demo-'));
const objects = join(folder, 'objects');
const runDir = join(folder, 'run');
cpSync(join(import.meta.dirname, 'objects'), objects, { recursive: true });
mkdirSync(runDir);

let shown: Shown = { proxy: '', routes: [] };
const servers = await openPods();
const agent = spawn(
  process.execPath,
  [
    join(import.meta.dirname, '../../../src/onehop.mjs'),
    'agent',
    `--source=dir:${objects}`,
    '--node-name=n1',
    '--vip-pool=127.77.0.0/16',
    `--http-port=${flags['http-port']}`,
    `--dns-listen=127.77.0.10:${flags['dns-port']}`,
    `--admin-listen=127.0.0.1:${flags['admin-port']}`,
    `--run-dir=${runDir}`,
    `--state-dir=${join(folder, 'state')}`,
    `--proxy=${flags.proxy}`,
    `--log-level=${flags['log-level']}`,
  ],
  // In a process group of its own: Ctrl-C reaches this process alone, which then asks the agent to stop, once.
  { stdio: ['ignore', 'inherit', 'inherit'], detached: true },
);
const ended = new Promise<{ readonly code: number | null; readonly signal: string | null }>((resolve) => {
  agent.once('exit', (code, signal) => resolve({ code, signal }));
});
// The agent drains, then everything ends; a second signal ends it at once.
let stopping = false;
const stop = (): void => {
  stopping = true;
  agent.kill('SIGTERM');
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
// On SIGTERM npm ends the shell between itself and this process, and tells nobody else.
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent && !stopping) stop();
}, 200).unref();

const ready = await Promise.race([waitForRoutes(), ended.then(() => undefined)]);
if (ready !== undefined) {
  shown = ready;
  process.stdout.write(describe());
}
const { code, signal } = await ended;
if (signal !== null) {
  process.stderr.write(`the agent was ended by ${signal}\n`);
  endHaproxy();
}
for (const server of servers) server.close();
rmSync(folder, { recursive: true, force: true });
process.exit(code ?? 3);

function readFlags(): Readonly<Record<keyof typeof FLAGS, string>> {
  try {
    const options = Object.fromEntries(Object.entries(FLAGS).map(([name, value]) => [name, { type: 'string', default: value } as const]));
    return { ...FLAGS, ...parseArgs({ options }).values };
  } catch (error) {
    return giveUp(2, `${error instanceof Error ? error.message : String(error)}\nThe demo knows --${Object.keys(FLAGS).join(', --')}: npm start -- --http-port 8081`);
  }
}

/** Opened before the agent, so that a port in use is one line and nothing is left. */
async function openPods(): Promise<readonly Server[]> {
  try {
    return await openBackends([
      { pod: 'svc2-1', address: '127.88.2.2', calls: () => ({ host: route('svc11').vip, port: Number(flags['http-port']) }) },
      { pod: 'svc11-d-1', address: '127.88.2.11' },
      { pod: 'svc21-a-1', address: '127.88.2.21' },
      { pod: 'svc21-b-1', address: '127.88.2.22' },
    ]);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    return giveUp(3, `the demo's pods cannot listen: ${error instanceof Error ? error.message : String(error)}; does another demo run, or a program on port 8080 of all addresses?`);
  }
}

function giveUp(exitCode: number, line: string): never {
  process.stderr.write(`${line}\n`);
  process.exit(exitCode);
}

function route(name: string): ShownRoute {
  const found = shown.routes.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no route ${name}`);
  return found;
}

/** Asks this demo's own agent, over its socket, until its first table is in effect. */
async function waitForRoutes(): Promise<Shown | undefined> {
  for (const end = Date.now() + START_MS; Date.now() < end; await delay(50)) {
    const text = await get('/routes').catch(() => undefined);
    if (text !== undefined) return JSON.parse(text) as Shown;
  }
  process.stderr.write(`the agent was not ready within ${START_MS / 1000} s\n`);
  stop();
  return undefined;
}

function get(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: join(runDir, 'admin.sock'), path, timeout: 1_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))));
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', reject);
    asked.end();
  });
}

/** An agent that is killed leaves HAProxy serving, for the next one to adopt; after the demo there is no next one. */
function endHaproxy(): void {
  try {
    process.kill(Number(readFileSync(join(runDir, 'haproxy.pid'), 'utf8')), 'SIGTERM');
  } catch {
    // The embedded proxy ran, or HAProxy ended by itself.
  }
}

function describe(): string {
  const dig = (name: string): string => `dig +short @127.77.0.10 -p ${flags['dns-port']} ${name}.route.internal`;
  const curl = (from: string, vip = '', rest = ''): string => `curl -s --interface ${from} ${rest}http://${vip}:${flags['http-port']}/`;
  const rows = shown.routes.map(({ namespace, name, vip, globalVip }) => `  ${`${namespace}/${name}`.padEnd(10)} ${vip.padEnd(15)} ${globalVip ?? '-'}`);
  return `
Onehop runs on this machine (proxy: ${shown.proxy}). Callers: a pod of namespace a at 127.88.1.1, one of namespace b at 127.88.2.1.

  ROUTE      VIP             GLOBAL VIP
${rows.join('\n')}

Lines to try in another terminal:
  ${dig('svc21.global')}
  ${curl('127.88.2.1', route('svc2').vip)}                # b calls svc2, which calls svc11
  ${curl('127.88.1.1', route('svc11').globalVip)}                # a calls svc11 by its global name
  ${curl('127.88.1.1', route('svc11').vip, '-i ')}             # a calls the private name of b: 403
  for i in $(seq 20); do ${curl('127.88.1.1', route('svc21').globalVip)}; done | sort | uniq -c     # the canary split
  ${curl('127.88.1.1', route('shop').globalVip, "-H 'X-Group: testers' ")}
  npx onehop explain svc21.global --from a/web --run-dir ${runDir}
  npx onehop routes --run-dir ${runDir}
  npx onehop doctor --vip-pool 127.77.0.0/16 --http-port ${flags['http-port']} --dns-listen 127.77.0.10:${flags['dns-port']} --admin-listen 127.0.0.1:${flags['admin-port']} --run-dir ${runDir}

The objects lie in ${objects}: edit them and call again.
Admin: http://127.0.0.1:${flags['admin-port']}/readyz /metrics /routes. Ctrl-C ends everything.
`;
}
