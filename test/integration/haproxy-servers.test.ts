import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CliSession } from '../../src/haproxy/io/cli-session.ts';
import { parseServerStates } from '../../src/haproxy/parse-server-states.ts';
import { FIRST_MAP, planServers, type Command, type ServerState } from '../../src/haproxy/plan-servers.ts';
import { firstServer, serversOf } from '../../src/haproxy/servers.ts';
import type { Version } from '../../src/model/route-table.ts';
import { anEndpoint, aVersion } from '../support/route-tables.ts';

/** Plans for servers, played on a real HAProxy under calls: whatever follows whatever, no call fails or leaves the near tier. */
const NEAR = [1, 2, 3, 4].map((i) => `127.88.97.${i}`);
const FAR = [5, 6, 7].map((i) => `127.88.97.${i}`);
const VIP = '127.72.97.1';
const BACKEND = 'shop.cart.v';
const folder = mkdtempSync(join(tmpdir(), 'onehop-servers-'));
const servers: http.Server[] = [];
let haproxy: ChildProcess;
let cli: CliSession;

const version = (near: readonly string[], far: readonly string[]): Version =>
  aVersion('v', near.map((address) => anEndpoint(address, 8080)), { backup: far.map((address) => anEndpoint(address, 8080, { tier: 'zone' })) });
const START = version(NEAR.slice(0, 1), []);

beforeAll(async () => {
  for (const address of [...NEAR, ...FAR]) {
    const server = http.createServer((_, response) => response.end(address));
    await once(server.listen(8080, address), 'listening');
    servers.push(server);
  }
  mkdirSync(join(folder, 'maps'));
  writeFileSync(join(folder, FIRST_MAP), '');
  writeFileSync(
    join(folder, 'haproxy.cfg'),
    `global
  nbthread 2
  stats socket ${folder}/haproxy.sock mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout queue 1s
  retries 3
  retry-on conn-failure empty-response response-timeout
  option redispatch 1
  option allbackups
  http-reuse always
frontend f
  bind ${VIP}:8080
  default_backend ${BACKEND}
backend ${BACKEND}
  balance leastconn
  use-server %[str(${BACKEND}),map_str(${FIRST_MAP})] if { str(${BACKEND}),map_str(${FIRST_MAP}) -m found }
  server ${serversOf(START, 100)[0]?.name} ${NEAR[0]}:8080
`,
  );
  haproxy = spawn('haproxy', ['-db', '-f', 'haproxy.cfg'], { cwd: folder, stdio: 'ignore' });
  cli = await vi.waitFor(() => CliSession.open(join(folder, 'haproxy.sock')), { timeout: 10_000 });
});
afterAll(() => {
  cli.close();
  haproxy.kill('SIGKILL');
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

async function send({ text, answer, patient = false }: Command): Promise<void> {
  const said = await cli.ask(text, 10_000);
  if (patient && /still has connections/.test(said)) return;
  const right = [answer].flat().some((expected) => (expected === '' ? said === '' : said.startsWith(expected)));
  expect({ text, said, right }).toEqual({ text, said, right: true });
}

const running = async () => parseServerStates(await cli.ask(`show servers state ${BACKEND}`, 10_000)).get(BACKEND) ?? new Map<string, ServerState>();
const pinnedNow = async () => / (\S+)$/.exec((await cli.ask(`show map ${FIRST_MAP}`, 10_000)).trim())?.[1];

/** Calls that go on, on kept connections and on new ones; each is judged by what was allowed from its beginning to its end. */
class Callers {
  readonly faults: string[] = [];
  calls = 0;
  #stopped = false;
  /** Everything that was ever allowed, and from where on it still is. */
  readonly #allowed: ReadonlySet<string>[] = [new Set([NEAR[0] ?? ''])];
  #since = 0;
  readonly #loops: readonly Promise<void>[];

  constructor() {
    const kept = new http.Agent({ keepAlive: true });
    this.#loops = [kept, kept, kept, undefined, undefined].map((agent) => this.#loop(agent));
  }

  /** From now on answers of these are right too; with `only` those of all others are wrong for calls that begin later. */
  allow(addresses: readonly string[], only: boolean): void {
    this.#allowed.push(new Set(addresses));
    if (only) this.#since = this.#allowed.length - 1;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  async #loop(agent: http.Agent | undefined): Promise<void> {
    while (!this.#stopped) {
      const since = this.#since;
      const answer = await new Promise<string>((resolve) => {
        const request = http.get({ host: VIP, port: 8080, ...(agent === undefined ? { agent: false } : { agent }) }, (response) => {
          let text = '';
          response.on('data', (part: Buffer) => (text += part.toString()));
          response.on('end', () => resolve(response.statusCode === 200 ? text : String(response.statusCode)));
        });
        request.on('error', (error) => resolve(error.message));
      });
      this.calls++;
      const right = this.#allowed.slice(since).some((set) => set.has(answer));
      if (!right) this.faults.push(answer);
    }
  }
}

describe('plans for servers', () => {
  it('bring a running HAProxy from any state to any other: no call fails, none goes to a server of the farther tier', { timeout: 120_000 }, async () => {
    let now = START;
    const callers = new Callers();
    const worlds = fc.tuple(fc.subarray(NEAR, { minLength: 1 }), fc.subarray(FAR));
    const walk = fc.sample(worlds, { seed: 42, numRuns: 120 });
    for (const [near, far] of walk) {
      const next = version(near, far);
      const wanted = serversOf(next, 100);
      const first = firstServer(next, wanted);
      callers.allow([...near, ...now.active.map(({ address }) => address)], false);
      for (const command of planServers(BACKEND, await running(), await pinnedNow(), { servers: wanted, first, h2: false })) await send(command);
      callers.allow(near, true);
      now = next;
      const there = [...(await running())].filter(([, state]) => state === 'serving').map(([name]) => name);
      expect(there.toSorted()).toEqual(wanted.map(({ name }) => name).toSorted());
      expect(await pinnedNow()).toBe(first);
      await vi.waitFor(() => expect(callers.calls).toBeGreaterThan(20 * walk.indexOf([near, far])), { timeout: 10_000 });
    }
    await callers.stop();
    expect(callers.faults).toEqual([]);
    expect(callers.calls).toBeGreaterThan(1_000);
    // What was still leaving goes as soon as its last call has ended.
    await vi.waitFor(async () => {
      for (const [name, state] of await running()) if (state === 'leaving') await cli.ask(`del server ${BACKEND}/${name}`);
      expect([...(await running()).values()]).not.toContain('leaving');
    }, { timeout: 10_000 });
  });
});
