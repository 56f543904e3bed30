import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { parse } from 'yaml';

/** One request as it came, and what became of it. */
export interface Recorded {
  /** When it came. */
  readonly atMs: number;
  readonly method: string;
  readonly path: string;
  /** The API server's answer; 0: none yet, or none at all. */
  status: number;
}

/**
 * `pass`: as if it were not there. `refuse`: connections are cut. `deaf`: requests reach the API server, but their answers get lost, which
 * is what a network that fails in mid-write looks like.
 */
export type ProxyMode = 'pass' | 'refuse' | 'deaf';

/** Stands between one process and the API server: writes down what it asks for, and cuts it off when told. Credentials pass through. */
export class RecordingProxy {
  readonly requests: Recorded[] = [];
  mode: ProxyMode = 'pass';
  readonly #target: URL;
  readonly #agent: https.Agent;
  readonly #server = createServer((request, response) => this.#forward(request, response));

  private constructor(target: URL, ca: string) {
    this.#target = target;
    this.#agent = new https.Agent({ keepAlive: true, ca });
  }

  /** In front of the API server of a kubeconfig. */
  static async open(kubeconfig: string): Promise<RecordingProxy> {
    const config = parse(await readFile(kubeconfig, 'utf8')) as { clusters: { cluster: { server: string; 'certificate-authority'?: string; 'certificate-authority-data'?: string } }[] };
    const cluster = config.clusters[0]?.cluster;
    if (cluster === undefined) throw new Error(`${kubeconfig} names no cluster`);
    const data = cluster['certificate-authority-data'];
    const ca = data === undefined ? await readFile(cluster['certificate-authority'] ?? '', 'utf8') : Buffer.from(data, 'base64').toString();
    const proxy = new RecordingProxy(new URL(cluster.server), ca);
    await new Promise<void>((resolve) => void proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Writes that came at or after `sinceMs`, without those of the election, and without questions, which are POSTs that write nothing. */
  writes(sinceMs = 0): readonly Recorded[] {
    return this.requests.filter(({ atMs, method, path }) => atMs >= sinceMs && method !== 'GET' && !path.includes('/leases') && !path.includes('/selfsubjectaccessreviews'));
  }

  /** Cuts what is open, then lets nothing through (or only one way). */
  cut(mode: 'refuse' | 'deaf'): void {
    this.mode = mode;
    this.#server.closeAllConnections();
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
  }

  #forward(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '' } = request;
    const recorded: Recorded = { atMs: performance.now(), method, path: url, status: 0 };
    this.requests.push(recorded);
    if (this.mode === 'refuse') {
      request.socket.destroy();
      return;
    }
    const isDeaf = this.mode === 'deaf';
    const upstream = https.request({ host: this.#target.hostname, port: this.#target.port, method, path: url, headers: { ...request.headers, host: this.#target.host }, agent: this.#agent });
    upstream.on('error', () => request.socket.destroy());
    upstream.on('response', (answer) => {
      recorded.status = answer.statusCode ?? 0;
      if (isDeaf || this.mode === 'refuse') {
        answer.resume();
        return;
      }
      response.writeHead(recorded.status, answer.headers);
      response.flushHeaders(); // a watch may be silent for long
      answer.pipe(response);
      answer.on('error', () => request.socket.destroy());
    });
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
  }
}
