import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { REFUSALS } from '../../../src/model/refusal.ts';

/*
 * People search the documents for the code that they were shown. Codes are read from the source: `code: 'x'`, also as the other half of a
 * choice, and the first argument of the few functions that build a Problem of positions.
 */

const ROOT = join(import.meta.dirname, '../../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const allOf = (folder: string, end: string): string =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith(end)).map((path) => read(`${folder}/${path}`)).join('\n');
const found = (text: string, ...patterns: readonly RegExp[]): ReadonlySet<string> => new Set(patterns.flatMap((pattern) => [...text.matchAll(pattern)].map(([, code = '']) => code)));

const source = allOf('src', '.ts');
const codes = found(
  source,
  /\bcode: [^',\n{}]*'([a-z][a-z0-9-]*)'/g,
  /\b(?:report|#add)\(\s*'([a-z0-9-]+)'/g,
  /\bnodeProblem\([^']*'([a-z0-9-]+)'/g,
  /\bnodeProblem\([^']*'[a-z0-9-]+' : '([a-z0-9-]+)'/g,
  /\bexport const [A-Z_]+_TAKEN = '([a-z0-9-]+)'/g,
);
/** What the first column of the documents' tables names. */
const rowsOf = (page: string): ReadonlySet<string> =>
  found(read(`docs/${page}`).split('\n').filter((line) => line.startsWith('| ')).map((line) => line.split(' | ')[0]).join('\n'), /`([a-z][a-z0-9-]*)`/g);
const [ofRoutes, ofNodes] = [rowsOf('serviceroute.md'), rowsOf('troubleshooting.md')];

test('every code of a Problem, and of what ends a process, stands in a table', () => {
  expect([...codes].filter((code) => !ofRoutes.has(code) && !ofNodes.has(code))).toEqual([]);
});

test('every code by which the proxy refuses a call stands in a table', () => {
  expect(Object.keys(REFUSALS).filter((code) => !ofNodes.has(code))).toEqual([]);
});

test('the tables of codes name none that is gone', () => {
  const tables = ['docs/serviceroute.md', 'docs/troubleshooting.md'].flatMap((page) => [...read(page).matchAll(/\n\| code \|.*?\n\n/gs)].map(([table]) => table));
  expect(tables).toHaveLength(3);
  const named = tables.flatMap((table) => table.split('\n').flatMap((line) => [...(line.split(' | ')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, code = '']) => code)));
  expect(named.filter((code) => !codes.has(code))).toEqual([]);
});

describe('the codes that are read from the source', () => {
  test.each(['more-problems', 'name-invalid', 'spill-unused', 'config-rejected', 'haproxy-failed', 'port-taken', 'port-unavailable', 'run-dir-busy', 'weights-above-100'])('hold %s', (code) => {
    expect(codes).toContain(code);
  });

  test('hold those of all golden cases', () => {
    const seen = found(allOf('test/golden/cases', '.txt'), /\[([a-z][a-z0-9-]*)\]; /g);
    expect(seen.size).toBeGreaterThan(0);
    expect([...seen].filter((code) => !codes.has(code))).toEqual([]);
  });
});
