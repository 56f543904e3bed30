import { describe, expect, it } from 'vitest';
import { buildSnapshot, type EffectiveObjects } from '../../../src/kube/build-snapshot.ts';
import { parseManifest } from '../../../src/kube/parse-manifest.ts';
import { problemLine } from '../../../src/model/problem.ts';
import { tokenDigest } from '../../../src/model/token.ts';
import { parseContext, parseText } from '../../support/kube-parse.ts';

const CODE = 'c0de-that-nobody-may-see-0123456789';
const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');
const secret = (body: string, name = 'crm', namespace = 'shop', label = 'crm-sync'): string =>
  `---\napiVersion: v1\nkind: Secret\nmetadata: { name: ${name}, namespace: ${namespace}, labels: { onehop.paas.io/token: ${label} } }\n${body}\n`;
const snapshotOf = (text: string, effective?: EffectiveObjects) => buildSnapshot([{ objects: parseText(text).objects, problems: parseManifest(text, 'objects.yaml', parseContext).manifest.problems }], new Map(), effective);
const entry = (code = CODE, namespace = 'shop', serviceAccount = 'crm-sync') => ({ digest: tokenDigest(code), namespace, serviceAccount });

describe('a Secret with a code', () => {
  it.each([
    ['data', `data: { token: ${base64(CODE)} }`],
    ['data with a line end, as echo leaves it', `data: { token: ${base64(`${CODE}\n`)} }`],
    ['stringData', `stringData: { token: ${CODE} }`],
    ['stringData above data', `stringData: { token: ${CODE} }\ndata: { token: ${base64('something-else-altogether')} }`],
  ])('in %s names its account by the digest alone', (_, body) => {
    const { snapshot, effective } = snapshotOf(secret(body));
    expect(snapshot.problems).toEqual([]);
    expect(snapshot.tokenCodes).toEqual([entry()]);
    const kept = JSON.stringify([snapshot, [...effective]]);
    expect(kept).not.toContain(CODE);
    expect(kept).not.toContain(base64(CODE));
  });

  it('without the label is passed over, whatever it holds', () => {
    expect(parseText(`apiVersion: v1\nkind: Secret\nmetadata: { name: x, namespace: shop }\ndata: { token: 7 }\n`)).toEqual({ objects: [], problems: [], readable: true });
  });

  it.each([
    ['a short code', `stringData: { token: hunter2 }`, 'stringData.token'],
    ['no key', `data: { other: eHh4 }`, 'data'],
    ['a blank inside', `stringData: { token: "${CODE} ${CODE}" }`, 'stringData.token'],
    ['more than ASCII', `data: { token: ${base64('hunter2-caf\u00e9-hunter2-caf\u00e9')} }`, 'data.token'],
    ['what looks like a JWT', `stringData: { token: hunter2aaaaaaaa.bbbbbbbbbbb.ccccccccc }`, 'stringData.token'],
    ['a huge code', `stringData: { token: ${'hunter2'.repeat(5000)} }`, 'stringData.token'],
  ])('%s is a Problem that names object, field and remedy, and shows nothing', (_, body, field) => {
    const { snapshot } = snapshotOf(secret(body));
    expect(snapshot.tokenCodes).toEqual([]);
    expect(snapshot.problems).toEqual([expect.objectContaining({ code: 'field-invalid', object: { kind: 'Secret', namespace: 'shop', name: 'crm' }, severity: 'error' })]);
    const [line = ''] = snapshot.problems.map(problemLine);
    expect(line).toContain(field);
    expect(line).toContain('openssl rand');
    expect(line).not.toContain('hunter2');
    expect(line).not.toContain(base64('hunter2').slice(0, 8));
  });

  it.each(['""', '"a b"', 'A_B', '7'])('the label %s names nobody', (label) => {
    const { snapshot } = snapshotOf(secret(`stringData: { token: ${CODE} }`, 'crm', 'shop', label));
    expect(snapshot.tokenCodes).toEqual([]);
    expect(snapshot.problems.map(problemLine)[0]).toContain('no name of a ServiceAccount');
  });

  it('keeps its last good content when it is bad now, and is gone with its file', () => {
    const first = snapshotOf(secret(`stringData: { token: ${CODE} }`));
    const second = snapshotOf(secret(`stringData: { token: short }`), first.effective);
    expect(second.snapshot.tokenCodes).toEqual([entry()]);
    expect(second.snapshot.problems.map(problemLine)[0]).toContain('its last good content stays in use');
    expect(snapshotOf('', second.effective).snapshot.tokenCodes).toEqual([]);
  });

  it('in a file that is no YAML any more is not quoted', () => {
    for (const broken of [`stringData: { token: ${CODE}`, `stringData:\n  token: "${CODE}\n x`, `stringData: [${CODE}]: }`, CODE, `data: *${CODE.replaceAll('-', '')}`]) {
      const { manifest } = parseManifest(secret(broken), 'a.yaml', parseContext);
      const text = JSON.stringify(manifest);
      expect(text).not.toContain(CODE.slice(0, 6));
    }
    const json = parseManifest(`{"kind":"Secret","metadata":{"labels":{"onehop.paas.io/token":"x"}},"data":{"token":${CODE}}}`, 'a.json', parseContext);
    expect(json.manifest.objects).toBeUndefined();
    expect(JSON.stringify(json.manifest)).not.toContain(CODE.slice(0, 4));
  });
});

describe('one code in several Secrets', () => {
  const text = (name: string, namespace: string, account: string): string => secret(`stringData: { token: ${CODE} }`, name, namespace, account);

  it('for two accounts counts for neither, and neither is told of the other', () => {
    const { snapshot } = snapshotOf(text('a', 'shop', 'web') + text('b', 'bank', 'teller'));
    expect(snapshot.tokenCodes).toEqual([]);
    expect(snapshot.problems.map(({ code, object }) => `${code} ${object.namespace}/${object.name}`)).toEqual(['token-shared bank/b', 'token-shared shop/a']);
    expect(JSON.stringify(snapshot.problems.filter(({ object }) => object.namespace === 'bank'))).not.toContain('shop');
  });

  it('for one account counts', () => {
    const { snapshot } = snapshotOf(text('a', 'shop', 'web') + text('b', 'shop', 'web'));
    expect(snapshot.tokenCodes).toEqual([entry(CODE, 'shop', 'web')]);
    expect(snapshot.problems).toEqual([]);
  });
});

it('codes that did not change stay the very same objects', () => {
  const text = secret(`stringData: { token: ${CODE} }`);
  const file = { objects: parseText(text).objects, problems: [] };
  const first = buildSnapshot([file], new Map());
  const second = buildSnapshot([file], new Map(), first.effective);
  expect(second.snapshot.tokenCodes[0]).toBe(first.snapshot.tokenCodes[0]);
});
