import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Resolver } from 'node:dns/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';

export type ProxyKind = 'embedded' | 'haproxy';

/** `GET /routes`, as far as tests read it. */
export interface RoutesView {
  readonly generation: number;
  readonly proxy: string;
  readonly routes: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly vip: string;
    readonly globalVip?: string;
    readonly listen: number;
    readonly versions: readonly { readonly endpoints: readonly { readonly pod?: string }[] }[];
    readonly problems: readonly ShownProblem[];
  }[];
  readonly problems: readonly ShownProblem[];
}

export interface ShownProblem {
  readonly code: string;
  readonly severity: string;
  readonly object: { readonly kind: string; readonly namespace?: string; readonly name: string };
  readonly message: string;
  readonly remedy: string;
}

const MAIN = new URL('../../../src/onehop.mjs', import.meta.url).pathname;
/** A bare `on` is a boolean to kubectl: so it is written in quotes. Undefined fields are left out. */
const YAML_FOR_KUBECTL = { version: '1.1', keepUndefined: false } as const;
const ZONE = 'route.internal';
const PATIENCE_MS = 60_000;
/** A file that vanished is believed gone after a moment; the marker is not, so it tells when a folder is in effect. */
const MARKER = 'scene/marker';

/** An agent as users start it: the command, a folder of YAML, a loopback pool. It has its own folders and log. */
export class AgentProcess {
  readonly folder: string;
  readonly proxy: ProxyKind;
  readonly #pool: string;
  #process: ChildProcess | undefined;
  #adminPort = 0;
  #log = '';
  #resolver = new Resolver();

  private constructor(folder: string, proxy: ProxyKind, pool: string) {
    this.folder = folder;
    this.proxy = proxy;
    this.#pool = pool;
  }

  /** Makes the folders and starts nothing. `pool`: an IPv4 CIDR inside 127/8. */
  static async prepare(proxy: ProxyKind, pool: string): Promise<AgentProcess> {
    const folder = await mkdtemp(join(tmpdir(), `onehop-scenes-${proxy}-`));
    await mkdir(join(folder, 'objects'));
    return new AgentProcess(folder, proxy, pool);
  }

  /** Starts the agent and waits until it is ready. `flags` stand above those that every agent of a test has. */
  async start(...flags: readonly string[]): Promise<void> {
    this.#adminPort = await freePort();
    const dns = `${this.#pool.split('.').slice(0, 3).join('.')}.10:5353`;
    this.#resolver = new Resolver({ timeout: 2_000, tries: 3 });
    this.#resolver.setServers([dns]);
    const own = {
      source: `dir:${join(this.folder, 'objects')}`,
      'node-name': 'n1',
      'vip-pool': this.#pool,
      'http-port': '8080',
      'dns-listen': dns,
      'admin-listen': `127.0.0.1:${this.#adminPort}`,
      'run-dir': join(this.folder, 'run'),
      'state-dir': join(this.folder, 'state'),
      proxy: this.proxy,
      'log-level': process.env['SCENES_LOG_LEVEL'] ?? 'warn',
    };
    const argv = Object.entries(own).map(([flag, value]) => `--${flag}=${value}`).filter((one) => !flags.some((given) => given.startsWith(one.slice(0, one.indexOf('=') + 1))));
    const started = spawn(process.execPath, [MAIN, 'agent', ...argv, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = started;
    for (const stream of [started.stdout, started.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (this.#log += text));
    await this.eventually('the agent is ready', async () => (await this.get('/readyz').catch(() => undefined)) !== undefined || undefined);
  }

  /** What the agent has written so far. */
  get log(): string {
    return this.#log;
  }

  async routes(): Promise<RoutesView> {
    return JSON.parse(await this.get('/routes')) as RoutesView;
  }

  /** The address that DNS gives for a name of the zone; or NXDOMAIN or NODATA. */
  async lookUp(name: string): Promise<string> {
    try {
      return (await this.#resolver.resolve4(`${name}.${ZONE}`)).join(',');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOTFOUND') return 'NXDOMAIN';
      if (code === 'ENODATA') return 'NODATA';
      throw error;
    }
  }

  /** Writes one file of the folder in one step, as git and kubelet do. */
  async writeFile(name: string, text: string): Promise<void> {
    const candidate = join(this.folder, 'objects', `.${name}.tmp`);
    await writeFile(candidate, text);
    await rename(candidate, join(this.folder, 'objects', name));
  }

  async removeFile(name: string): Promise<void> {
    await rm(join(this.folder, 'objects', name), { force: true });
  }

  /** Writes the objects and a marker that `/routes` shows once all of them are in effect. */
  async write(objects: readonly unknown[], markerAddress: string, marker: string): Promise<void> {
    const documents = [...objects, ...markerObjects(markerAddress, marker)];
    await this.writeFile('scene.yaml', documents.map((document) => stringify(document, YAML_FOR_KUBECTL)).join('---\n'));
  }

  /** Writes the objects and waits until they are in effect. */
  async bring(objects: readonly unknown[], markerAddress: string, marker: string): Promise<RoutesView> {
    await this.write(objects, markerAddress, marker);
    return this.eventually(`${marker} is in effect`, async () => {
      const view = await this.routes().catch(() => undefined);
      return view?.routes.some(({ versions }) => versions.some(({ endpoints }) => endpoints.some(({ pod }) => pod === `scene/${marker}`))) === true ? view : undefined;
    });
  }

  /** Body of a page of the admin server; rejects for any other status than 200. */
  get(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port: this.#adminPort, path, timeout: 5_000, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(`${path}: ${response.statusCode} ${text}`))));
        response.on('error', reject);
      });
      asked.on('timeout', () => asked.destroy(new Error(`${path}: no answer`)));
      asked.on('error', reject);
      asked.end();
    });
  }

  /** Asks again until there is a result; then the agent's log is part of the error. */
  async eventually<T>(what: string, ask: () => Promise<T | undefined>, patienceMs = PATIENCE_MS): Promise<T> {
    for (const end = Date.now() + patienceMs; ; await delay(15)) {
      const found = await ask();
      if (found !== undefined) return found;
      const exit = this.#process?.exitCode ?? undefined;
      if (exit !== undefined || Date.now() > end) throw new Error(`${what}: not so${exit === undefined ? ` after ${patienceMs / 1_000} s` : `, it ended with ${exit}`}\n${this.#log.slice(-3_000)}`);
    }
  }

  /** SIGTERM; resolves with the exit code. A hanging one is killed and gives null. */
  async end(): Promise<number | null> {
    const running = this.#process;
    if (running === undefined || running.exitCode !== null) return running?.exitCode ?? null;
    const exited = once(running, 'exit') as Promise<[number | null]>;
    running.kill('SIGTERM');
    const timer = setTimeout(() => running.kill('SIGKILL'), 20_000);
    const [code] = await exited;
    clearTimeout(timer);
    return code;
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A route nobody calls, whose only endpoint names the state of the folder. */
function markerObjects(address: string, marker: string): readonly unknown[] {
  const [namespace = '', name = ''] = MARKER.split('/');
  return [
    { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name }, spec: { clusterIP: 'None', ports: [{ port: 80, targetPort: 8080 }] } },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace, name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ port: 8080 }],
      endpoints: [{ addresses: [address], nodeName: 'n1', targetRef: { kind: 'Pod', namespace, name: marker } }],
    },
    { apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata: { namespace, name }, spec: { rule: { type: '' }, to: [{ kind: 'Service', name }] } },
  ];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
