import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const PASSES = "it('passes', () => {});";
const FAILS = "it('fails', () => { throw new Error('always'); });";
const AT_FIRST = "it('fails at first', () => { if (existsSync(seen)) return; writeFileSync(seen, ''); throw new Error('too early'); });";

/** What decides whether a run is green, with vitest itself. */
describe('the closing line of the tests', { timeout: 90_000 }, () => {
  let parent: string;
  beforeEach(async () => {
    // Inside the project: the files import vitest.
    parent = await mkdtemp(join(ROOT, 'node_modules/.onehop-suites-'));
  });
  afterEach(() => rm(parent, { recursive: true }));

  /** Plays files with these texts; `seen` in them is a file of their own. `lines`: what is said of the whole; `said`: all of it. */
  async function play(texts: Readonly<Record<string, string>>, run = "await suites.run({ what: 'these', config });"): Promise<{ readonly status: number | null; readonly lines: readonly string[]; readonly said: string }> {
    const folder = await mkdtemp(join(parent, 'play-'));
    for (const [name, text] of Object.entries(texts)) {
      const head = `import { existsSync, writeFileSync } from 'node:fs';\nimport { beforeAll, describe, it } from 'vitest';\nconst seen = ${JSON.stringify(join(folder, `${name}.seen`))};\n`;
      await writeFile(join(folder, `${name}.test.ts`), head + text);
    }
    await writeFile(join(folder, 'vitest.config.ts'), `export default { test: { root: ${JSON.stringify(folder)}, include: ['*.test.ts'] } };`);
    const main = `import { Suites } from ${JSON.stringify(join(ROOT, 'test/support/suites.ts'))};
const suites = new Suites();
const config = ${JSON.stringify(join(folder, 'vitest.config.ts'))};
${run}
process.exitCode = await suites.finish();`;
    const { TEST_TOTALS: _, VITEST: __, ...env } = process.env;
    const { status, stdout } = spawnSync('node', ['--input-type=module', '-e', main], { cwd: ROOT, encoding: 'utf8', env: { ...env, CI: 'true' } });
    return { status, said: stdout, lines: stdout.split('\n').filter((line) => /^(FAILED|UNSTEADY|== once more|\d+ (passed|tests were))/.test(line)) };
  }

  it('a test that fails at first is played once more, and named at the end', async () => {
    const { status, lines } = await play({ a: `${PASSES}\n${AT_FIRST}`, b: PASSES });
    expect(status).toBe(0);
    expect(lines).toEqual([expect.stringMatching(/^== once more: .*a\.test\.ts$/), expect.stringMatching(/^UNSTEADY, .*a\.test\.ts: fails at first$/), '3 passed, 0 failed']);
  });

  it('a set-up that fails at first, inside a describe, leaves nothing skipped', async () => {
    const { status, lines } = await play({ a: `describe('d', () => { beforeAll(() => { if (existsSync(seen)) return; writeFileSync(seen, ''); throw new Error('no port'); }); ${PASSES} });` });
    expect(status).toBe(0);
    expect(lines.at(-1)).toBe('1 passed, 0 failed');
  });

  it('the end says why a set-up failed, of a file and inside a describe', async () => {
    const inDescribe = `describe('d', () => { beforeAll(() => { throw new Error('no port'); }); ${PASSES} });`;
    const ofFile = `beforeAll(() => { throw new Error('no house'); });\n${PASSES}`;
    const { status, lines, said } = await play({ a: inDescribe, b: ofFile });
    expect([status, lines.at(-1)]).toEqual([1, '0 passed, 2 failed']);
    const end = said.slice(said.indexOf('\nFAILED'));
    expect(end).toMatch(/FAILED .*a\.test\.ts\n.*no port[^]*FAILED .*b\.test\.ts\n.*no house/);
  });

  it('what fails twice failed; so does what fails at first where it has to hold every time, or in many files', async () => {
    expect(await play({ a: `${FAILS}\n${AT_FIRST}`, b: PASSES })).toMatchObject({ status: 1, lines: [expect.stringContaining('once more'), expect.stringContaining('fails at first'), expect.stringMatching(/^FAILED .*: fails$/), '2 passed, 1 failed'] });
    expect((await play({ faults: AT_FIRST, b: PASSES })).lines.at(-1)).toBe('1 passed, 1 failed');
    expect((await play({ c: AT_FIRST.replace('too early', 'Property failed after 3 tests') })).lines.at(-1)).toBe('0 passed, 1 failed');
    expect((await play({ d: AT_FIRST, e: AT_FIRST, f: AT_FIRST })).lines.at(-1)).toBe('0 passed, 3 failed');
  });

  it('what passes nowhere the second time failed, too', async () => {
    const vanishes = "if (!existsSync(seen)) it('comes once', () => { writeFileSync(seen, ''); throw new Error('lost'); }); it('stays', () => {});";
    expect(await play({ a: vanishes })).toMatchObject({ status: 1, lines: [expect.stringContaining('once more'), expect.stringMatching(/^FAILED .*: comes once$/), '1 passed, 1 failed'] });
    const unloadable = "if (existsSync(seen)) throw new Error('cannot be loaded'); it('loads once', () => { writeFileSync(seen, ''); throw new Error('lost'); });";
    const { status, lines } = await play({ a: unloadable });
    expect([status, lines.at(-1), lines.filter((line) => line.startsWith('UNSTEADY'))]).toEqual([1, '0 passed, 2 failed', []]);
  });

  it('of suites beside each other each line has its name; what failed is played once more when all are done', async () => {
    const slow = "it('takes its time', async () => { await new Promise((resolve) => setTimeout(resolve, 3_000)); });";
    const beside = `const labelled = (label) => suites.run({ what: label, config, files: [label], label });
await Promise.all([labelled('first'), labelled('second')]);`;
    const { status, said, lines } = await play({ first: AT_FIRST, second: slow }, beside);
    expect([status, lines.at(-1)]).toEqual([0, '2 passed, 0 failed']);
    expect(said).toMatch(/^first \| == first$[^]*^second \| .*1 passed[^]*^first \| == once more: .*first\.test\.ts$/m);
    for (const line of said.split('\n').filter((line) => line.includes('.test.ts'))) expect(line).toMatch(/^(?:first|second) \| |^UNSTEADY/);
  });

  it('after an interruption no suite begins, and the run has failed', async () => {
    const { status, lines, said } = await play({ a: PASSES }, "await suites.run({ what: 'before', config });\nsuites.interrupt();\nawait suites.run({ what: 'after', config });");
    expect([status, lines]).toEqual([1, ['FAILED interrupted', '1 passed, 1 failed']]);
    expect(said).not.toContain('== after');
  });

  it('an error that no test caught is a failure, also beside a test that passes when played once more', async () => {
    const rejects = "it('leaves an error', async () => { void Promise.reject(new Error('nobody')); await new Promise((resolve) => setTimeout(resolve, 50)); });";
    expect(await play({ a: rejects })).toMatchObject({ status: 1 });
    expect((await play({ a: rejects, b: AT_FIRST })).status).toBe(1);
  });

  it('a file that cannot be loaded, and a skipped test, are errors', async () => {
    expect((await play({ a: "import './nowhere.ts';" })).lines.at(-1)).toBe('0 passed, 1 failed');
    expect(await play({ a: PASSES, b: "it.skip('later', () => {});" })).toMatchObject({ status: 1, lines: ['1 tests were skipped: in CI that is an error', '1 passed, 0 failed'] });
  });
});
