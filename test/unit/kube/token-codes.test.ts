import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { codesOf, parseTokenSecret, soleCodes } from '../../../src/kube/parse-token-secret.ts';
import { allCodes, parsePublishedCodes, renderCodes } from '../../../src/kube/published-codes.ts';

const digestOf = (code: string): string => createHash('sha256').update(code).digest('hex');
const CODE = 'a-code-of-some-length';
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const secret = (over: { readonly label?: unknown; readonly data?: object; readonly stringData?: object; readonly namespace?: string } = {}): object => ({
  metadata: { name: 's', namespace: over.namespace ?? 'shop', uid: 'u', resourceVersion: '7', labels: { 'onehop.paas.io/token': 'label' in over ? over.label : 'web' } },
  ...('stringData' in over ? {} : { data: over.data ?? { token: base64(CODE) } }),
  ...(over.stringData === undefined ? {} : { stringData: over.stringData }),
});

describe('a token Secret', () => {
  it('becomes the digest of its code, for the account that its label names', () => {
    expect(parseTokenSecret(secret())).toEqual({ namespace: 'shop', name: 's', uid: 'u', resourceVersion: '7', serviceAccount: 'web', code: { digest: digestOf(CODE) } });
    expect(parseTokenSecret(secret({ stringData: { token: CODE } }))?.code).toEqual({ digest: digestOf(CODE) });
  });

  it("loses the newline at a file's end, and nothing else", () => {
    expect(parseTokenSecret(secret({ data: { token: base64(`${CODE}\r\n`) } }))?.code).toEqual({ digest: digestOf(CODE) });
    expect(parseTokenSecret(secret({ data: { token: base64(` ${CODE}`) } }))?.code).toEqual({ why: 'its code must be printable ASCII without blanks' });
  });

  it('without the label is none', () => {
    expect(parseTokenSecret({ metadata: { name: 's', namespace: 'shop' }, data: { token: base64(CODE) } })).toBeUndefined();
    expect(parseTokenSecret(secret({ label: 7 }))).toBeUndefined();
    expect(parseTokenSecret(undefined)).toBeUndefined();
  });

  it.each([
    ['no account', { label: '' }, /names no ServiceAccount/],
    ['an account of another namespace', { label: 'bank/web' }, /names no ServiceAccount/],
    ['no token', { data: { other: base64(CODE) } }, /no key token/],
    ['a short code', { data: { token: base64('123456789012345') } }, /16 to 1024 characters/],
    ['a long code', { data: { token: base64('x'.repeat(1025)) } }, /16 to 1024 characters/],
    ['control characters', { data: { token: base64(`${CODE}\u0000${CODE}`) } }, /printable ASCII/],
    ['other than ASCII', { data: { token: base64('é'.repeat(20)) } }, /printable ASCII/],
    ['the form of a JWT', { data: { token: base64('aaaaaaaa.bbbbbbbb.cccccccc') } }, /two dots/],
  ])('with %s has none, and says why without showing it', (_, over, why) => {
    const { code } = parseTokenSecret(secret(over)) ?? {};
    expect(code).toMatchObject({ why: expect.stringMatching(why) });
    expect(JSON.stringify(code)).not.toContain(CODE);
  });

  it('of two accounts counts for neither, of one account in two Secrets once', () => {
    const of = (namespace: string, serviceAccount: string): { digest: string; namespace: string; serviceAccount: string } => ({ digest: digestOf(CODE), namespace, serviceAccount });
    const other = { ...of('shop', 'web'), digest: digestOf('another') };
    expect(soleCodes([of('shop', 'web'), other, of('shop', 'web')])).toHaveLength(2);
    expect(soleCodes([of('shop', 'web'), other, of('bank', 'web')])).toEqual([other]);
    expect(soleCodes([of('shop', 'web'), other, of('shop', 'api'), of('shop', 'web')])).toEqual([other]);
    const parsed = [secret(), secret({ label: 'api' })].flatMap((raw) => parseTokenSecret(raw) ?? []);
    expect(codesOf(parsed).map(({ serviceAccount }) => serviceAccount)).toEqual(['web', 'api']);
  });
});

describe('the published Secret', () => {
  const codes = [
    { digest: digestOf('a'), namespace: 'shop', serviceAccount: 'web' },
    { digest: digestOf('b'), namespace: 'shop', serviceAccount: 'a.b' },
  ];

  it('is read as it was written', () => {
    const published = parsePublishedCodes({ data: { shop: base64(renderCodes(codes)), bank: '' } });
    expect(allCodes([published])).toEqual(codes.toSorted((a, b) => (a.digest < b.digest ? -1 : 1)));
    expect(published.get('bank')).toEqual([]);
  });

  it('names accounts of the namespace of each key alone', () => {
    const line = `${digestOf('a')} web`;
    const raw = { data: { 'Bad.Key': base64(line), shop: base64([`${digestOf('b')} bank/web`, `${digestOf('c')} web x`, 'zz web', `${digestOf('D').toUpperCase()} web`, line].join('\n')), bank: 7 } };
    expect(allCodes([parsePublishedCodes(raw)])).toEqual([{ digest: digestOf('a'), namespace: 'shop', serviceAccount: 'web' }]);
    expect(allCodes([parsePublishedCodes({ data: { shop: base64(line), bank: base64(line) } })])).toEqual([]);
    expect(parsePublishedCodes(undefined).size).toBe(0);
  });
});
