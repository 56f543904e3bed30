import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { MOST_PER_NAMESPACE, planTokenCodes, type SeenNamespace } from '../../../src/controller/plan-token-codes.ts';
import { renderTokenCodes } from '../../../src/controller/render-objects.ts';
import type { TokenSecret } from '../../../src/kube/parse-token-secret.ts';
import { allCodes, parsePublishedCodes, type PublishedCodes } from '../../../src/kube/published-codes.ts';

const digestOf = (code: string): string => createHash('sha256').update(code).digest('hex');
const secret = (namespace: string, name: string, serviceAccount: string, code: string): TokenSecret => ({ namespace, name, uid: `${namespace}-${name}`, resourceVersion: '1', serviceAccount, code: { digest: digestOf(code) } });
const code = (namespace: string, serviceAccount: string, text: string) => ({ digest: digestOf(text), namespace, serviceAccount });
const seen = (over: Readonly<Record<string, SeenNamespace>>): ReadonlyMap<string, SeenNamespace> => new Map(Object.entries(over));
const NONE: PublishedCodes = new Map();
/** What the API server has after the plan was written. */
const written = (plan: { readonly codes: PublishedCodes }, published: PublishedCodes): PublishedCodes => parsePublishedCodes(renderTokenCodes('system', plan.codes, published, '1'));
const reasons = (plan: ReturnType<typeof planTokenCodes>): readonly string[] => plan.refusals.map(({ secret: { namespace, name }, note }) => `${namespace}/${name} ${note.reason}`);

describe('what is published', () => {
  it('is the codes of namespaces that let them be read, and then nothing changes any more', () => {
    const world = seen({ shop: [secret('shop', 'a', 'web', 'one'), secret('shop', 'b', 'api', 'two')], bank: 'refused', front: [] });
    const plan = planTokenCodes(NONE, world);
    expect(plan).toMatchObject({ isChanged: true, refusals: [] });
    const after = written(plan, NONE);
    expect(allCodes([after])).toEqual([code('shop', 'web', 'one'), code('shop', 'api', 'two')].toSorted((a, b) => (a.digest < b.digest ? -1 : 1)));
    expect(planTokenCodes(after, world)).toMatchObject({ isChanged: false });
  });

  it.each([
    ['the Secret is gone', { shop: [] as const }],
    ['the right is taken back', { shop: 'refused' as const }],
    ['the namespace is gone', {}],
  ])('loses a code when %s', (_, after) => {
    const published = written(planTokenCodes(NONE, seen({ shop: [secret('shop', 'a', 'web', 'one')] })), NONE);
    const plan = planTokenCodes(published, seen(after));
    expect([plan.isChanged, plan.codes.size]).toEqual([true, 0]);
    const left = written(plan, published);
    // The key stays without content until the next write, which leaves it out.
    expect([left.get('shop'), planTokenCodes(left, seen(after)).isChanged]).toEqual([[], false]);
    expect((renderTokenCodes('system', new Map(), left, '2') as { data: object }).data).toEqual({});
  });

  it('stays as it is for a namespace of which nothing is known yet', () => {
    const published = written(planTokenCodes(NONE, seen({ shop: [secret('shop', 'a', 'web', 'one')], bank: [secret('bank', 'a', 'web', 'two')] })), NONE);
    expect(planTokenCodes(published, seen({ shop: 'unknown', bank: 'unknown' })).isChanged).toBe(false);
    const plan = planTokenCodes(published, seen({ shop: 'unknown', bank: 'refused' }));
    expect([...plan.codes.keys()]).toEqual(['shop']);
  });

  it('holds no code of two accounts, in one namespace or two, and says so beside each without naming the other', () => {
    const shared = [secret('shop', 'a', 'web', 'same'), secret('shop', 'b', 'web', 'same')];
    expect(planTokenCodes(NONE, seen({ shop: shared })).codes.get('shop')).toEqual([code('shop', 'web', 'same')]);
    const plan = planTokenCodes(NONE, seen({ shop: [...shared, secret('shop', 'c', 'web', 'own')], bank: [secret('bank', 'x', 'web', 'same')] }));
    expect([...plan.codes.values()]).toEqual([[code('shop', 'web', 'own')]]);
    expect(reasons(plan)).toEqual(['shop/a TokenCodeShared', 'shop/b TokenCodeShared', 'bank/x TokenCodeShared']);
    for (const { note } of plan.refusals) expect(note.note).not.toMatch(/shop|bank/);
    // A namespace that is not read yet counts by what is published of it.
    const published = written(planTokenCodes(NONE, seen({ bank: [secret('bank', 'x', 'web', 'same')] })), NONE);
    expect([...planTokenCodes(published, seen({ shop: shared, bank: 'unknown' })).codes.values()].flat()).toEqual([]);
  });

  it('says why a Secret gives no code', () => {
    const bad: TokenSecret = { ...secret('shop', 'a', 'web', 'x'), code: { why: 'it has no key token, or an empty one' } };
    const plan = planTokenCodes(NONE, seen({ shop: [bad] }));
    expect([plan.isChanged, reasons(plan), plan.refusals[0]?.note.note]).toEqual([false, ['shop/a TokenCodeInvalid'], 'this Secret gives no code: it has no key token, or an empty one']);
  });

  it('has a bounded number of codes of each namespace', () => {
    const many = Array.from({ length: MOST_PER_NAMESPACE + 2 }, (_, i) => secret('shop', `s${String(i).padStart(3, '0')}`, 'web', `code ${i}`));
    const plan = planTokenCodes(NONE, seen({ shop: many.toReversed() }));
    expect(plan.codes.get('shop')).toHaveLength(MOST_PER_NAMESPACE);
    expect(reasons(plan)).toEqual(['shop/s101 TokenCodeLimit', 'shop/s100 TokenCodeLimit']);
  });

  it('fits into a Secret: the namespaces with most are left out, and told', () => {
    const full = (namespace: string): readonly TokenSecret[] => Array.from({ length: MOST_PER_NAMESPACE }, (_, i) => secret(namespace, `s${i}`, 'a'.repeat(60), `${namespace} ${i}`));
    const crowd = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`crowd-${i}`, full(`crowd-${i}`)]));
    const plan = planTokenCodes(NONE, seen({ ...crowd, shop: [secret('shop', 'a', 'web', 'one')] }));
    expect(plan.codes.has('shop')).toBe(true);
    const bytes = Object.entries((renderTokenCodes('system', plan.codes, NONE, undefined) as { data: Record<string, string> }).data).reduce((sum, [key, text]) => sum + key.length + Buffer.from(text, 'base64').length, 0);
    expect(bytes).toBeLessThan(1024 * 1024);
    expect(plan.codes.size).toBeGreaterThan(60);
    expect(new Set(plan.refusals.map(({ note }) => note.reason))).toEqual(new Set(['TokenCodesFull']));
    expect(plan.refusals.length).toBe((101 - plan.codes.size) * MOST_PER_NAMESPACE);
  });

  it("is put right after somebody else's edit", () => {
    const world = seen({ shop: [secret('shop', 'a', 'web', 'one')] });
    const published = written(planTokenCodes(NONE, world), NONE);
    const forged = new Map([...published, ['bank', [code('bank', 'vault', 'evil')]] as const]);
    const plan = planTokenCodes(forged, world);
    expect(plan.isChanged).toBe(true);
    expect((renderTokenCodes('system', plan.codes, forged, '1') as { data: Record<string, string> }).data['bank']).toBe('');
  });
});
