import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { openBackends, type Backend } from './backends.ts';

/**
 * `npm start`: the whole of Onehop on loopback, without root and without a cluster. Backends stand in for pods on 127.88/16, the
 * agent reads the objects beside this file, callers are told apart by their source address.
 */
const ZONE = 'route.internal';
const HTTP_PORT = 8080;
const DNS_PORT = 5353;
const ADMIN_PORT = 9810;
const START_MS = 20_000;

interface ShownRoute {
  readonly namespace: string;
  readonly name: string;
  readonly vip: string;
  readonly globalVip?: string;
  readonly listen: number;
}

const folder = mkdtempSync(join(tmpdir(), 'onehop-demo-'));
const objects = join(folder, 'objects');
cpSync(join(import.meta.dirname, 'objects'), objects, { recursive: true });
mkdirSync(join(folder, 'run'));

const agent = spawn(
  process.execPath,
  [
    join(import.meta.dirname, '../../../src/onehop.mjs'),
    'agent',
    `--source=dir:${objects}`,
    '--node-name=n1',
    '--vip-pool=127.77.0.0/16',
    `--http-port=${HTTP_PORT}`,
    `--dns-listen=127.77.0.10:${DNS_PORT}`,
    `--admin-listen=127.0.0.1:${ADMIN_PORT}`,
    `--run-dir=${join(folder, 'run')}`,
    `--state-dir=${join(folder, 'state')}`,
    '--log-level=warn',
    ...process.argv.slice(2),
  ],
  // In a process group of its own: Ctrl-C reaches this process alone, which then asks the agent to stop, once.
  { stdio: ['ignore', 'inherit', 'inherit'], detached: true },
);
const ended = new Promise<number>((resolve) => {
  agent.once('exit', (code) => resolve(code ?? 0));
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

const started = await Promise.race([waitForRoutes(), ended]);
if (typeof started === 'number') {
  rmSync(folder, { recursive: true, force: true });
  process.exit(started === 0 ? 0 : 3);
}
const route = (name: string): ShownRoute => {
  const found = started.routes.find((one) => one.name === name);
  if (found === undefined) throw new Error(`the demo has no route ${name}`);
  return found;
};
const backends: readonly Backend[] = [
  { pod: 'svc2-1', address: '127.88.2.2', calls: { host: route('svc11').vip, port: HTTP_PORT } },
  { pod: 'svc11-d-1', address: '127.88.2.11' },
  { pod: 'svc21-a-1', address: '127.88.2.21' },
  { pod: 'svc21-b-1', address: '127.88.2.22' },
];
const servers = await openBackends(backends);
process.stdout.write(describe());
const code = await ended;
for (const server of servers) server.close();
rmSync(folder, { recursive: true, force: true });
process.exit(code);

/** Asks the agent until its first table is in effect. */
async function waitForRoutes(): Promise<{ readonly proxy: string; readonly routes: readonly ShownRoute[] }> {
  for (const end = Date.now() + START_MS; ; await delay(50)) {
    const text = await get('/routes').catch(() => undefined);
    if (text !== undefined) return JSON.parse(text) as { proxy: string; routes: ShownRoute[] };
    if (Date.now() > end) {
      agent.kill('SIGTERM');
      throw new Error(`the agent was not ready within ${START_MS / 1000} s`);
    }
  }
}

function get(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port: ADMIN_PORT, path, timeout: 1_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))));
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', reject);
    asked.end();
  });
}

function describe(): string {
  if (typeof started === 'number') return '';
  const dig = (name: string): string => `dig +short @127.77.0.10 -p ${DNS_PORT} ${name}.${ZONE}`;
  const curl = (from: string, vip = '', rest = ''): string => `curl -s --interface ${from} ${rest}http://${vip}:${HTTP_PORT}/`;
  const rows = started.routes.map(({ namespace, name, vip, globalVip }) => `  ${`${namespace}/${name}`.padEnd(10)} ${vip.padEnd(15)} ${globalVip ?? '-'}`);
  return `
Onehop runs on this machine (proxy: ${started.proxy}). Callers: a pod of namespace a at 127.88.1.1, one of namespace b at 127.88.2.1.

  ROUTE      VIP             GLOBAL VIP
${rows.join('\n')}

Lines to try in another terminal:
  ${dig('svc21.global')}
  ${curl('127.88.2.1', route('svc2').vip)}                # b calls svc2, which calls svc11
  ${curl('127.88.1.1', route('svc11').globalVip)}                # a calls svc11 by its global name
  ${curl('127.88.1.1', route('svc11').vip, '-i ')}             # a calls the private name of b: 403
  for i in $(seq 20); do ${curl('127.88.1.1', route('svc21').globalVip)}; done | sort | uniq -c     # the canary split
  ${curl('127.88.1.1', route('shop').globalVip, "-H 'X-Group: testers' ")}
  npx onehop explain svc21.global --from a/web --run-dir ${join(folder, 'run')}
  npx onehop routes --run-dir ${join(folder, 'run')}

The objects lie in ${objects}: edit them and call again.
Admin: http://127.0.0.1:${ADMIN_PORT}/readyz /metrics /routes. Ctrl-C ends everything.
`;
}
