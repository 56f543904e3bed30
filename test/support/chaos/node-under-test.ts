import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { askCli } from '../../../src/haproxy/io/cli-socket.ts';
import { parseProcesses } from '../../../src/haproxy/parse-answers.ts';
import type { EventLog } from './event-log.ts';

const MAIN = new URL('../../../src/main.ts', import.meta.url).pathname;
const LAUNCHER = new URL('../../../daemonset/onehop-haproxy', import.meta.url).pathname;
/** A root's agent would read a folder that nobody may read. */
const UID = 65_532;
const POOL = '127.95';
export const ADDRESS_OF_ROUTE = (index: number): string => `${POOL}.1.${index}`;
export const HTTP_PORT = 8080;
export const TCP_PORT = 9000;
const GRACE_SECONDS = 25;
const READY_MS = 120_000;
/** 100 ms apart. */
const QUIET_LOOKS = 15;

/** What `/routes` says, as far as it is read here. */
export interface RoutesAnswer {
  readonly generation: number;
  readonly stale?: boolean;
  readonly routes: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly versions: readonly { readonly name: string; readonly endpoints: readonly { readonly address: string; readonly port: number; readonly use: string }[] }[];
  }[];
  readonly problems: readonly { readonly code: string; readonly message: string; readonly object: { readonly kind: string; readonly name: string } }[];
}

/** One agent with its HAProxy: `spawned`: the agent's child; `attached`: a process beside it that this test supervises, as kubelet does. */
export class Generation {
  readonly runDir: string;
  readonly logFile: string;
  readonly attached: boolean;
  readonly #argv: readonly string[];
  readonly #uid: readonly string[];
  readonly #events: EventLog;
  #agent: ChildProcess | undefined;
  #launcher: ChildProcess | undefined;
  #supervised = false;

  constructor(root: string, objects: string, attached: boolean, events: EventLog) {
    const name = attached ? randomUUID() : 'spawned';
    this.attached = attached;
    this.#events = events;
    this.runDir = join(root, 'run', name);
    this.logFile = join(root, `${name}.log`);
    const isRoot = process.getuid?.() === 0;
    this.#uid = isRoot ? ['setpriv', '--reuid', String(UID), '--regid', String(UID), '--clear-groups', '--'] : [];
    for (const dir of ['run', 'state']) {
      mkdirSync(join(root, dir), { recursive: true });
      if (isRoot) chownSync(join(root, dir), UID, UID);
    }
    const source = ['--source', `dir:${objects}`, '--node-name', 'n1', '--vip-pool', `${POOL}.0.0/16`, '--http-port', String(HTTP_PORT)];
    const listen = ['--dns-listen', `${POOL}.0.10:5353`, '--admin-listen', `${POOL}.0.11:9810`, '--run-dir', this.runDir, '--state-dir', join(root, 'state')];
    const more = ['--log-format', 'json', '--grace-seconds', String(GRACE_SECONDS), '--proxy', 'haproxy', ...(attached ? ['--haproxy-attach'] : [])];
    this.#argv = [...this.#uid, process.execPath, MAIN, 'agent', ...source, ...listen, ...more];
  }

  get agentPid(): number | undefined {
    return isLive(this.#agent) ? this.#agent?.pid : undefined;
  }

  async start(): Promise<void> {
    this.startAgent();
    if (this.attached) this.#supervise();
    await this.untilReady();
  }

  startAgent(): void {
    this.#agent = this.#spawn(this.#argv);
  }

  async untilReady(limitMs = READY_MS): Promise<void> {
    for (const end = Date.now() + limitMs; ; await sleep(50)) {
      if (!isLive(this.#agent)) throw new Error(`the agent ended with ${this.#agent?.exitCode}: ${this.logTail()}`);
      const said = await this.admin('/readyz').catch((error: unknown) => String(error));
      if (said.startsWith('ready\n')) return;
      if (Date.now() > end) throw new Error(`the agent is not ready: ${said}\n${this.logTail()}`);
    }
  }

  async killAgent(): Promise<void> {
    await end(this.#agent, 'SIGKILL');
  }

  /** SIGTERM to agent and HAProxy; the exit codes. */
  async stop(): Promise<readonly (number | null)[]> {
    this.#supervised = false;
    const codes = await Promise.all([end(this.#agent, 'SIGTERM'), ...(this.attached ? [end(this.#launcher, 'SIGTERM')] : [])]);
    return codes;
  }

  /** HAProxy accepts no connections any more. @throws Error when that takes a minute */
  async untilClosed(): Promise<void> {
    let quiet = 0;
    for (const end = Date.now() + 60_000; Date.now() < end; await sleep(100)) {
      const listening = execFileSync('ss', ['-ltnpH'], { encoding: 'utf8' });
      // A reload that was under way brings a worker that has not heard of the stop: the launcher tells it within a second.
      quiet = this.haproxyPids().some((pid) => listening.includes(`pid=${pid},`)) ? 0 : quiet + 1;
      if (quiet === QUIET_LOOKS) return;
    }
    throw new Error(`the HAProxy of ${this.runDir} accepts connections a minute after it was asked to stop`);
  }

  /** In any case, at once. */
  destroy(): void {
    this.#supervised = false;
    for (const child of [this.#agent, this.#launcher]) child?.kill('SIGKILL');
    this.killHaproxy('both');
  }

  /** `kill -9` of the master, of all workers, or of both. Returns all that ran: those that were left end on their own. */
  killHaproxy(which: 'master' | 'worker' | 'both'): readonly number[] {
    const pids = this.haproxyPids();
    const chosen = pids.filter((pid) => which === 'both' || (parentOf(pid, pids) ? 'worker' : 'master') === which);
    for (const pid of chosen) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended in between.
      }
    }
    return pids;
  }

  haproxyPids(): readonly number[] {
    return processesWith(`${this.runDir}/master.sock,`, 'haproxy');
  }

  master(command: string): Promise<string> {
    return askCli(join(this.runDir, 'master.sock'), command, 5_000);
  }

  runtime(command: string): Promise<string> {
    return askCli(join(this.runDir, 'haproxy.sock'), command, 5_000);
  }

  /** Reloads of this master so far. */
  async reloads(): Promise<number | undefined> {
    const answer = await this.master('show proc').catch(() => '');
    const reloads = /^\d+\s+master\s+(\d+)/m.exec(answer)?.[1];
    return reloads === undefined ? undefined : Number(reloads);
  }

  async oldWorkers(): Promise<number> {
    return parseProcesses(await this.master('show proc').catch(() => ''))?.old.length ?? 0;
  }

  async routes(): Promise<RoutesAnswer> {
    return JSON.parse(await this.admin('/routes')) as RoutesAnswer;
  }

  admin(path: string): Promise<string> {
    return new Promise((done, fail) => {
      const asked = request({ socketPath: join(this.runDir, 'admin.sock'), path, agent: false, timeout: 10_000 }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
        response.on('end', () => done(body)).on('error', fail);
      });
      asked.on('timeout', () => asked.destroy(new Error('no answer within 10 s')));
      asked.on('error', fail).end();
    });
  }

  logTail(): string {
    try {
      return readFileSync(this.logFile, 'utf8').slice(-3_000);
    } catch {
      return '';
    }
  }

  /** Keeps HAProxy's launcher running, as kubelet does a container. */
  #supervise(): void {
    this.#supervised = true;
    this.#launcher = this.#spawn([...this.#uid, 'dash', LAUNCHER, this.runDir], { ONEHOP_GRACE_SECONDS: String(GRACE_SECONDS) });
    this.#launcher.once('exit', (code) => {
      if (!this.#supervised) return;
      this.#events.note(`HAProxy's container ended with ${code}; it is started again`);
      this.#supervise();
    });
  }

  #spawn([program = '', ...args]: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const log = openSync(this.logFile, 'a');
    return spawn(program, args, { stdio: ['ignore', log, log], env: { ...process.env, ...env } });
  }
}

const isLive = (child: ChildProcess | undefined): boolean => child?.pid !== undefined && child.exitCode === null && child.signalCode === null;

/** Resolves with the exit code; null: ended by a signal. */
async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<number | null> {
  if (child === undefined || !isLive(child)) return child?.exitCode ?? null;
  const exit = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), (GRACE_SECONDS + 20) * 1000);
  await exit;
  clearTimeout(timer);
  return child.exitCode;
}

/** Live processes with `text` in their command line and this name. */
export function processesWith(text: string, name: string): readonly number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid))
    .filter((pid) => {
      try {
        const state = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return !/\) [ZX]/.test(state) && state.includes(`(${name}`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text);
      } catch {
        return false;
      }
    });
}

/** Whether the parent of a process is one of these. */
function parentOf(pid: number, pids: readonly number[]): boolean {
  try {
    return pids.includes(Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]));
  } catch {
    return false;
  }
}
