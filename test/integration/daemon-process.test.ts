import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openLogger } from '../../src/daemon/io/logger.ts';

const module = (path: string): string => JSON.stringify(new URL(`../../src/daemon/${path}`, import.meta.url).href);

/** Runs a small program that prints `up`, then sends it the signals and returns what it printed and its exit code. */
async function signalled(body: string, ...signals: readonly NodeJS.Signals[]): Promise<{ output: string; code: number | null }> {
  const program = `
    import { catchStopSignals, runUntilSignal } from ${module('io/run-until-signal.ts')};
    const say = (text) => process.stdout.write(text + '\\n');
    setInterval(() => {}, 1000);
    ${body}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  const exit = once(child, 'exit');
  for await (const chunk of child.stdout) {
    output += String(chunk);
    const said = output.split('\n').length - 1;
    const signal = signals[said - 1];
    if (signal !== undefined) child.kill(signal);
  }
  const [code] = (await exit) as [number | null];
  return { output, code };
}

describe('runUntilSignal', () => {
  const STEPS = `[{ name: 'dns', close: async () => say('dns closed') }, { name: 'pool', close: async () => say('pool closed') }]`;

  test.each(['SIGTERM', 'SIGINT'] as const)('%s closes in order and exits 0', async (signal) => {
    const { output, code } = await signalled(
      `setImmediate(() => say('up')); process.exit(await runUntilSignal({ steps: () => ${STEPS}, deadlineMs: 5000, onStop: say }));`,
      signal,
    );
    expect({ output, code }).toEqual({ output: `up\n${signal}\ndns closed\npool closed\n`, code: 0 });
  });

  test('a second signal ends at once with 3', async () => {
    const { output, code } = await signalled(
      `setImmediate(() => say('up')); process.exit(await runUntilSignal({ steps: () => [{ name: 'hangs', close: () => (say('hangs'), new Promise(() => {})) }], deadlineMs: 600000 }));`,
      'SIGTERM',
      'SIGINT',
    );
    expect({ output, code }).toEqual({ output: 'up\nhangs\n', code: 3 });
  });

  test('a signal during the start is kept; a second one ends a start that hangs', async () => {
    const early = `const signals = catchStopSignals(); setTimeout(() => say('up')); await new Promise((resolve) => process.once('SIGTERM', () => setTimeout(resolve, 300)));`;
    const { output, code } = await signalled(`${early} process.exit(await runUntilSignal({ signals, steps: () => ${STEPS}, deadlineMs: 5000 }));`, 'SIGTERM');
    expect({ output, code }).toEqual({ output: 'up\ndns closed\npool closed\n', code: 0 });
    const hanging = `catchStopSignals(); process.on('SIGTERM', () => say('asked')); say('up');`;
    expect(await signalled(hanging, 'SIGTERM', 'SIGTERM')).toEqual({ output: 'up\nasked\n', code: 3 });
  });

  test('what cannot go on closes its parts and exits 3', async () => {
    const { output, code } = await signalled(
      `process.exit(await runUntilSignal({ steps: () => ${STEPS}, deadlineMs: 5000, onStop: say, failed: Promise.reject(new Error('proxy is gone')) }));`,
    );
    expect({ output, code }).toEqual({ output: 'failed\ndns closed\npool closed\n', code: 3 });
  });
});

describe('the log', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onehop-log-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const HOSTILE = 'a\u001b[2J\nINFO: forged \u202e';

  async function logged(format: 'json' | 'pretty'): Promise<string> {
    const destination = join(folder, format);
    const log = openLogger({ level: 'info', format, destination }).child({ room: 'dns' });
    log.debug('not shown');
    log.info({ route: HOSTILE, [HOSTILE]: 1, error: new Error(HOSTILE) }, `applied ${HOSTILE}`);
    return readFile(destination, 'utf8');
  }

  test('as JSON is one escaped object per line', async () => {
    const text = await logged('json');
    expect(text.trimEnd()).not.toMatch(/[\x00-\x1f]/);
    expect(JSON.parse(text)).toMatchObject({ level: 'info', room: 'dns', route: HOSTILE, msg: `applied ${HOSTILE}`, error: { type: 'Error' } });
  });

  test('for people is one line in which no text can steer the terminal', async () => {
    const text = await logged('pretty');
    expect(text).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: dns: applied a\\u\{1b\}\[2J\\u\{a\}INFO: forged/);
    expect(text.trimEnd()).toMatch(/^[\x20-\x7e]+$/);
  });
});
