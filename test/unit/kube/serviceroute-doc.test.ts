import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { problemLine } from '../../../src/model/problem.ts';
import { ROUTE_RULES } from '../../../src/kube/route-rules.ts';
import { parseText } from '../../support/kube-parse.ts';

const page = readFileSync(new URL('../../../docs/serviceroute.md', import.meta.url), 'utf8');
const blocks = (language: string): readonly string[] => [...page.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map(([, text]) => text ?? '');

test.each(blocks('yaml').map((text) => [text]))('an example parses without Problems: %#', (text) => {
  const { objects, problems } = parseText(text);
  expect(problems.map(problemLine)).toEqual([]);
  expect(objects.map(({ object }) => object !== undefined && 'spec' in object)).toEqual([true]);
});

test('there are examples', () => {
  expect(blocks('yaml').length).toBeGreaterThanOrEqual(4);
});

test('the message shown is what is said', () => {
  const [shown] = blocks('text');
  const text = "apiVersion: paas.io/v1\nkind: ServiceRoute\nmetadata: { name: cart, namespace: shop }\nspec:\n  rule: { type: '', prefer: x }\n  to: [{ name: a }]\n";
  expect(parseText(text, 'shop.yaml').problems.map(problemLine)).toEqual([shown?.trim()]);
});

test('every code of a rule is explained', () => {
  for (const { code } of ROUTE_RULES) expect(page).toContain(`\`${code}\``);
});
