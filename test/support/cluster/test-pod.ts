import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { run } from '../lab/run.ts';
import type { RunResult } from '../lab/run.ts';
import { insideContainer } from './container-process.ts';
import type { PodObject } from './installed-onehop.ts';

/** What a call got. The fields of pod-server.mjs are empty when somebody else answered. */
export interface Answer {
  /** 0: no answer, see `failure`. */
  readonly status: number;
  /** `x-onehop-reason`. */
  readonly reason: string;
  readonly pod: string;
  readonly node: string;
  readonly version: string;
  /** The caller as the server sees it. */
  readonly from: string;
  readonly headers: Readonly<Record<string, string | null>>;
  readonly body: string;
  /** curl's words when there was no answer. */
  readonly failure: string;
}

export interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly method?: string;
  readonly timeoutMs?: number;
}

export interface LoadOptions {
  readonly workers?: number;
  /** `per-call`: each call looks the name up and opens a connection. Default: `keep-alive`. */
  readonly connection?: 'keep-alive' | 'per-call';
  /** Pause of a worker between two calls. Default: 20. */
  readonly intervalMs?: number;
  readonly timeoutMs?: number;
}

/** What load.mjs prints. */
export interface LoadResult {
  readonly calls: number;
  readonly failed: number;
  readonly failures: readonly { readonly at: string; readonly afterMs: number; readonly message: string }[];
  readonly pods: Readonly<Record<string, number>>;
  readonly versions: Readonly<Record<string, number>>;
  readonly resent: number;
  readonly seconds: number;
  readonly maxMs: number;
}

export interface Load {
  /** Ends it and says how it went. */
  stop(): Promise<LoadResult>;
}

const STOP_LIMIT_MS = 30_000;

/** A running pod of the tools image. Programs run in it from the machine: neither API server nor kubelet is needed. */
export class TestPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly address: string;
  readonly #container: string;

  constructor({ metadata, spec, status }: PodObject) {
    const container = status.containerStatuses?.[0]?.containerID?.replace('containerd://', '');
    if (container === undefined || spec.nodeName === undefined || status.podIP === undefined) {
      throw new Error(`pod ${metadata.namespace}/${metadata.name} does not run: ${JSON.stringify(status)}`);
    }
    this.namespace = metadata.namespace;
    this.name = metadata.name;
    this.node = spec.nodeName;
    this.address = status.podIP;
    this.#container = container;
  }

  /** Runs a program in the pod, at most 60 s; never throws for an exit code. */
  async exec(...argv: readonly string[]): Promise<RunResult> {
    return run(await insideContainer(this.#container, argv));
  }

  /** One call with curl, its name looked up as every program of the pod does. */
  async call(url: string, options: CallOptions = {}): Promise<Answer> {
    return (await this.calls(url, 1, options))[0] ?? noAnswer('curl said nothing');
  }

  /** Calls one after the other on one connection, where the server allows. */
  async calls(url: string, count: number, { headers = {}, method = 'GET', timeoutMs = 10_000 }: CallOptions = {}): Promise<readonly Answer[]> {
    const head = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
    // curl expands [1-N] itself; the fragment is not sent. ETX ends an answer.
    const format = '\n%{http_code} %header{x-onehop-reason} %{errormsg}\u0003';
    const { stdout, stderr } = await this.exec('curl', '-sSk', '-m', String(timeoutMs / 1000), '-X', method, ...head, '-w', format, `${url}#[1-${count}]`);
    const answers = stdout.split('\u0003').slice(0, -1).map(readAnswer);
    return answers.length > 0 ? answers : [noAnswer(stderr.trim())];
  }

  /** Addresses of a name, as programs of the pod look it up; none: there is no such name. */
  async lookUp(name: string): Promise<readonly string[]> {
    const { stdout } = await this.exec('getent', 'ahostsv4', name);
    return [...new Set(stdout.split('\n').map((line) => line.split(/\s/)[0] ?? '').filter((address) => address !== ''))];
  }

  /** Starts calls that go on until `stop`. */
  async load(url: string, { workers = 2, connection = 'keep-alive', intervalMs = 20, timeoutMs = 10_000 }: LoadOptions = {}): Promise<Load> {
    const options = { workers, connection, 'interval-ms': intervalMs, 'timeout-ms': timeoutMs };
    const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    return this.start<LoadResult>(['node', '/opt/pod/load.mjs', url, '--until-stopped', ...flags]);
  }

  /** Starts a program that goes on until its input ends, and then prints one line of JSON. */
  async start<T>(program: readonly string[]): Promise<{ stop(): Promise<T> }> {
    const argv = await insideContainer(this.#container, program);
    const child = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['pipe', 'pipe', 'pipe'] });
    const ended = once(child, 'exit');
    const said = Promise.all([text(child.stdout), text(child.stderr)]);
    const stop = async (): Promise<T> => {
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
      child.stdin.on('error', () => {});
      child.stdin.end('stop\n');
      await ended;
      clearTimeout(timer);
      const [stdout, stderr] = await said;
      if (stdout.trim() === '') throw new Error(`${program.slice(1, 2).join(' ')} in ${this.name} said nothing: ${stderr}`);
      return JSON.parse(stdout) as T;
    };
    return { stop };
  }
}

/** Several loads as one. */
export async function startLoads(...starting: readonly Promise<Load>[]): Promise<Load> {
  const loads = await Promise.all(starting);
  return { stop: async () => addUp(await Promise.all(loads.map((load) => load.stop()))) };
}

function addUp(results: readonly LoadResult[]): LoadResult {
  const sum = (pick: (result: LoadResult) => number): number => results.reduce((total, result) => total + pick(result), 0);
  const tally = (pick: (result: LoadResult) => Readonly<Record<string, number>>): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (const [name, count] of results.flatMap((result) => Object.entries(pick(result)))) counts[name] = (counts[name] ?? 0) + count;
    return counts;
  };
  return {
    calls: sum(({ calls }) => calls),
    failed: sum(({ failed }) => failed),
    failures: results.flatMap(({ failures }) => failures).toSorted((a, b) => a.at.localeCompare(b.at)),
    pods: tally(({ pods }) => pods),
    versions: tally(({ versions }) => versions),
    resent: sum(({ resent }) => resent),
    seconds: Math.max(...results.map(({ seconds }) => seconds)),
    maxMs: Math.max(...results.map(({ maxMs }) => maxMs)),
  };
}

function readAnswer(part: string): Answer {
  const split = part.lastIndexOf('\n');
  const [status = '0', reason = '', ...words] = part.slice(split + 1).split(' ');
  const body = part.slice(0, split).trim();
  return { ...noAnswer(words.join(' ')), ...readBody(body), status: Number(status), reason, body };
}

function readBody(body: string): Partial<Answer> {
  try {
    const { pod, node, version, from, headers } = JSON.parse(body) as Answer;
    return { pod, node, version, from, headers };
  } catch {
    return {};
  }
}

const noAnswer = (failure: string): Answer => ({ status: 0, reason: '', pod: '', node: '', version: '', from: '', headers: {}, body: '', failure });
