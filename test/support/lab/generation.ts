import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmod, chown, mkdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lab, LabNode } from './lab.ts';
import { eventually, inside, run, start } from './run.ts';

const MAIN = new URL('../../../src/main.ts', import.meta.url).pathname;
const LAUNCHER = new URL('../../../daemonset/onehop-haproxy', import.meta.url).pathname;
const UID = 65_532;
const CAPABILITIES = { agent: '+net_admin,+net_bind_service', haproxy: '+net_bind_service' };
/** Drains last 5 s less. */
export const GRACE_SECONDS = 25;

export type Container = keyof typeof CAPABILITIES;

/** Folders that all generations of the node share, as the pod's hostPaths: made for the pod's uid. */
export async function makeShared(lab: Lab): Promise<void> {
  await chmod(lab.folder, 0o755);
  for (const name of ['run', 'state']) {
    await mkdir(join(lab.folder, name), { recursive: true });
    await chown(join(lab.folder, name), UID, UID);
  }
}

/**
 * One generation of the DaemonSet's pod on a lab node: its two containers are processes of the node's network, each in a pid namespace
 * of its own, with the pod's uid and each container's capabilities. They share the run folder and nothing else.
 */
export class Generation {
  readonly uid = randomUUID();
  readonly runDir: string;
  readonly log: string;
  readonly #lab: Lab;
  readonly #node: LabNode;
  readonly #argv: Readonly<Record<Container, readonly string[]>>;
  readonly #capabilities: Readonly<Record<Container, string>>;
  readonly #running = new Map<Container, ChildProcess>();

  /** `haproxyMay`: capabilities of HAProxy's container besides its usual one, `+net_raw`. */
  constructor(lab: Lab, nodeName: string, objects: string, { flags: more = [], haproxyMay }: { readonly flags?: readonly string[]; readonly haproxyMay?: string } = {}) {
    this.#lab = lab;
    this.#capabilities = { ...CAPABILITIES, ...(haproxyMay === undefined ? {} : { haproxy: `${CAPABILITIES.haproxy},${haproxyMay}` }) };
    this.#node = lab.node(nodeName);
    this.runDir = join(lab.folder, 'run', this.uid);
    this.log = join(lab.folder, this.uid);
    const flags = ['--source', `dir:${objects}`, '--node-name', nodeName, '--haproxy-attach', '--run-dir', this.runDir, '--state-dir', join(lab.folder, 'state'), ...more];
    const listen = ['--dns-listen', `169.254.192.10:53,${this.#node.address}:9053`, '--grace-seconds', String(GRACE_SECONDS), '--log-format', 'json'];
    this.#argv = { agent: [process.execPath, MAIN, 'agent', ...flags, ...listen], haproxy: ['dash', LAUNCHER, this.runDir] };
  }

  async start(): Promise<void> {
    this.startContainer('agent');
    this.startContainer('haproxy');
    await this.untilReady();
  }

  async untilReady(): Promise<void> {
    await eventually(`generation ${this.uid} is ready`, async () => (await this.readyz()) === 'ready\n', 90_000).catch(async (error: unknown) => {
      throw new Error(`${String(error)}: ${await this.readyz()}\n${(await this.logOf('agent')).slice(-3_000)}\n${(await this.logOf('haproxy')).slice(-2_000)}`, { cause: error });
    });
  }

  startContainer(which: Container): void {
    const isolated = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child', 'setpriv', '--reuid', String(UID), '--regid', String(UID), '--clear-groups'];
    const caps = this.#capabilities[which];
    const argv = [...isolated, '--inh-caps', caps, '--ambient-caps', caps, '--bounding-set', `-all,${caps}`, ...this.#argv[which]];
    this.#running.set(which, start(inside(this.#node.netns, ['env', `ONEHOP_GRACE_SECONDS=${GRACE_SECONDS}`, ...argv]), `${this.log}-${which}.log`));
  }

  /** What `/readyz` says over the Unix socket; empty when nobody answers. */
  async readyz(): Promise<string> {
    return (await run(['curl', '-s', '-m', '5', '--unix-socket', join(this.runDir, 'admin.sock'), 'http://admin/readyz'])).stdout;
  }

  /** Signals the first process of a container, as kubelet does, and waits for its end. Resolves with the exit code, null after a kill. */
  async stopContainer(which: Container, signal: NodeJS.Signals): Promise<number | null> {
    const outer = this.#running.get(which);
    if (outer?.pid === undefined || outer.exitCode !== null) return outer?.exitCode ?? null;
    const exit = once(outer, 'exit');
    process.kill(await firstProcess(outer.pid), signal);
    const limit = setTimeout(() => outer.kill('SIGKILL'), GRACE_SECONDS * 1000);
    await exit;
    clearTimeout(limit);
    this.#running.delete(which);
    return outer.exitCode;
  }

  /** Stops every process of a container where it is, or lets them go on. */
  async freeze(which: Container, on: boolean): Promise<void> {
    const outer = this.#running.get(which)?.pid;
    if (outer === undefined) throw new Error(`${which} does not run`);
    const first = await firstProcess(outer);
    // Never the machine's own namespace.
    if ((await readlink(`/proc/${first}/ns/pid`)) === (await readlink('/proc/self/ns/pid'))) throw new Error(`${which} has no pid namespace of its own`);
    const { stdout } = await run(['pgrep', '--ns', String(first), '--nslist', 'pid', '']);
    for (const pid of stdout.split('\n').filter((line) => line !== '')) process.kill(Number(pid), on ? 'SIGSTOP' : 'SIGCONT');
  }

  /** SIGTERM to both at once; their exit codes. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<readonly (number | null)[]> {
    return Promise.all([this.stopContainer('agent', signal), this.stopContainer('haproxy', signal)]);
  }

  async logOf(which: Container): Promise<string> {
    return readFile(`${this.log}-${which}.log`, 'utf8').catch(() => '');
  }

  /** Runs a command of the CLI as root on the node. */
  async onehop(...argv: readonly string[]): Promise<string> {
    const { stdout, stderr } = await this.#lab.exec(this.#node, process.execPath, MAIN, ...argv);
    return stdout + stderr;
  }
}

/** The process that `unshare --fork` started: number one of its pid namespace. */
async function firstProcess(outer: number): Promise<number> {
  const children = await eventually(`the container of ${outer} runs`, async () => (await readFile(`/proc/${outer}/task/${outer}/children`, 'utf8')).trim().split(' ')[0] || undefined);
  return Number(children);
}
