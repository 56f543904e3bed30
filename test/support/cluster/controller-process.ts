import { spawn, type ChildProcess } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { parse, stringify } from 'yaml';
import type { Cluster } from './cluster.ts';
import { RecordingProxy } from './recording-proxy.ts';
import { tokenKubeconfig } from './token-kubeconfig.ts';

const ENTRY = join(import.meta.dirname, '../../../src/main.ts');

/** One `onehop controller` with the shipped account's rights, behind a recording proxy of its own. */
export class ControllerProcess {
  readonly name: string;
  readonly proxy: RecordingProxy;
  readonly child: ChildProcess;
  /** Of its admin server. */
  readonly adminUrl: string;
  #log = '';

  private constructor(name: string, adminUrl: string, proxy: RecordingProxy, child: ChildProcess) {
    this.name = name;
    this.adminUrl = adminUrl;
    this.proxy = proxy;
    this.child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#log += text));
  }

  static async start(cluster: Cluster, name: string, flags: readonly string[] = []): Promise<ControllerProcess> {
    const account = await tokenKubeconfig(cluster, { namespace: 'onehop-system', name: 'onehop-controller' });
    const proxy = await RecordingProxy.open(account);
    const config = parse(await readFile(account, 'utf8')) as { clusters: object[] };
    const kubeconfig = join(cluster.folder, `controller-${name}.kubeconfig`);
    await writeFile(kubeconfig, stringify({ ...config, clusters: config.clusters.map((one) => ({ ...one, cluster: { server: proxy.url } })) }), { mode: 0o600 });
    const admin = `127.0.0.1:${await freePort()}`;
    const argv = [ENTRY, 'controller', `--kubeconfig=${kubeconfig}`, '--system-namespace=onehop-system', `--identity=${name}`, `--admin-listen=${admin}`, '--log-format=json', ...flags];
    return new ControllerProcess(name, `http://${admin}`, proxy, spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'pipe'] }));
  }

  get log(): string {
    return this.#log;
  }

  /** Sends a signal and waits for the end. The exit code, -1 when the signal ended it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    const ended = this.child.exitCode === null && this.child.signalCode === null ? new Promise((resolve) => this.child.once('exit', resolve)) : undefined;
    this.child.kill(signal);
    await ended;
    this.proxy.close();
    return this.child.exitCode ?? -1;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => void server.close(resolve));
  return port;
}
