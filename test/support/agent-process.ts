import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const ENTRY = join(import.meta.dirname, '../../src/onehop.mjs');

/** What `GET /routes` answers, as far as tests read it. */
export interface RoutesView {
  readonly generation: number;
  readonly proxy: string;
  readonly routes: readonly { readonly namespace: string; readonly name: string; readonly vip: string; readonly globalVip?: string; readonly listen: number; readonly problems: readonly { code: string }[] }[];
  readonly problems: readonly { readonly code: string; readonly message: string; readonly remedy: string; readonly object: { readonly kind: string; readonly namespace?: string; readonly name: string } }[];
}

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly reason: string | undefined;
}

/** The folders of one agent: objects, run and state, removed together. */
export class AgentFolders {
  readonly root = mkdtempSync(join(tmpdir(), 'onehop-agent-'));
  readonly objects = join(this.root, 'objects');
  readonly run = join(this.root, 'run');
  readonly state = join(this.root, 'state');

  constructor() {
    mkdirSync(this.objects);
  }

  /** Writes one file atomically, as `kubectl`-like tools do. */
  write(file: string, text: string): void {
    writeFileSync(join(this.root, file), text);
    renameSync(join(this.root, file), join(this.objects, file));
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** One `onehop agent`, started as users start it. */
export class AgentProcess {
  readonly child: ChildProcess;
  readonly folders: AgentFolders;
  readonly adminAddress: string;
  #log = '';

  /** `net`: the first two octets of the pool, so that tests that run at once never meet. */
  constructor(folders: AgentFolders, net: string, flags: readonly string[], source = `dir:${folders.objects}`) {
    this.folders = folders;
    this.adminAddress = `${net}.0.11`;
    this.child = spawn(
      process.execPath,
      [
        ENTRY,
        'agent',
        `--source=${source}`,
        '--node-name=n1',
        `--vip-pool=${net}.0.0/16`,
        '--http-port=8080',
        `--dns-listen=${net}.0.10:5353`,
        `--admin-listen=${this.adminAddress}:9810`,
        `--run-dir=${folders.run}`,
        `--state-dir=${folders.state}`,
        '--log-format=json',
        ...flags,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#log += text));
  }

  get log(): string {
    return this.#log;
  }

  /** Exit code; -1 when a signal ended it. */
  async exit(): Promise<number> {
    if (this.child.exitCode !== null) return this.child.exitCode;
    if (this.child.signalCode !== null) return -1;
    return new Promise((resolve) => this.child.once('exit', (code) => resolve(code ?? -1)));
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    this.child.kill(signal);
    return this.exit();
  }

  async routes(): Promise<RoutesView> {
    const { status, body } = await call({ host: this.adminAddress, port: 9810, path: '/routes' });
    if (status !== 200) throw new Error(`/routes: ${status} ${body}`);
    return JSON.parse(body) as RoutesView;
  }

  /** Waits until `/routes` satisfies the condition. */
  async until(what: string, condition: (view: RoutesView) => boolean, timeoutMs = 60_000): Promise<RoutesView> {
    let seen: RoutesView | undefined;
    for (const end = Date.now() + timeoutMs; Date.now() < end; await delay(30)) {
      if (this.child.exitCode !== null) throw new Error(`the agent ended with ${this.child.exitCode}: ${this.#log}`);
      seen = await this.routes().catch(() => undefined);
      if (seen !== undefined && condition(seen)) return seen;
    }
    throw new Error(`not seen within ${timeoutMs} ms: ${what}; last ${JSON.stringify(seen)}; log ${this.#log.slice(-3000)}`);
  }
}

/** One HTTP call on a connection of its own; `from` is the caller's address. */
export function call(to: { readonly host: string; readonly port: number; readonly path?: string; readonly from?: string; readonly headers?: Record<string, string> }): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { host: to.host, port: to.port, path: to.path ?? '/', agent: false, timeout: 10_000, headers: to.headers ?? {}, ...(to.from === undefined ? {} : { localAddress: to.from }) },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
        response.on('end', () => {
          const reason = response.headers['x-onehop-reason'];
          resolve({ status: response.statusCode ?? 0, body, reason: typeof reason === 'string' ? reason : undefined });
        });
        response.on('error', reject);
      },
    );
    asked.on('timeout', () => asked.destroy(new Error('no answer in 10 s')));
    asked.on('error', reject);
    asked.end();
  });
}

/** A server that answers with its name. */
export function openNamedServer(name: string, address: string, port = 8080): Promise<Server> {
  const server = createServer((_, response) => response.end(name));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, () => resolve(server));
  });
}

/** YAML of a caller pod, a Service with one endpoint, and a route of the same name. */
export function simpleObjects(name: string, server: string, caller: string): string {
  return `
apiVersion: v1
kind: Pod
metadata: { name: caller-${name}, namespace: shop }
spec: { nodeName: n1 }
status: { phase: Running, podIP: ${caller} }
---
apiVersion: v1
kind: Service
metadata: { name: ${name}-v1, namespace: shop }
spec: { ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: ${name}-v1-x, namespace: shop, labels: { kubernetes.io/service-name: ${name}-v1 } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints: [{ addresses: [${server}], nodeName: n1 }]
---
${simpleRoute(name)}`;
}

export const simpleRoute = (name: string, spec = `{ rule: { type: "" }, to: [{ kind: Service, name: ${name}-v1 }] }`): string => `
apiVersion: paas.io/v1
kind: ServiceRoute
metadata: { name: ${name}, namespace: shop }
spec: ${spec}
`;

/** Pids of processes whose command line has `text` in it. */
export function processesWith(text: string): readonly number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        return Number(pid) !== process.pid && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Ends what still runs of these: one may have ended since it was listed. */
export function killAll(pids: Iterable<number>): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
