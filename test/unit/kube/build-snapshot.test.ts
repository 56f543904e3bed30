import { describe, expect, test } from 'vitest';
import { problemLine } from '../../../src/model/problem.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { buildSnapshot } from '../../../src/kube/build-snapshot.ts';
import type { EffectiveObjects, FileContent, RefusedRegexes } from '../../../src/kube/build-snapshot.ts';
import { parseText } from '../../support/kube-parse.ts';

const file = (text: string, name = 'a.yaml'): FileContent => ({ objects: parseText(text, name).objects, problems: [] });
const route = (name: string, spec = "{ rule: { type: '' }, to: [{ name: a }] }"): string =>
  `---\napiVersion: paas.io/v1\nkind: ServiceRoute\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`;
const canary = (regex: string): string => route('web', `{ rule: { type: Header, header: X-V }, to: [{ name: a, balance: { rule: '${regex}' } }] }`);
const account = (name: string, namespace = 'shop'): string => `---\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: ${namespace} }\n`;
const slice = (type: string): string =>
  `---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: s, namespace: shop, labels: { kubernetes.io/service-name: a } }\naddressType: ${type}\n`;

/** Builds one state of the folder after the other. */
function history(...states: readonly { readonly files: readonly FileContent[]; readonly refused?: RefusedRegexes }[]): readonly Snapshot[] {
  let effective: EffectiveObjects | undefined;
  return states.map(({ files, refused = new Map() }) => {
    const built = buildSnapshot(files, refused, effective);
    effective = built.effective;
    return built.snapshot;
  });
}
const last = (snapshots: readonly Snapshot[]): Snapshot => snapshots.at(-1) ?? expect.fail('no snapshot');

test('lists are sorted by namespace and name, whatever the order of files', () => {
  const [snapshot] = history({ files: [file(account('b') + account('a', 'zoo')), file(account('a') + account('c', 'front'))] });
  expect(snapshot?.serviceAccounts.map(({ namespace, name }) => `${namespace}/${name}`)).toEqual(['front/c', 'shop/a', 'shop/b', 'zoo/a']);
});

describe('the same object twice', () => {
  test('in two files: the first file counts, the second is a Problem', () => {
    const snapshot = last(history({ files: [file(route('web'), 'a.yaml'), file(`# b\n${route('web', '{}')}`, 'b.yaml')] }));
    expect(snapshot.serviceRoutes.map(({ origin }) => origin?.file)).toEqual(['a.yaml']);
    expect(snapshot.problems.map(problemLine)).toEqual([
      'b.yaml:3: ServiceRoute shop/web: the same object stands in a.yaml:2, which comes first and counts; this one is ignored [duplicate-object]; remove one of the two',
    ]);
  });

  test('in one file: the first document counts', () => {
    const snapshot = last(history({ files: [file(account('x') + account('x'))] }));
    expect(snapshot.serviceAccounts).toHaveLength(1);
    expect(snapshot.problems.map(({ code, origin }) => [code, origin?.line])).toEqual([['duplicate-object', 6]]);
  });

  test('kinds and namespaces are apart', () => {
    const snapshot = last(history({ files: [file(route('x') + account('x') + account('x', 'b'))] }));
    expect(snapshot.problems).toEqual([]);
  });

  test('when the first one goes, the second one takes over', () => {
    const [a, b] = [file(account('x'), 'a.yaml'), file(account('x'), 'b.yaml')];
    const snapshot = last(history({ files: [a, b] }, { files: [b] }));
    expect(snapshot.serviceAccounts.map(({ origin }) => origin?.file)).toEqual(['b.yaml']);
    expect(snapshot.problems).toEqual([]);
  });
});

test('the port of a bad spec is known, so that its callers are told there', () => {
  const bad = (spec: string, refused: RefusedRegexes = new Map()) => last(history({ files: [file(route('web', spec))], refused })).serviceRoutes[0];
  expect(bad("{ rule: { type: Sometimes }, port: { listen: 9000 }, to: [] }")).toMatchObject({ listen: 9000 });
  expect(bad("{ rule: { type: Sometimes }, port: { listen: 53 }, to: [] }")).not.toHaveProperty('listen');
  expect(bad("{ rule: { type: Header, header: x }, port: { listen: 9000 }, to: [{ name: a, balance: { rule: '(' } }] }", new Map([['(', 'no']]))).toMatchObject({ listen: 9000 });
  const kept = last(history({ files: [file(route('web'))] }, { files: [file(route('web', '{ port: { listen: 9000 } }'))] })).serviceRoutes[0];
  expect([kept?.spec?.to.length, kept?.listen]).toEqual([1, undefined]);
});

describe('last good content', () => {
  const good = { files: [file(route('web'))] };
  const bad = { files: [file(`---\n${route('web', '{}')}`)] };

  test('a spec that is bad from the start is a route without spec', () => {
    const snapshot = last(history(bad));
    expect(snapshot.serviceRoutes.map(({ name, spec }) => [name, spec])).toEqual([['web', undefined]]);
    expect(snapshot.problems[0]?.message).toBe('it is missing');
  });

  test('a spec that turned bad goes on, with the place of the new one, and the Problems say so', () => {
    const [before, after] = history(good, bad);
    expect(after?.serviceRoutes[0]?.spec).toBe(before?.serviceRoutes[0]?.spec);
    expect(after?.serviceRoutes[0]?.origin?.line).toBe(3);
    expect(after?.problems.map(({ message, field }) => [field, message])).toEqual([
      ['spec.rule', 'it is missing; its last good content stays in use'],
      ['spec.to', 'it is missing; its last good content stays in use'],
    ]);
  });

  test('it goes on over several bad states, and ends with the next good one', () => {
    const worse = { files: [file(route('web', '5'))] };
    const [before, , third, fourth] = history(good, bad, worse, { files: [file(route('web', "{ rule: { type: '' }, to: [{ name: b }] }"))] });
    expect(third?.serviceRoutes[0]?.spec).toBe(before?.serviceRoutes[0]?.spec);
    expect(fourth?.serviceRoutes[0]?.spec?.to).toEqual([{ name: 'b' }]);
    expect(fourth?.problems).toEqual([]);
  });

  test('an object that was deleted meanwhile starts anew', () => {
    expect(last(history(good, { files: [] }, bad)).serviceRoutes[0]?.spec).toBeUndefined();
  });

  test('other kinds keep what they were', () => {
    const [before, after] = history({ files: [file(slice('IPv4'))] }, { files: [file(slice('v4'))] });
    expect(after?.endpointSlices).toHaveLength(1);
    expect(after?.endpointSlices[0]).toBe(before?.endpointSlices[0]);
    expect(after?.problems[0]?.message).toBe("'v4' is no address type; its last good content stays in use");
  });

  test('a regex that the proxy refuses is a bad spec', () => {
    const refused = new Map([['(', 'missing closing parenthesis']]);
    const fresh = last(history({ files: [file(canary('('))], refused }));
    expect(fresh.serviceRoutes[0]?.spec).toBeUndefined();
    expect(fresh.problems.map(problemLine)).toEqual([
      "a.yaml:5: ServiceRoute shop/web spec.to[0].balance.rule: the regular expression '(' is refused: missing closing parenthesis [regex-invalid]; correct it (PCRE)",
    ]);
    const kept = last(history({ files: [file(canary('^1'))] }, { files: [file(canary('('))], refused }));
    expect(kept.serviceRoutes[0]?.spec?.to).toEqual([{ name: 'a', match: '^1' }]);
    expect(kept.problems[0]?.message).toContain('its last good content stays in use');
  });

  test('a regex that is refused later, or no more, changes the verdict on the same content', () => {
    const files = [file(canary('('))];
    const refused = new Map([['(', 'no']]);
    const [first, second, third] = history({ files }, { files, refused }, { files });
    expect(first?.problems).toEqual([]);
    expect(second?.problems).toHaveLength(1);
    expect(third?.problems).toEqual([]);
    expect(third?.serviceRoutes[0]?.spec?.to[0]?.match).toBe('(');
  });
});

test('objects of which nothing is known but that they are bad do not hide each other', () => {
  const snapshot = last(history({ files: [file('---\napiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Pod\n')] }));
  expect(snapshot.problems.map(({ code }) => code)).toEqual(['name-invalid', 'name-invalid']);
});

test('a route that goes on with its last good spec keeps its identity too', () => {
  const bad = file(route('web', '{}'));
  const [, second, third] = history({ files: [file(route('web'))] }, { files: [bad] }, { files: [bad, file(account('y'), 'b.yaml')] });
  expect(third?.serviceRoutes[0]).toBe(second?.serviceRoutes[0]);
});

test('what did not change keeps its identity', () => {
  const a = file(route('web') + account('x'));
  const [before, after] = history({ files: [a] }, { files: [a, file(account('y'), 'b.yaml')] });
  expect(after?.serviceRoutes[0]).toBe(before?.serviceRoutes[0]);
  expect(after?.serviceAccounts[0]).toBe(before?.serviceAccounts[0]);
});
