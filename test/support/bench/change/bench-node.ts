import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { cpuSeconds, findProcesses, memoryUse, type MemoryUse } from '../../process-usage.ts';

const LAUNCHER = join(import.meta.dirname, '../../../../daemonset/onehop-haproxy');
const READY_LIMIT_MS = 120_000;
const GRACE_SECONDS = 15;

export interface BenchNodeOptions {
  /** Of the whole benchmark; run dirs of all generations lie side by side in it. */
  readonly folder: string;
  readonly entry: string;
  /** First two octets of the VIP pool. */
  readonly net: string;
  /** `kubernetes` with a kubeconfig, or `dir:PATH`. */
  readonly source: string;
  readonly kubeconfig?: string;
  readonly httpPort: number;
  readonly nodeFlags: readonly string[];
}

/** One generation of the DaemonSet's pod: an agent, and the HAProxy that it is attached to, each a process of its own. */
export class BenchNode {
  readonly #options: BenchNodeOptions;
  readonly #runDir: string;
  #agent: ChildProcess | undefined;
  #haproxy: ChildProcess | undefined;

  constructor(options: BenchNodeOptions) {
    this.#options = options;
    this.#runDir = join(options.folder, 'run', randomUUID());
  }

  /** Starts both and waits until `/readyz` says so. @returns milliseconds that it took */
  async start(): Promise<number> {
    const { folder, entry, net, source, kubeconfig, httpPort, nodeFlags } = this.#options;
    await mkdir(this.#runDir, { recursive: true });
    // As the image and the systemd unit start it. A machine's own certificates are read into every Node process; a pod has none.
    const env = { ...process.env, MALLOC_ARENA_MAX: '2', NODE_EXTRA_CA_CERTS: undefined, ONEHOP_GRACE_SECONDS: String(GRACE_SECONDS) };
    const flags = ['--node-name=n1', `--vip-pool=${net}.0.0/16`, `--http-port=${httpPort}`, `--dns-listen=${net}.0.10:5353`, `--admin-listen=${net}.0.11:9810`];
    const dirs = ['--haproxy-attach', `--run-dir=${this.#runDir}`, `--state-dir=${join(folder, 'state')}`, '--log-level=warn', '--log-format=json'];
    const from = [`--source=${source}`, ...(kubeconfig === undefined ? [] : [`--kubeconfig=${kubeconfig}`])];
    const startMs = performance.now();
    const start = (program: string, args: readonly string[]): ChildProcess => {
      const log = openSync(this.#log, 'a');
      return spawn(program, args, { stdio: ['ignore', log, log], env });
    };
    this.#agent = start(process.execPath, [...nodeFlags, entry, 'agent', ...from, ...flags, ...dirs]);
    this.#haproxy = start('dash', [LAUNCHER, this.#runDir]);
    while ((await this.ask('/readyz'))?.startsWith('200') !== true) {
      if (this.#agent.exitCode !== null) throw new Error(`the agent ended with code ${this.#agent.exitCode}:\n${await this.log()}`);
      if (performance.now() - startMs > READY_LIMIT_MS) throw new Error(`not ready in ${READY_LIMIT_MS / 1000} s: ${(await this.ask('/readyz')) ?? 'no answer'}\n${await this.log()}`);
      await delay(20);
    }
    return performance.now() - startMs;
  }

  /** SIGTERM to both, as kubelet does; resolves when both ended. */
  async stop(): Promise<void> {
    await Promise.all([this.#agent, this.#haproxy].map(async (child) => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      const limit = setTimeout(() => child.kill('SIGKILL'), (GRACE_SECONDS + 5) * 1000);
      await exit;
      clearTimeout(limit);
    }));
  }

  /** Status and body of a page of the admin socket; undefined: nobody answers. */
  ask(path: string): Promise<string | undefined> {
    return new Promise((resolve) => {
      const request = get({ socketPath: join(this.#runDir, 'admin.sock'), path, agent: false, timeout: 10_000 }, (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (text: string) => (body += text));
        response.on('end', () => resolve(`${response.statusCode} ${body}`));
        response.on('error', () => resolve(undefined));
      });
      request.on('timeout', () => request.destroy());
      request.on('error', () => resolve(undefined));
    });
  }

  /** How often HAProxy was reloaded. @throws Error when the agent does not say */
  async reloads(): Promise<number> {
    const found = /^onehop_proxy\{what="reloads"\} (\d+)$/m.exec((await this.ask('/metrics')) ?? '');
    if (found === null) throw new Error('the agent does not tell its reloads');
    return Number(found[1]);
  }

  get agentPid(): number {
    return this.#agent?.pid ?? 0;
  }

  async agentMemory(): Promise<MemoryUse> {
    return memoryUse(this.agentPid);
  }

  agentCpu(): Promise<number> {
    return cpuSeconds(this.agentPid);
  }

  /** CPU seconds of HAProxy's processes, and the RSS of the one that serves, in MB. */
  async haproxy(): Promise<{ readonly cpu: number; readonly rss: number }> {
    const pids = await findProcesses('haproxy', this.#runDir);
    const each = await Promise.all(pids.map(async (pid) => ({ cpu: await cpuSeconds(pid), rss: (await memoryUse(pid)).rss })));
    return { cpu: each.reduce((sum, { cpu }) => sum + cpu, 0), rss: Math.max(0, ...each.map(({ rss }) => rss)) };
  }

  get #log(): string {
    return `${this.#runDir}.log`;
  }

  async log(): Promise<string> {
    return (await readFile(this.#log, 'utf8').catch(() => '')).slice(-3000);
  }
}
