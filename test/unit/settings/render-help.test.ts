import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { FLAGS, variableOf } from '../../../src/settings/flags.ts';
import { renderFlagTable, renderHelp } from '../../../src/settings/render-help.ts';

const DOCS = new URL('../../../docs/flags.md', import.meta.url);
const MARKS = /(?<=<!-- flags: generated from src\/settings -->\n)[^]*?(?=<!-- end of flags -->)/;

test('docs/flags.md holds the table that the settings render (UPDATE_GOLDEN=1 rewrites it)', () => {
  const docs = readFileSync(DOCS, 'utf8');
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(DOCS, docs.replace(MARKS, () => renderFlagTable(FLAGS)));
  expect(MARKS.exec(readFileSync(DOCS, 'utf8'))?.[0]).toBe(renderFlagTable(FLAGS));
});

test('the help text names every flag, and every variable is unique', () => {
  const flags = Object.values(FLAGS).map((flag) => flag.name);
  for (const name of flags) expect(renderHelp('agent', FLAGS)).toMatch(new RegExp(`^  --${name}( |$)`, 'm'));
  expect(new Set(flags.map(variableOf)).size).toBe(flags.length);
});
