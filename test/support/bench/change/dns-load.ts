import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface DnsCounts {
  readonly sent: number;
  /** Without an answer within 5 s. */
  readonly lost: number;
  /** Answered with anything but NOERROR. */
  readonly wrong: number;
  /** Sorted. */
  readonly latenciesMs: readonly number[];
}

/** Queries at a fixed rate from 32 source ports (dnsperf). */
export class DnsLoad {
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;

  private constructor(folder: string, child: ChildProcess) {
    this.#folder = folder;
    this.#child = child;
    this.#exit = once(child, 'exit');
  }

  static async begin(folder: string, to: { readonly address: string; readonly port: number }, names: readonly string[], rate: number): Promise<DnsLoad> {
    const queries = join(folder, 'queries');
    await writeFile(queries, names.map((name) => `${name} A\n`).join(''));
    const out = openSync(join(folder, 'dnsperf'), 'w');
    // Each query is told: percentiles need them all. A cap on open queries would slow the load down where it should count.
    const flags = ['-s', to.address, '-p', String(to.port), '-d', queries, '-Q', String(rate), '-T1', '-c32', '-q20000', '-v', '-l', '3600'];
    return new DnsLoad(folder, spawn('dnsperf', flags, { stdio: ['ignore', out, out] }));
  }

  /** Ends it (what is open still has its time) and counts. @throws Error when dnsperf failed */
  async end(): Promise<DnsCounts> {
    this.#child.kill('SIGINT');
    await this.#exit;
    const text = await readFile(join(this.#folder, 'dnsperf'), 'utf8');
    const count = (name: string): number => Number(new RegExp(`^\\s+${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
    const [sent, lost] = [count('Queries sent'), count('Queries lost')];
    if (!(sent > 0)) throw new Error(`dnsperf told nothing: ${text.slice(-500)}`);
    const latenciesMs = [...text.matchAll(/^> NOERROR \S+ A (\d+\.\d+)$/gm)].map((match) => Number(match[1]) * 1000).sort((a, b) => a - b);
    return { sent, lost, wrong: count('Queries completed') - latenciesMs.length, latenciesMs };
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
