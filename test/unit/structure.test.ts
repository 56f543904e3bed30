import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const MAX_LINES = 400;
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Files of the project: tracked, or new and not ignored. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' }).trim().split('\n');
const code = files.filter((file) => /^(?:src|test|docs)\/.*\.(?:ts|mjs)$/.test(file));
const rooms = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name);

describe('the house', () => {
  it('has a fixed top level', () => {
    const top = new Set(files.map((file) => file.split('/')[0] ?? '').filter((name) => !name.startsWith('.')));
    const allowed = ['package.json', 'package-lock.json', 'tsconfig.json', 'vitest.config.ts', 'README.md', 'LICENSE', 'src', 'daemonset', 'systemd', 'test', 'docs'];
    expect([...top].filter((name) => !allowed.includes(name))).toEqual([]);
  });

  it('has no file above 400 lines that does not say why at its top', () => {
    const long = code.filter((file) => read(file).split('\n').length > MAX_LINES);
    expect(long.filter((file) => !/\blines\b/.test(read(file).split('\n').slice(0, 5).join('\n')))).toEqual([]);
  });

  it('has no drawer for everything', () => {
    expect(code.filter((file) => /\/(?:utils?|helpers?|common|types|index)\.ts$/.test(file))).toEqual([]);
  });

  it.each(rooms)('the room %s has a README', (room) => {
    expect(read(`src/${room}/README.md`)).toContain(`# ${room}`);
  });

  it('names every room in the layer rule', () => {
    const { overrides } = JSON.parse(read('.oxlintrc.json')) as { overrides: { files: string[] }[] };
    const ruled = overrides.flatMap((one) => one.files);
    expect(rooms.filter((room) => !ruled.some((pattern) => pattern.startsWith(`src/${room}/`)))).toEqual([]);
  });

  it.each(['src/dns/probe.ts', 'src/model/probe.ts', 'src/desired/probe.ts', 'src/settings/probe.ts'])('its linter refuses an import that goes up, or an effect, in %s', (file) => {
    // The rule itself, on a planted violation: a check that cannot fail would be worse than none.
    const patterns = rulesFor(file);
    expect(patterns.some((pattern) => pattern === '../**' || pattern.includes('agent'))).toBe(true);
    expect(patterns).toContain('node:net');
  });
});

/** Import patterns that the lint configuration forbids in a file. */
function rulesFor(file: string): readonly string[] {
  interface Override {
    readonly files: readonly string[];
    readonly rules: { readonly 'no-restricted-imports'?: readonly [string, { readonly patterns: readonly { readonly group: readonly string[] }[] }] };
  }
  const { overrides } = JSON.parse(read('.oxlintrc.json')) as { overrides: readonly Override[] };
  const folder = file.slice(0, file.lastIndexOf('/'));
  return overrides
    .filter((one) => one.files.some((pattern) => pattern === `${folder}/*.ts` || pattern === `${folder}/**`))
    .flatMap((one) => one.rules['no-restricted-imports']?.[1].patterns.flatMap(({ group }) => group) ?? []);
}
