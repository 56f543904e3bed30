import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEmbeddedProxy } from '../../src/embedded/io/open-embedded-proxy.ts';
import { askCli } from '../../src/haproxy/io/cli-socket.ts';
import { openHaproxy } from '../../src/haproxy/io/open-haproxy.ts';
import type { CallCounts } from '../../src/model/call-counts.ts';
import type { Proxy } from '../../src/model/proxy.ts';
import type { Endpoint, Tier } from '../../src/model/route-table.ts';
import { anEndpoint } from './route-tables.ts';

/** Servers of three tiers that hold calls or take their time, callers that count what becomes of them, and both proxies alike. */
export const VIP = '127.72.91.1';
export const CALLER = '127.88.91.9';
const SERVICE_MS = 20;

export interface Serving {
  readonly proxy: Proxy;
  readonly counts: () => Promise<CallCounts>;
  /** Reloads so far, and why the last one was. */
  readonly reloads: () => { readonly count: number; readonly reason: string | undefined };
  /** Whether some server is taken for down. */
  readonly hasDown: () => Promise<boolean>;
  /** Whether it counts no more calls than these: one that has just been answered counts a moment longer. */
  readonly countsAtMost: (calls: number) => Promise<boolean>;
  readonly close: () => Promise<void>;
}

export const THREADS = 2;

export const OPEN: Readonly<Record<'haproxy' | 'embedded', () => Promise<Serving>>> = {
  haproxy: async () => {
    const runDir = await mkdtemp(join(tmpdir(), 'onehop-spill-'));
    const proxy = await openHaproxy({ binary: 'haproxy', runDir, attach: false, drainTimeoutSeconds: 5, threads: THREADS });
    return {
      proxy,
      counts: () => proxy.calls(),
      reloads: () => ({ count: proxy.status().reloads, reason: proxy.status().lastReloadReason }),
      hasDown: async () => (await askCli(join(runDir, 'haproxy.sock'), 'show stat').catch(() => '')).split('\n').some((row) => row.includes(',DOWN') && !row.includes(',BACKEND,')),
      countsAtMost: async (calls) => {
        const rows = (await askCli(join(runDir, 'haproxy.sock'), 'show stat').catch(() => '')).split('\n').map((row) => row.split(','));
        // The fifth column is scur (management guide, 9.1).
        return rows.length > 1 && rows.filter(([name, server]) => name?.startsWith('shop.') === true && server === 'BACKEND').reduce((sum, row) => sum + Number(row[4]), 0) <= calls;
      },
      close: async () => {
        await proxy.close({ drainMs: 200, leaveRunning: false });
        await rm(runDir, { recursive: true, force: true });
      },
    };
  },
  embedded: async () => {
    const proxy = await openEmbeddedProxy();
    return {
      proxy,
      counts: () => {
        const { refused, forwarded, left } = proxy.status();
        return Promise.resolve({ routes: [], refused, answered: forwarded, left });
      },
      reloads: () => ({ count: 0, reason: undefined }),
      hasDown: () => Promise.resolve(false),
      countsAtMost: () => Promise.resolve(true),
      close: () => proxy.close({ drainMs: 0, leaveRunning: false }),
    };
  },
};

/** Answers its own address: to `/held` when it is told to, to `/500` with that status, to anything else after 20 ms. */
export class SpillServer {
  reached = 0;
  now = 0;
  most = 0;
  connections = 0;
  readonly endpoint: Endpoint;
  readonly #held: (() => void)[] = [];
  #server: http.Server | http2.Http2Server;
  readonly #open: () => http.Server | http2.Http2Server;
  readonly #sockets = new Set<{ destroy(): void }>();

  constructor(host: string, tier: Tier, protocol: 'h1' | 'h2' = 'h1') {
    this.endpoint = anEndpoint(host, 8080, { tier });
    const handle = (path: string, answer: (status: number) => void): void => {
      this.reached++;
      this.now++;
      this.most = Math.max(this.most, this.now);
      const end = (status: number): void => {
        // Before the answer: whoever reads it may call again at once.
        this.now--;
        answer(status);
      };
      if (path === '/held') this.#held.push(() => end(200));
      else if (path === '/500') end(500);
      else setTimeout(() => end(200), SERVICE_MS);
    };
    this.#open = () =>
      protocol === 'h1'
        ? http.createServer((request, response) => handle(request.url ?? '', (status) => response.writeHead(status).end(host)))
        : http2.createServer((request, response) => handle(request.url, (status) => response.writeHead(status).end(host)));
    this.#server = this.#open();
  }

  async listen(): Promise<this> {
    this.#server = this.#open();
    this.#server.on('connection', (socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server.listen(this.endpoint.port, this.endpoint.address);
    await once(this.#server, 'listening');
    return this;
  }

  /** Calls that wait for an answer. */
  get held(): number {
    return this.#held.length;
  }

  release(count = Infinity): void {
    for (const answer of this.#held.splice(0, count)) answer();
  }

  forget(): void {
    this.release();
    this.reached = this.most = this.connections = 0;
  }

  /** Dies with all its connections. */
  async die(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    this.now -= this.#held.splice(0).length;
  }
}

export interface Answered {
  readonly status: number;
  /** Who answered, or the proxy's own reason. */
  readonly by: string;
}

/** One GET; without an agent on a connection of its own. */
export function get(path = '/', agent?: http.Agent, headers: http.OutgoingHttpHeaders = {}): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: VIP, port: 8080, localAddress: CALLER, path, headers, agent: agent ?? false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => (text += part));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, by: String(response.headers['x-onehop-reason'] ?? text) }));
    });
    request.on('error', reject);
  });
}

/** `callers` clients that call one after the other until `calls` have been answered in all. @returns how many answers each server gave, and what failed */
export async function load(callers: number, calls: number, onAnswer: (count: number) => void = () => {}): Promise<{ readonly by: ReadonlyMap<string, number>; readonly failed: readonly string[] }> {
  const by = new Map<string, number>();
  const failed: string[] = [];
  let [begun, answered] = [0, 0];
  const client = async (): Promise<void> => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    while (begun < calls) {
      begun++;
      const { status, by: who } = await get('/', agent).catch((error: unknown) => ({ status: 0, by: String(error) }));
      if (status === 200) by.set(who, (by.get(who) ?? 0) + 1);
      else failed.push(`${status} ${who}`);
      onAnswer(++answered);
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: callers }, client));
  return { by, failed };
}

export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; !(await holds()); await sleep(10)) if (Date.now() > end) throw new Error(`not so: ${what}`);
}
