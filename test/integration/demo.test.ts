import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { killAll, processesWith } from '../support/agent-process.ts';

/** `npm start` without npm: every line that it prints to copy is run as printed. */
const ROOT = join(import.meta.dirname, '../..');
const run = promisify(execFile);

let demo: ChildProcess;
let printed = '';
let folder = '';

beforeAll(async () => {
  demo = spawn(process.execPath, [join(ROOT, 'docs/examples/demo/start.ts')], { stdio: ['ignore', 'pipe', 'inherit'] });
  demo.stdout?.setEncoding('utf8').on('data', (text: string) => (printed += text));
  for (const end = Date.now() + 25_000; !printed.includes('Ctrl-C ends everything'); await delay(50)) {
    if (Date.now() > end || demo.exitCode !== null) throw new Error(`the demo did not start: ${printed}`);
  }
  folder = /(\S+onehop-demo-\w+)\/run/.exec(printed)?.[1] ?? '';
});
afterAll(async () => {
  if (demo.exitCode === null) demo.kill('SIGKILL');
  killAll(processesWith(folder));
});

/** Runs the printed line that has `part` in it. */
async function copy(part: string): Promise<string> {
  const line = printed.split('\n').find((one) => one.startsWith('  ') && one.includes(part));
  if (line === undefined) throw new Error(`no line with ${part} in:\n${printed}`);
  const { stdout } = await run('bash', ['-c', line], { cwd: ROOT, timeout: 20_000 });
  return stdout;
}

describe('the demo', () => {
  it('shows its routes with their addresses', () => {
    for (const name of ['b/svc2', 'b/svc11', 'b/svc21', 'b/shop']) expect(printed).toMatch(new RegExp(`${name} +127\\.77\\.`));
  });

  it.each([
    ['dig', /^127\.77\.\d+\.\d+\n$/],
    ['# b calls svc2', /^svc2-1 -> svc11-d-1\n$/],
    ['# a calls svc11', /^svc11-d-1\n$/],
    ['# a calls the private name', /403 Forbidden[^]*namespace-isolated/],
    ['X-Group: testers', /^svc21-b-1\n$/],
    ['onehop explain', /50%: version svc21-a[^]*50%: version svc21-b/],
    ['onehop routes', /4 routes, 6 local pods[^]*no problems/],
    ['onehop doctor', /all is well/],
  ])('its line "%s" does what it says', async (part, answer) => {
    expect(await copy(part)).toMatch(answer);
  });

  it('splits the canary between both versions', async () => {
    const counts = [...(await copy('seq 20')).matchAll(/(\d+) svc21-([ab])-1/g)].map((match) => Number(match[1]));
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(20);
  });

  it('beside another one says so in one line, and leaves nothing', async () => {
    const second = await run(process.execPath, [join(ROOT, 'docs/examples/demo/start.ts')]).catch((error: { code: number; stderr: string }) => error);
    expect(second).toMatchObject({ code: 3, stderr: expect.stringMatching(/^the demo's pods cannot listen: .*\n$/) });
  });

  it('ends with Ctrl-C and leaves nothing', async () => {
    const ended = new Promise<number | null>((resolve) => demo.once('exit', resolve));
    demo.kill('SIGINT');
    expect(await ended).toBe(0);
    expect(processesWith(folder)).toEqual([]);
  });
});
