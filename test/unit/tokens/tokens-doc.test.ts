import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { buildSnapshot } from '../../../src/kube/build-snapshot.ts';
import { parseSettings } from '../../../src/settings/parse-settings.ts';
import { parseText } from '../../support/kube-parse.ts';

const DOC = readFileSync(join(import.meta.dirname, '../../../docs/tokens.md'), 'utf8');
const block = (language: string, containing: string): string =>
  [...DOC.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))].map((found) => found[1] ?? '').find((text) => text.includes(containing)) ?? expect.fail(`no block with ${containing}`);

it('the Secret of the page is a code', () => {
  const { snapshot } = buildSnapshot([{ objects: parseText(block('yaml', 'kind: Secret')).objects, problems: [] }], new Map());
  expect(snapshot.problems).toEqual([]);
  expect(snapshot.tokenCodes).toMatchObject([{ namespace: 'shop', serviceAccount: 'crm-sync' }]);
});

it('the flags of the page start an agent', () => {
  const argv = block('sh', 'onehop agent').replaceAll('\\\n', ' ').trim().split(/\s+/).slice(2);
  expect(parseSettings(argv, {}, { hostname: 'n1', workingDirectory: '/', terminal: false })).toMatchObject({ settings: { tokenJwks: '/etc/onehop/jwks.json', tokenAudience: 'onehop' } });
});
