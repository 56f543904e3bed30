import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lab, LabNode } from './lab.ts';
import { eventually, inside, run, start, stop } from './run.ts';

const MAIN = new URL('../../../src/main.ts', import.meta.url).pathname;

/** The agent of one node, a process inside the node's namespace with run and state folders of its own. */
export class LabAgent {
  readonly node: LabNode;
  readonly runDir: string;
  readonly logFile: string;
  /** The command line, for a run under other conditions. */
  readonly argv: readonly string[];
  #process: ChildProcess | undefined;

  constructor(lab: Lab, nodeName: string, objects: string, flags: readonly string[] = []) {
    this.node = lab.node(nodeName);
    this.runDir = join(lab.folder, `${nodeName}-run`);
    this.logFile = join(lab.folder, `${nodeName}-agent.log`);
    const own = ['--source', `dir:${objects}`, '--node-name', nodeName, '--run-dir', this.runDir, '--state-dir', join(lab.folder, `${nodeName}-state`)];
    this.argv = [process.execPath, MAIN, 'agent', ...own, '--log-format', 'json', ...flags];
  }

  /** Starts it and waits until `/readyz` says ready. */
  async start(...flags: readonly string[]): Promise<void> {
    const started = start(inside(this.node.netns, [...this.argv, ...flags]), this.logFile);
    this.#process = started;
    try {
      await eventually(`agent of ${this.node.name} is ready`, async () => started.exitCode !== null || (await this.admin('/readyz')) === 'ready\n', 60_000);
      if (started.exitCode !== null) throw new Error(`agent of ${this.node.name} ended with ${started.exitCode}`);
    } catch (error) {
      throw new Error(`${String(error)}\n${(await readFile(this.logFile, 'utf8')).slice(-3_000)}`, { cause: error });
    }
  }

  /** What a page of the admin server says, asked over the Unix socket; empty when nobody answers. */
  async admin(path: string): Promise<string> {
    return (await run(['curl', '-s', '-m', '5', '--unix-socket', join(this.runDir, 'admin.sock'), `http://admin${path}`])).stdout;
  }

  /** Resolves with the exit code; null: ended by the signal. */
  async stop(signal: NodeJS.Signals): Promise<number | null> {
    const running = this.#process;
    this.#process = undefined;
    return running === undefined ? 0 : stop(running, signal, 30_000);
  }

  /** Pids of the HAProxy processes of this node. */
  async haproxyPids(): Promise<readonly string[]> {
    const pids = (await run(['ip', 'netns', 'pids', this.node.netns])).stdout.split('\n').filter((pid) => pid !== '');
    const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')));
    return pids.filter((_, i) => names[i]?.trim() === 'haproxy');
  }
}
