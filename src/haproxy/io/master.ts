import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync, truncateSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CONFIG_FILE } from '../plan-change.ts';
import { parseClientSessions, parseFailedReload, parseInfo, parseProcesses } from '../parse-answers.ts';
import type { Processes, Worker } from '../parse-answers.ts';
import { systemCode } from '../../model/coded-error.ts';
import { HEALTH_SOCKET, STATS_SOCKET } from '../render-global.ts';
import { askCli } from './cli-socket.ts';

export const MASTER_SOCKET = 'master.sock';
const PID_FILE = 'haproxy.pid';
const LOG_FILE = 'haproxy.log';
const MAX_LOG_BYTES = 1024 * 1024;
const POLL_MS = 25;
/** For an old worker to close its listeners: usually some 30 ms, until the master is back. */
const DEAF_TIMEOUT_MS = 3_000;
/** Looks in a row at which nobody listens. */
const GONE_IS_DEAD = 10;

export type Outcome = { readonly ok: true } | { readonly ok: false; readonly messages: string };

/** `gone`: nobody listens on its socket. `silent`: somebody does and says nothing, as a stopped or stuck process. */
export type Sight = Worker | 'gone' | 'silent';

/**
 * One HAProxy in master-worker mode with its sockets in a run dir. It outlives this process: detached, its output goes
 * to a file. Whether it was spawned or found makes no difference afterwards; both are watched by pid and socket.
 *
 * What goes by pid (start, stop, end, isOurs, left) is for a HAProxy that this agent spawned. One under another supervisor may
 * live in another container: its pids mean nothing here, only its sockets do (processes, worker, look, reload, cutOff).
 */
export class Master {
  readonly #binary: string;
  readonly #runDir: string;

  constructor(binary: string, runDir: string) {
    this.#binary = binary;
    this.#runDir = runDir;
  }

  get statsSocket(): string {
    return join(this.#runDir, STATS_SOCKET);
  }

  get #masterSocket(): string {
    return join(this.#runDir, MASTER_SOCKET);
  }

  /** The processes now; undefined when no master answers (also for a moment while it re-executes itself). */
  async processes(): Promise<Processes | undefined> {
    return parseProcesses(await askCli(this.#masterSocket, 'show proc', 1000).catch(() => ''));
  }

  /** The worker that answers on the stats socket. */
  async worker(): Promise<Worker | undefined> {
    const seen = await this.look();
    return typeof seen === 'string' ? undefined : seen;
  }

  async look(): Promise<Sight> {
    try {
      return parseInfo(await askCli(this.statsSocket, 'show info', 1000)) ?? 'silent';
    } catch (error) {
      return ['ENOENT', 'ECONNREFUSED'].includes(systemCode(error) ?? '') ? 'gone' : 'silent';
    }
  }

  /** Ends the connections of an old worker through the master: without any it ends by itself. */
  async cutOff(pid: number): Promise<void> {
    const sessions = parseClientSessions(await askCli(this.#masterSocket, `@!${pid} show sess`).catch(() => ''));
    for (const session of sessions) await askCli(this.#masterSocket, `@!${pid} shutdown session ${session}`, 500).catch(() => undefined);
  }

  /** Runs a command in an old worker; one that has ended meanwhile does not matter. */
  async inWorker(pid: number, command: string): Promise<void> {
    await askCli(this.#masterSocket, `@!${pid} ${command}`, 1000).catch(() => undefined);
  }

  /** Starts HAProxy on the run dir's files and waits until a worker loaded with `digest` answers. */
  async start(digest: string, timeoutMs: number): Promise<Outcome> {
    await this.#endLeftOvers();
    for (const socket of [MASTER_SOCKET, STATS_SOCKET, HEALTH_SOCKET]) await rm(join(this.#runDir, socket), { force: true });
    this.#boundLog();
    const logFrom = this.#logSize();
    const log = openSync(join(this.#runDir, LOG_FILE), 'a', 0o600);
    const args = ['-W', '-C', this.#runDir, '-f', CONFIG_FILE, '-S', `${this.#masterSocket},mode,600`, '-p', join(this.#runDir, PID_FILE)];
    const ended = new AbortController();
    try {
      // A clean environment: HAProxy would report its state to the agent's own supervisor through NOTIFY_SOCKET.
      const child = spawn(this.#binary, args, { detached: true, stdio: ['ignore', log, log], env: { PATH: process.env['PATH'] } });
      child.on('exit', () => ended.abort());
      child.on('error', () => ended.abort());
      child.unref();
    } finally {
      closeSync(log);
    }
    const deadline = Date.now() + timeoutMs;
    while (!ended.signal.aborted && Date.now() < deadline) {
      if ((await this.worker())?.digest === digest && (await this.processes())?.worker !== undefined) return { ok: true };
      await sleep(POLL_MS);
    }
    return { ok: false, messages: this.#logSince(logFrom) };
  }

  /** Reloads and waits until a worker loaded with `digest` answers; when that fails the old worker serves on. */
  async reload(digest: string, timeoutMs: number): Promise<Outcome> {
    this.#boundLog();
    const logFrom = this.#logSize();
    const before = await this.worker();
    // 2.6 closes at once. Newer versions answer when it is done: that is all that an attached HAProxy lets us know, its log is elsewhere.
    const messages = parseFailedReload(await askCli(this.#masterSocket, 'reload', timeoutMs).catch(() => ''));
    if (messages !== undefined) return { ok: false, messages };
    const deadline = Date.now() + timeoutMs;
    for (let gone = 0; Date.now() < deadline && gone < GONE_IS_DEAD; ) {
      const now = await this.look();
      if (typeof now !== 'string' && now.digest === digest && now.pid !== before?.pid) {
        if (before !== undefined) await this.#untilDeaf(before.pid);
        return { ok: true };
      }
      if (((await this.processes())?.failed ?? 0) > 0) break;
      // The old worker answers until the new one does: with neither there, HAProxy has ended.
      gone = now === 'gone' ? gone + 1 : 0;
      await sleep(POLL_MS);
    }
    return { ok: false, messages: this.#logSince(logFrom) };
  }

  /**
   * Waits until an old worker takes no commands any more: both have the same listening socket, and what is said meanwhile may reach either.
   * It has heard that it ends when it says so, and has closed its listeners when it says so again: they are closed while all its threads
   * stand still, which no thread passes twice. A master that re-executes itself is asked again. One that hangs is not waited for longer than 3 s.
   */
  async #untilDeaf(pid: number): Promise<void> {
    for (let heard = 0, deadline = Date.now() + DEAF_TIMEOUT_MS; heard < 2 && Date.now() < deadline; ) {
      const processes = await this.processes();
      // Asked after one that is gone, 3.0 says so and never ends its answer.
      if (processes !== undefined && processes.worker !== pid && !processes.old.includes(pid)) return;
      const answer = await askCli(this.#masterSocket, `@!${pid} show info`, 300).catch(() => '');
      heard = /^Stopping: 1$/m.test(answer) ? heard + 1 : 0;
      if (heard === 0) await sleep(POLL_MS);
    }
  }

  /** Lets old and new connections end (soft stop), at most `drainMs`, then ends what is left. */
  async stop(master: number | undefined, drainMs: number): Promise<void> {
    const wait = async (ms: number): Promise<void> => {
      const deadline = Date.now() + ms;
      while (this.left().length > 0 && Date.now() < deadline) await sleep(POLL_MS);
    };
    if (master !== undefined && this.isOurs(master)) {
      signal(master, 'SIGUSR1');
      await wait(drainMs);
      if (this.isOurs(master)) signal(master, 'SIGTERM');
      await wait(1000);
    }
    await this.#endLeftOvers();
    for (const file of [MASTER_SOCKET, STATS_SOCKET, HEALTH_SOCKET, PID_FILE]) await rm(join(this.#runDir, file), { force: true });
  }

  /** Ends an old worker at once. */
  end(pid: number): void {
    if (this.isOurs(pid)) signal(pid, 'SIGTERM');
  }

  /** True while `pid` is a live HAProxy of this run dir: never a zombie, never a stranger that got the number. */
  isOurs(pid: number): boolean {
    try {
      const state = /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
      return state !== 'Z' && state !== 'X' && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`${this.#masterSocket},`);
    } catch {
      return false;
    }
  }

  /** Live processes of this run dir. */
  left(): readonly number[] {
    return readdirSync('/proc').map(Number).filter((pid) => Number.isInteger(pid) && this.isOurs(pid));
  }

  /** A second HAProxy on the same ports would not fail but silently take a share of the connections (SO_REUSEPORT). */
  async #endLeftOvers(): Promise<void> {
    for (let tries = 0; tries < 40; tries++) {
      const left = this.left();
      if (left.length === 0) return;
      for (const pid of left) signal(pid, 'SIGKILL');
      await sleep(POLL_MS);
    }
  }

  /** The log is only for people and for the messages of a failed start: it begins anew above 1 MiB. */
  #boundLog(): void {
    if (this.#logSize() > MAX_LOG_BYTES) truncateSync(join(this.#runDir, LOG_FILE));
  }

  #logSize(): number {
    return statSync(join(this.#runDir, LOG_FILE), { throwIfNoEntry: false })?.size ?? 0;
  }

  #logSince(offset: number): string {
    const length = Math.min(MAX_LOG_BYTES, this.#logSize() - offset);
    if (length <= 0) return '';
    const file = openSync(join(this.#runDir, LOG_FILE), 'r');
    try {
      const buffer = Buffer.alloc(length);
      return buffer.subarray(0, readSync(file, buffer, 0, length, offset)).toString();
    } finally {
      closeSync(file);
    }
  }
}

function signal(pid: number, name: 'SIGUSR1' | 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended in between.
  }
}
